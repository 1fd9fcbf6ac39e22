import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.strategies import run_config, write_prepared
from voxflate._system.errors import VoxflateError
from voxflate.config.build import build_run_networks
from voxflate.config.toml import load_config, save_config, with_values
from voxflate.evaluation import Evaluator
from voxflate.gans.gan import Gan
from voxflate.gans.samples import sample
from voxflate.runs.load import open_source
from voxflate.runs.log import METRICS_NAME, read_rows
from voxflate.runs.snapshots import list_snapshots, load_newest, load_snapshot, snapshot_path
from voxflate.training import run as run_module
from voxflate.training.loop import Schedule
from voxflate.training.recorder import MEASURED_SEED, SAMPLE_BATCH
from voxflate.training.run import train_run
from voxflate.training.start import apply_start

KINDS = {
    "2d": {"training__phase": "2d", "training__flip": True},
    "planar": {
        "training__phase": "2d",
        "training__twin": "planar",
        "network__position": True,
        "training__reuse_fakes": True,
    },
    "3d": {
        "training__freeze_g_kimg": 0.004,
        "training__lr_decay": 0.1,
        "training__augment": "translation,cutout",
        "network__architecture": "baseline",
        "evaluation__every": 1,  # a process that goes on builds its feature network anew
    },
}


COMPARISON = ("wgan-gp", "vae-gan", "alpha-gan", "alpha-wgan-gp")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="module")
def cubes(tmp_path_factory):
    """A set that the comparison models can make."""
    return write_prepared(tmp_path_factory.mktemp("data") / "cubes", (16, 16, 16))


def comparison(cubes, model, **values):
    """Settings of a tiny run of a comparison model."""
    network = {"network__base": (4, 4, 4), "network__stages": 3, "network__channels": 8}
    return run_config(cubes, model=model, comparison__critic_steps=2, **network, **values)


@pytest.fixture(scope="module")
def twin(prepared, tmp_path_factory):
    """A finished 2D run."""
    run = tmp_path_factory.mktemp("runs") / "twin"
    train_run(run_config(prepared, training__phase="2d", training__kimg=0.008), run)
    return run


