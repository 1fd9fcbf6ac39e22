"""Tiny runs of the performance benchmarks: what they measure has a table; the page is made of the tables."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from benchmarks import channels, cost, loading, memory, performance, prepare_ratio, sampling, step, timing
from benchmarks.convolutions import Call, bytes_moved
from PIL import Image

from voxflate._system.errors import VoxflateError
from voxflate.config.presets import preset_values
from voxflate.config.toml import from_values
from voxflate.config.values import flat
from voxflate.nn.run_stage import use_kernels

TINY = step.Case("split-shuffle", "3d", (1, 2, 2), 3, 2, channels=4)


@pytest.fixture(autouse=True)
def _usual_kernels() -> Any:
    yield
    use_kernels("auto")


def lines_of(table: str) -> list[list[str]]:
    """Cells of a Markdown table; every line must have as many as the first."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert {len(row) for row in rows} == {len(rows[0])}
    return rows


def test_turns_are_taken_in_order_and_the_first_round_is_not_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    order: list[str] = []
    clock = iter([0, 99, 0, 99, 0, 1, 0, 2, 0, 3, 0, 2, 0, 1, 0, 9])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    medians = timing.take_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "b"] * 4
    assert medians == {"a": 1, "b": 2}
    assert "unsteady: a round of b took 9 s, the median is 2 s" in capsys.readouterr().err


def test_convolutions_are_counted_in_the_precision_in_which_they_run() -> None:
    gan, shown = step.gan_of(TINY._replace(precision="bf16"), "compiled"), step.images(TINY)
    calls: Any = step.Counter()
    with step.recorded(calls):
        gan.take(gan.steps[0], shown)
    # A volume two voxels deep is convolved in float32 (decision 0006), the rest in bfloat16.
    depths = {(call[0][2], call[4]) for call in calls if not call[3]}
    assert {dtype for depth, dtype in depths if depth == 2} == {torch.float32}
    assert {dtype for depth, dtype in depths if depth == 4} == {torch.bfloat16}


def test_the_bytes_of_a_step_are_those_of_its_features() -> None:
    """One convolution of 1,000 voxels of 2 channels to 125 of 4, in bfloat16, counted by hand."""
    call = Call((1, 2, 10, 10, 10), (4, 2, 2, 2, 2), '{"stride": 2}', False, torch.bfloat16, False, False)
    x, y = 2000, 500
    forward = 2 * (x + y)
    assert bytes_moved({call: 1}) == 2 * forward
    assert bytes_moved({call._replace(dtype=torch.float32): 3}) == 3 * 4 * forward
    kernel = forward + 2 * y + (x + y)  # output read and its gradient written; both operands read
    assert bytes_moved({call._replace(kernel_learns=True): 1}) == 2 * kernel
    both = kernel + y + 2 * x  # and the gradient of x from that of y
    assert bytes_moved({call._replace(kernel_learns=True, x_learns=True): 1}) == 2 * both


@pytest.mark.parametrize("phase", ["2d", "3d"])
def test_the_measured_step_is_the_paper_s(phase: str) -> None:
    """Recommended settings may change; those of the tables in docs/performance.md must not."""
    measured = flat(step.settings(TINY._replace(phase=phase)).model_dump())
    paper = preset_values("coca64-split-shuffle", phase)
    keys = (
        "network.mapping_layers",
        "network.low_pass_d",
        "slice_discriminator.weight",
        "training.reuse_fakes",
    )
    assert {key: measured[key] for key in keys} == {key: paper[key] for key in keys}


def test_every_precision_of_a_step_is_a_row_beside_the_same_straight_lift() -> None:
    found = step.compare(TINY, ["fp32", "bf16"], 1)
    exact, half = found
    assert [exact, half] == ["split-shuffle 4x8x8 batch 2 fp32", "split-shuffle 4x8x8 batch 2 bf16"]
    assert found[exact]["straight"] == found[half]["straight"]
    assert set(found[half]["plain"]["seconds"]) == {"g", "d", "r1"}
    for result in found.values():
        result[step.UNTUNED] = result["straight"]
    rows = lines_of(step.table({"cases": found}))
    assert [row[0] for row in rows[2:]] == list(found)
    assert rows[2][3].endswith("(1.00)")