def same(a, b, path=""):
    """Bit for bit, in whatever they are nested."""
    assert type(a) is type(b), path
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            if key != "seconds":
                same(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            same(x, y, f"{path}[{i}]")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    else:
        assert a == b, path


def started(prepared, twin, strategy="inflate-1", **values):
    """Settings of a 3D run that starts from the twin."""
    return run_config(prepared, start__strategy=strategy, start__twin=str(twin), **values)


def numbers(run):
    return [int(path.stem.split("-")[1]) for path in list_snapshots(run)]


@pytest.mark.parametrize("kind", KINDS)
def test_training_in_two_parts_is_training_in_one_go(kind, prepared, tmp_path):
    config = run_config(prepared, **KINDS[kind])
    train_run(config, tmp_path / "whole")
    train_run(config, tmp_path / "parts", stop_at=8)
    torch.manual_seed(12345)  # what a new process would have is not what the run goes on with
    train_run(config, tmp_path / "parts", resume=True, stop_at=16)
    train_run(config, tmp_path / "parts", resume=True)
    whole, parts = load_newest(tmp_path / "whole")[0], load_newest(tmp_path / "parts")[0]
    assert whole["n_images"] == 24
    assert whole["steps"] == 6
    same(whole, parts)
    assert {"gan", "ema", "rng"} <= whole.keys()
    assert {"generator", "discriminator", "optimizer_g", "optimizer_d"} == whole["gan"].keys()


@pytest.mark.parametrize("model", COMPARISON)
def test_a_comparison_model_in_two_parts_is_the_same_too(model, cubes, tmp_path):
    config = comparison(cubes, model, training__lr_decay=0.5)
    train_run(config, tmp_path / "whole")
    train_run(config, tmp_path / "parts", stop_at=12)
    torch.manual_seed(12345)
    train_run(config, tmp_path / "parts", resume=True)
    same(load_newest(tmp_path / "whole")[0], load_newest(tmp_path / "parts")[0])


def test_models_that_draw_from_the_global_random_state_have_it_in_their_snapshots(cubes, tmp_path):
    config = comparison(cubes, "vae-gan", training__keep=5)
    train_run(config, tmp_path / "run")
    first, last = (load_snapshot(snapshot_path(tmp_path / "run", n)) for n in (0, 24))
    assert not torch.equal(first["rng"], last["rng"])


def test_a_snapshot_of_another_model_is_refused(cubes, tmp_path):
    """The two have equal networks, so shapes do not tell."""
    train_run(comparison(cubes, "alpha-gan"), tmp_path / "run", stop_at=0)
    with pytest.raises(VoxflateError, match="was made with model = alpha-gan, the settings say alpha-wgan"):
        train_run(comparison(cubes, "alpha-wgan-gp"), tmp_path / "run", resume=True)


def test_a_run_from_before_there_were_models_still_loads(prepared, tmp_path):
    run = tmp_path / "run"
    train_run(run_config(prepared), run)
    path = list_snapshots(run)[-1]
    old = load_snapshot(path)
    path.unlink()
    for name in ("model", "lr_scale", "restores"):
        del old[name]
    del old["network"]["critic_norm"]
    torch.save(old | {"format": 2}, path.with_suffix(".pt"))
    text = (run / "config.toml").read_text()
    lines = [line for line in text.splitlines() if not line.startswith(("model =", "critic_norm ="))]
    text = "\n".join(lines)
    before, _, after = text.partition("[comparison]")
    (run / "config.toml").write_text(before + after[after.index("[") :])
    loaded = open_source(run).load()
    assert (loaded.settings.model, loaded.n_images) == ("stylegan2", 24)
    train_run(with_values(loaded.settings, {"training.kimg": 0.028}), run, resume=True)


def test_all_that_a_training_changes_is_in_its_snapshot(prepared, tmp_path):
    """The last snapshot differs from the first in every parameter, average and moment."""
    config = run_config(prepared, training__keep=5)
    train_run(config, tmp_path / "run")
    first, last = (load_snapshot(snapshot_path(tmp_path / "run", n)) for n in (0, 24))
    for network in ("generator", "discriminator"):
        for name, tensor in first["gan"][network].items():
            assert not torch.equal(tensor, last["gan"][network][name]), name
    assert all(not torch.equal(tensor, last["ema"][name]) for name, tensor in first["ema"].items())
    for optimizer in ("optimizer_g", "optimizer_d"):
        assert not first["gan"][optimizer]["state"]
        assert last["gan"][optimizer]["state"]


def test_seeds_decide_the_run(prepared, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train_run(run_config(prepared, training__seed=seed, training__kimg=0.008), tmp_path / name)
    a, b, c = (load_newest(tmp_path / name)[0] for name in "abc")
    same(a, b)
    assert not torch.equal(a["ema"]["synthesis.const"], c["ema"]["synthesis.const"])


def test_snapshots_leave_the_random_state_alone(prepared, tmp_path):
    finals = []
    for name, distance, every in (("rare", 0.024, 0), ("often", 0.004, 1)):
        config = run_config(prepared, training__snapshot_kimg=distance, evaluation__every=every)
        train_run(config, tmp_path / name)
        finals.append(load_newest(tmp_path / name)[0])
    same(*finals)


SCRIPT = """
import sys
from pathlib import Path
from voxflate.config.build import build_run_networks
from voxflate.config.toml import load_config
from voxflate.training.run import train_run
print("ready", flush=True)
train_run(load_config(Path(sys.argv[1])), Path(sys.argv[2]), resume=len(sys.argv) > 3)
"""


@pytest.mark.parametrize(
    "model", ["stylegan2", pytest.param("alpha-wgan-gp", marks=pytest.mark.slow)]
)  # the others take much time, and the same path
def test_a_killed_training_resumes_to_the_same_weights(model, prepared, cubes, tmp_path):
    config = run_config(prepared) if model == "stylegan2" else comparison(cubes, model)
    config = with_values(config, {"training.kimg": 0.24, "training.snapshot_kimg": 0.024})
    train_run(with_values(config, {"training.snapshot_kimg": 0.24}), tmp_path / "whole")
    run, settings = tmp_path / "killed", save_config(config, tmp_path / "settings")
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, settings, run], stdout=subprocess.PIPE)
    with process:
        assert process.stdout.read(5) == b"ready"
        deadline = time.monotonic() + 60
        while len(list_snapshots(run)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(time.time() % 0.5)  # any moment: in a step, in a snapshot, in a sheet
        process.kill()
    killed_at = max(numbers(run))
    assert process.returncode == -9
    assert 0 < killed_at < 240, "the training was over before it was killed"
    train_run(load_config(run), run, resume=True)
    same(load_newest(tmp_path / "whole")[0], load_newest(run)[0])
    assert numbers(run) == [216, 240]


def test_a_damaged_newest_snapshot_costs_only_the_steps_since_the_one_before(prepared, tmp_path):
    config = run_config(prepared)
    train_run(config, tmp_path / "run")
    expected, newest = load_newest(tmp_path / "run")
    newest.write_bytes(newest.read_bytes()[:5000])
    train_run(config, tmp_path / "run", resume=True)
    same(load_newest(tmp_path / "run")[0], expected)


def refused(match, config, run, **options):
    before = {path: path.read_bytes() for path in Path(run).rglob("*") if path.is_file()}
    with pytest.raises(VoxflateError, match=match) as caught:
        train_run(config, run, **options)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in Path(run).rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("name", "value"),
    [("architecture", "baseline"), ("architecture", "split"), ("channels", 8), ("mapping_layers", 3)],
)
def test_a_snapshot_of_another_architecture_is_refused(name, value, prepared, tmp_path):
    run = tmp_path / "run"
    config = run_config(prepared, training__kimg=0.004)
    train_run(config, run)
    other = with_values(config, {f"network.{name}": value})
    refused(rf"was made with network.{name} = \S+, the settings say {value}", other, run, resume=True)