class Peer(torch.nn.Module):
    """Stands for MONAI's U-Net."""

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        assert timesteps.shape == (1,)
        return x * 0.5


class Halving:
    """Stands for a scheduler."""

    def step(self, predicted: torch.Tensor, at: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (x - predicted,)


def test_sampling_is_the_time_of_a_pass_and_a_step_times_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "schedulers", lambda: {"DDIM": Halving(), "DDPM": Halving()})
    result = sampling.measure(TINY, Peer(), 1)
    seconds, speeds = result["seconds"], result["volumes_per_s"]
    assert speeds["DDPM"] == pytest.approx(2 / 1000 / (seconds["U-Net"] + seconds["DDPM"]))
    assert set(speeds) == {"compiled", "plain", "voxflate generate", "DDIM", "DDPM"}
    del speeds["voxflate generate"]  # as in bfloat16
    rows = lines_of(sampling.table({"steps": sampling.STEPS, "cases": {"tiny": result}}))
    assert rows[0][4:] == [
        "U-Net, 50 DDIM steps",
        "times as fast",
        "U-Net, 1,000 DDPM steps",
        "times as fast",
    ]
    assert rows[2][3] == ""


def test_without_monai_sampling_ends_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai.networks.nets", None)
    monkeypatch.setitem(sys.modules, "monai", None)
    with pytest.raises(VoxflateError, match=r"pip install -c constraints.txt -e '.\[bench\]'"):
        sampling.diffusion_unet()


@pytest.mark.slow
def test_the_peak_of_a_step_is_above_rest_and_grows_with_the_batch() -> None:
    small, large = (
        memory.Job(TINY._replace(stages=4, channels=16, batch=batch), "plain", {}) for batch in (1, 16)
    )
    rows = memory.run([small, large])
    assert all(row["peak_bytes"] > row["resting_bytes"] > 0 for row in rows)
    assert rows[1]["above_bytes"] > rows[0]["above_bytes"] + memory.MIB
    assert 0 < rows[1]["above_before_r1_bytes"] <= rows[1]["above_bytes"]
    table = lines_of(memory.table({"rows": rows}))
    assert [row[0] for row in table[2:]] == [row["name"] for row in rows]


def test_the_papers_batch_is_measured_at_both_large_shapes() -> None:
    jobs = list(memory.large_jobs("bf16"))
    assert [job.case.shape for job in jobs] == [(32, 64, 64), (64, 64, 64)]
    assert all(job.values["training.batch"] == 128 and job.case.precision == "bf16" for job in jobs)


def test_a_process_that_fails_is_a_line_and_a_cell(capsys: pytest.CaptureFixture[str]) -> None:
    rows = memory.run([memory.Job(TINY, "plain", {"training.kernels": "none"})])
    assert "memory: split-shuffle 4x8x8 batch 2 fp32, plain: ended with 1" in capsys.readouterr().err
    assert "failed" in memory.table({"rows": rows})


def test_cost_against_size_has_a_law_a_table_and_a_picture(tmp_path: Path) -> None:
    cases = {"split-shuffle": {2: TINY, 4: TINY._replace(batch=4)}}
    axis = cost.measure_axis(cases, 1)["split-shuffle"]
    assert axis["a"] * 4 ** axis["b"] == pytest.approx(axis["points"][1][1])
    content = json.loads(json.dumps({"precision": "fp32", "axes": {"batch": {"split-shuffle": axis}}}))
    assert lines_of(cost.table(content))[0] == ["s/image, fp32: batch", "2", "4", "exponent"]
    cost.picture(content, tmp_path / "cost.png")
    with Image.open(tmp_path / "cost.png") as drawn:
        assert np.asarray(drawn).std() > 0