def test_a_run_is_neither_written_over_nor_resumed_from_nothing(prepared, tmp_path):
    config = run_config(prepared, training__kimg=0.004)
    refused("no snapshot to load", config, tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()
    train_run(config, tmp_path / "run")
    refused("holds snapshots; continue its training with --resume", config, tmp_path / "run")


def test_data_that_do_not_fit_are_refused(prepared, tmp_path):
    run = tmp_path / "run"
    refused(
        "its volumes are 4x8x8, the network makes 8x16x16 .* network.stages=2",
        run_config(prepared, network__stages=3),
        run,
    )
    refused("10 training volumes, fewer than one batch of 12", run_config(prepared, training__batch=12), run)
    refused("no such folder", run_config(tmp_path / "nothing"), run)
    assert not run.exists()


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_its_snapshots(prepared, tmp_path):
    config = run_config(prepared, training__lr_g=1e30, training__lr_d=1e30)
    with pytest.raises(
        VoxflateError, match=r"is not finite in the step after \d+ images.*training.restores=3"
    ):
        train_run(config, tmp_path / "run")
    assert all(torch.isfinite(tensor).all() for tensor in load_newest(tmp_path / "run")[0]["ema"].values())
    milder = with_values(config, {"training.lr_g": 1e-4, "training.lr_d": 1e-4})
    train_run(milder, tmp_path / "run", resume=True)
    assert numbers(tmp_path / "run")[-1] == 24


def test_a_run_folder_holds_what_its_description_says(prepared, tmp_path):
    run = tmp_path / "run"
    told = []
    config = run_config(prepared, evaluation__every=1)
    train_run(config, run, on_progress=told.append)
    assert load_config(run) == config
    facts = json.loads((run / "run.json").read_text())
    assert facts["data"] == prepared.content_hash
    assert facts["seed"] == 0
    assert [progress.n_images for progress in told] == [4, 8, 12, 16, 20, 24]
    assert {"loss_g", "loss_d", "r1"} <= told[0].scalars.keys()
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["n_images"] for row in rows] == [0, 12, 24]
    assert rows[0]["frechet-random-avg"] > 0
    assert list((run / "sheets").glob("kimg-*.png"))
    assert list((run / "tensorboard").iterdir())