def test_every_axis_holds_the_middle_point() -> None:
    axes = cost.cases_of("baseline", "bf16")
    assert list(axes["voxels"]) == [2048, 16384, 131072, 262144]
    assert axes["channels"][32] == axes["batch"][8]


def test_streams_of_random_volumes_are_timed_and_a_limit_that_cannot_be_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(limit: int) -> None:
        raise VoxflateError("memory cannot be limited here")

    monkeypatch.setattr(loading, "MemoryLimit", refuse)
    options = argparse.Namespace(
        data=None, scratch=tmp_path, shape=(4, 8, 8), gib=2**-16, limit_gib=1.0, seconds=0.01
    )
    content = loading.run(options)
    assert capsys.readouterr().err == (
        "loading: sets larger than memory are left out: memory cannot be limited here\n"
    )
    assert all(speed > 0 for speed in content["sets"][loading.IN_MEMORY]["images_per_s"].values())
    assert len(lines_of(loading.table(content))) == 2 + len(loading.STREAMS)
    assert list(tmp_path.iterdir()) == []


def test_preparing_is_compared_with_reading(tmp_path: Path) -> None:
    for number in range(3):
        values = np.random.default_rng(number).integers(1, 999, (9, 8, 7)).astype(np.int16)
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / f"{number}.nii.gz")
    content = json.loads(json.dumps(prepare_ratio.run(tmp_path, "mr", (4, 8, 8), 2)))
    assert content["files"] == 3
    assert content["times"]["preparing"]["wall"]["ratios"] == [1, 1]
    rows = lines_of(prepare_ratio.table(content))
    assert rows[0][0] == "preparing 3 files to 4x8x8 (mr), times as long as"
    assert [row[0] for row in rows[2:]] == ["reading", "reading by threads"]
    least, most = content["times"]["reading"]["processor"]["ratios"]
    assert rows[2][2].endswith(f"({least:.2f} to {most:.2f})")


def test_a_failed_benchmark_keeps_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`benchmarks.step` writes after every case, so a run that fails later has left a part."""
    code = "import sys; open(sys.argv[1], 'w').write('new'); sys.exit({status})"
    (tmp_path / "step.json").write_text("old")
    monkeypatch.setattr(performance, "FOLDER", tmp_path)
    for status, content in ((1, "old"), (0, "new")):
        words = [sys.executable, "-c", code.format(status=status)]
        monkeypatch.setattr(performance, "command", lambda *given, words=words: [*words, str(given[-1])])
        assert performance.measure("step", 1, 1.0) == (status == 0)
        assert (tmp_path / "step.json").read_text() == content


def test_channels_cost_a_share_of_their_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "channels.json"
    monkeypatch.setattr(channels, "take_turns", lambda steps, rounds: dict.fromkeys(steps, 4.0))
    monkeypatch.setattr(channels, "keep_freed_memory", lambda: None)
    monkeypatch.setattr(sys, "argv", ["channels", "--stages", "2", "--out", str(out)])
    threads = torch.get_num_threads()
    channels.main()
    torch.set_num_threads(threads)
    batch = json.loads(out.read_text())["batch"]
    assert batch == from_values({"network.stages": 2}).training.batch == 4
    assert "| step | 1000.0 ms | 1.000 | 1.000 | 1.000 |" in capsys.readouterr().out


def test_the_page_holds_the_tables_of_the_files() -> None:
    text = performance.PAGE.read_text(encoding="utf-8")
    assert [name for _, name, _ in performance._BLOCK.findall(text)] == list(performance.TABLES)
    assert performance.filled(text, performance.FOLDER) == text


@pytest.mark.parametrize("name", performance.TABLES)
def test_every_command_line_is_one_that_the_benchmark_reads(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, module, *words = performance.command(name, 3, 1.0, Path("out.json"))
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit):
        importlib.import_module(module).main()
    usage = capsys.readouterr().out
    assert all(word in usage for word in words if word.startswith("--"))