@pytest.mark.parametrize("modules", ["g", "d", "gd"])
def test_an_inflated_run_starts_from_the_twins_average(modules, twin, prepared, tmp_path):
    report = train_run(started(prepared, twin, start__modules=modules), tmp_path / "run", stop_at=0)
    saved = json.loads((tmp_path / "run" / "inflation.json").read_text())
    assert saved == report.as_dict()
    source, start = load_newest(twin)[0], load_newest(tmp_path / "run")[0]
    assert start["n_images"] == 0
    kernels = {
        "g": (source["ema"], start["gan"]["generator"], "synthesis.stages.0.conv1.conv.branches.0.weight"),
        "d": (
            source["gan"]["discriminator"],
            start["gan"]["discriminator"],
            "epilogue.conv.branches.0.weight",
        ),
    }
    for letter, (flat, full, name) in kernels.items():
        assert torch.equal(full[name][:, :, 1], flat[name]) == (letter in modules)
    assert torch.equal(start["ema"]["synthesis.const"], start["gan"]["generator"]["synthesis.const"])


def test_an_inflated_run_is_taken_up_by_resume_and_logs_its_start_once(twin, prepared, tmp_path):
    run = tmp_path / "run"
    config = started(prepared, twin, "preserving", evaluation__every=1, training__kimg=0.008)
    train_run(config, run, stop_at=0)
    before = load_newest(run)[0]
    for _ in range(2):
        train_run(config, run, resume=True, stop_at=0)
    same(load_newest(run)[0], before)
    train_run(config, run, resume=True)
    rows = [json.loads(line)["n_images"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows == [0, 8]


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"network__architecture": "split"}, "network.architecture = split-shuffle, the 3D network split"),
        ({"network__architecture": "baseline"}, "network.architecture"),
        ({"network__channels": 8}, "no rule turns"),
        ({"network__base": (2, 2, 4), "network__stages": 2}, "network.base"),
        ({"strategy": "planar", "network__position": True}, "pre-train with --twin planar"),
        ({"network__low_pass_d": True}, "network.low_pass_d = false, the 3D network true"),
        ({"network__position": True}, "it lacks from_image.position"),
    ],
    ids=str,
)
def test_a_twin_that_does_not_fit_is_refused(values, match, twin, prepared):
    config = started(prepared, twin, **values)
    with pytest.raises(VoxflateError, match=match) as caught:
        apply_start(config, build_run_networks(config), prepared)
    assert "\n" not in str(caught.value)


def test_fresh_kernels_of_a_start_do_not_repeat_the_fresh_weights(twin, prepared):
    config = started(prepared, twin, "inflate-1")
    torch.manual_seed(config.training.seed)
    networks = build_run_networks(config)
    fresh = torch.randn(1000, generator=torch.Generator().manual_seed(config.training.seed))
    apply_start(config, networks, prepared)
    kernel = next(p for p in networks["generator"].parameters() if p.ndim == 5 and p.shape[2] == 3)
    start = kernel.detach()[:, :, 0].flatten() / 0.1
    repeated = torch.isclose(start[:, None], fresh, rtol=1e-4, atol=0).any(dim=1)
    assert repeated.float().mean() < 0.5


def test_a_3d_run_is_no_twin(twin, prepared, tmp_path):
    train_run(run_config(prepared, training__kimg=0.004), tmp_path / "three")
    config = started(prepared, tmp_path / "three")
    refused("is a 3D run; a start needs a 2D one", config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_generator_that_comes_back_is_the_average(prepared, tmp_path):
    config = run_config(prepared)
    train_run(config, tmp_path / "run")
    loaded = open_source(tmp_path / "run").load()
    generator = loaded.network
    state = load_newest(tmp_path / "run")[0]
    assert loaded.settings == config
    assert loaded.n_images == 24
    assert not generator.training
    same(dict(generator.state_dict()), dict(state["ema"]))
    assert not torch.equal(generator.synthesis.const, state["gan"]["generator"]["synthesis.const"])


def test_a_run_that_ended_before_its_measurement_makes_it_up(prepared, tmp_path):
    run = tmp_path / "run"
    config = run_config(prepared, evaluation__every=1)
    train_run(config, run)
    measured = read_rows(run / "metrics.jsonl")
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in measured[:-1]))
    newest = sorted((run / "sheets").glob("*.png"))[-1]
    picture = newest.read_bytes()
    newest.unlink()
    train_run(config, run, resume=True)
    assert read_rows(run / "metrics.jsonl") == measured
    assert newest.read_bytes() == picture


def test_metrics_are_those_of_the_averages_samples(prepared, tmp_path):
    train_run(run_config(prepared, evaluation__every=1, evaluation__samples=10), tmp_path / "run")
    row = read_rows(tmp_path / "run" / METRICS_NAME)[-1]
    average = open_source(tmp_path / "run").load().network
    made = torch.cat(list(sample(average, 10, seed=MEASURED_SEED, batch=SAMPLE_BATCH)))
    again = Evaluator(prepared, "random").measure([made.numpy()])
    for name in ("frechet-random-avg", "kid-random-heldout-avg", "pairwise-l2"):
        assert row[name] == pytest.approx(again[name], rel=1e-4), name


def test_every_second_snapshot_is_measured_and_the_last_one_too(prepared, tmp_path):
    config = run_config(prepared, evaluation__every=2, training__snapshot_kimg=0.004, training__kimg=0.02)
    train_run(config, tmp_path / "run")
    assert [row["n_images"] for row in read_rows(tmp_path / "run" / METRICS_NAME)] == [0, 8, 16, 20]


def test_a_fresh_run_does_not_replace_an_older_one_without_snapshots(prepared, tmp_path):
    run = tmp_path / "run"
    values = {"training__kimg": 0.004, "evaluation__every": 1}
    train_run(run_config(prepared, **values), run)
    for path in list_snapshots(run):
        path.unlink()
    refused("snapshots are missing", run_config(prepared, training__seed=5, **values), run)


def test_a_refused_resume_leaves_the_settings_alone(prepared, tmp_path):
    run = tmp_path / "run"
    config = run_config(prepared, **KINDS["planar"], training__batch=6, training__mbstd_group=2)
    train_run(config, run, stop_at=6)
    groups = with_values(config, {"training.batch": 8, "training.mbstd_group": 4})
    refused("whole groups of 4", groups, run, resume=True)
    train_run(load_config(run), run, resume=True)


@pytest.mark.parametrize(
    ("key", "before", "value"),
    [("training.flip", False, True), ("training.seed", 0, 5), ("start.twin", "", "elsewhere")],
)
def test_a_resumed_run_keeps_its_past_whoever_calls(key, before, value, prepared, tmp_path):
    run = tmp_path / "run"
    config = run_config(prepared, training__kimg=0.004)
    train_run(config, run)
    other = with_values(config, {key: value, "training.lr_g": 0.001})
    refused(rf"{run}: was started with {key} = {before}, the settings say {value}; ", other, run, resume=True)
    train_run(with_values(config, {"training.tf32": False, "training.kimg": 0.008}), run, resume=True)
    assert load_newest(run)[0]["n_images"] == 8


def test_other_data_under_the_same_name_are_refused(tmp_path):
    data = tmp_path / "data"
    config = run_config(write_prepared(data), training__kimg=0.004)
    train_run(config, tmp_path / "run")
    data.rename(tmp_path / "old")
    write_prepared(data, seed=1)
    refused("is not the data that", config, tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("values", "match"),
    [({"evaluation__extractor": "nothing"}, "there is no 'nothing'")],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_written(values, match, prepared, tmp_path):
    refused(match, run_config(prepared, evaluation__every=1, **values), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_that_are_nan_are_not_saved(prepared, tmp_path, monkeypatch):
    step = Gan.step

    def poisoned(self, reals, positions, labels, *, number, train_g):
        losses = step(self, reals, positions, labels, number=number, train_g=train_g)
        if number == 4:
            next(self.discriminator.parameters()).data[0] = float("nan")
            losses = {name: torch.zeros(()) for name in losses}
        return losses

    monkeypatch.setattr(Gan, "step", poisoned)
    config = run_config(prepared, training__kimg=0.020)
    with pytest.raises(
        VoxflateError, match=r"weight of discriminator\.\S+ is not finite in the step after 20 images"
    ):
        train_run(config, tmp_path / "run")
    assert numbers(tmp_path / "run") == [0, 12]


def test_the_settings_of_schedule_and_average_arrive_with_their_values(prepared, tmp_path, monkeypatch):
    values = {"freeze_g_kimg": 0.008, "lr_decay": 0.25, "ema_halflife_fraction": 0.3, "ema_kimg": 2.0}
    config = run_config(prepared, **{f"training__{name}": value for name, value in values.items()})
    started = []
    monkeypatch.setattr(run_module, "train", lambda *parts: started.append(parts))
    train_run(config, tmp_path / "run", stop_at=16)
    ((state, _, schedule, *_),) = started
    expected = {"total": 24, "batch": 4, "snapshot_every": 12, "freeze_g": 8, "lr_decay": 0.25, "stop_at": 16}
    assert schedule == Schedule(**expected)
    assert (state.ema.fraction, state.ema.limit) == (0.3, 2000)


def test_short_trainings_leave_a_log(prepared, tmp_path):
    train_run(run_config(prepared), tmp_path / "run")
    assert read_rows(tmp_path / "run" / "log.jsonl")[-1]["n_images"] == 24


def test_too_few_real_volumes_to_measure_are_refused_before_anything_is_written(tmp_path):
    few = write_prepared(tmp_path / "few", n_train=2, n_heldout=1)
    values = {"training__batch": 2, "evaluation__every": 1}
    refused("3 real volumes are too few", run_config(few, **values), tmp_path / "run")
    train_run(run_config(few, training__batch=2, training__kimg=0.002), tmp_path / "run")


def test_flips_of_volumes_of_one_side_get_a_warning(tmp_path):
    sides = {}
    for name in ("both", "one"):
        made = write_prepared(tmp_path / name)
        volumes = np.load(made.root / "train.npy")
        if name == "one":
            volumes[..., volumes.shape[-1] // 2 :] = volumes.min()
        else:
            volumes = np.maximum(volumes, volumes[..., ::-1])
        np.save(made.root / "train.npy", volumes)
        for flip in (False, True):
            notes = []
            config = run_config(made, training__flip=flip)
            train_run(config, tmp_path / f"{name}-{flip}", stop_at=0, on_note=notes.append)
            sides[name, flip] = any("the mean training volume is unlike its mirror" in note for note in notes)
    assert sides == {
        ("both", False): False,
        ("both", True): False,
        ("one", False): False,
        ("one", True): True,
    }


def test_a_start_from_an_unfinished_2d_run_gets_a_warning(prepared, tmp_path):
    """Otherwise an interrupted 2D run would pass for a finished one."""
    pretraining = run_config(prepared, training__phase="2d", training__kimg=0.008)
    told = {}
    for name, stop_at in (("stopped", 4), ("finished", None)):
        twin = tmp_path / name
        train_run(pretraining, twin, stop_at=stop_at)
        notes = []
        train_run(started(prepared, twin), tmp_path / f"3d-{name}", stop_at=0, on_note=notes.append)
        told[name] = [note for note in notes if "stands at 0.004 of its 0.008 kimg" in note]
    assert [len(notes) for notes in told.values()] == [1, 0]
    assert f"(voxflate pretrain --out {tmp_path / 'stopped'} --resume)" in told["stopped"][0]


@pytest.mark.parametrize("reuse", [True, False])
def test_a_comparison_model_says_that_it_does_not_reuse_fakes(reuse, cubes, tmp_path):
    notes = []
    config = comparison(cubes, "wgan-gp", training__reuse_fakes=reuse)
    train_run(config, tmp_path / "run", stop_at=0, on_note=notes.append)
    lines = [note for note in notes if note.startswith("warning: wgan-gp ignores these settings, which are")]
    assert any("training.reuse_fakes=true" in line for line in lines) == reuse


@pytest.mark.parametrize(("group", "warns"), [(2, True), (3, False)])
def test_pictures_of_fewer_volumes_than_colours_are_warned_of(group, warns, prepared, tmp_path):
    """A user who saves memory with small groups would otherwise lose variety without a word."""
    slices = {"slice_discriminator__weight": 1.0, "slice_discriminator__features": "random"}
    config = run_config(
        prepared, training__batch=group, training__mbstd_group=group, training__kimg=0.004,
        slice_discriminator__channels="neighbours", **slices,
    )  # fmt: skip
    told = []
    train_run(config, tmp_path / "run", on_note=told.append, stop_at=0)
    assert any(f"shows {group} instead of 3 volumes in a picture" in line for line in told) == warns
