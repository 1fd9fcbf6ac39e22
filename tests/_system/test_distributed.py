"""Several processes train what one would: real processes, over gloo."""

import os
import socket
import subprocess
import sys
import time

import pytest
import torch

from tests.strategies import PAIRS, run_config, write_prepared
from voxflate._system.distributed import ALONE, World, joined_world
from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json
from voxflate.config.build import Stream, build_gan, build_run_networks
from voxflate.config.toml import save_config
from voxflate.data.channels import Layout
from voxflate.runs.log import METRICS_NAME, read_rows
from voxflate.runs.snapshots import list_snapshots, load_newest
from voxflate.training.run import train_run

SECONDS = 300

SLICES = {
    "slice_discriminator__weight": 1.0,
    "slice_discriminator__side": 32,
    "slice_discriminator__features": "random",
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("data") / "set", layout=Layout(labels=PAIRS.labels))


def settings(prepared, **values):
    return run_config(
        prepared,
        **{
            "training__kimg": 0.016,
            "training__snapshot_kimg": 0.008,
            "training__augment": "translation",
            "training__flip": True,
            "evaluation__every": 1,
            "evaluation__samples": 20,
            **values,
        },
    )


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(config, run, size, *options):
    """Start the processes of a training, as torchrun would."""
    folder = run.parent / f"{run.name}-settings"
    folder.mkdir(exist_ok=True)
    save_config(config, folder)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(size)}
    command = [sys.executable, "-m", "voxflate", "train", "--out", str(run), *options]
    if "--resume" not in options:
        command += ["--config", str(folder / "config.toml")]
    return [
        subprocess.Popen(
            command,
            env={
                **os.environ,
                **place,
                "PYTHONFAULTHANDLER": "1",  # a crash says where
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "LOCAL_WORLD_SIZE": str(size),
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


def ended(processes):
    """Exit statuses and what was said."""
    said = [process.communicate(timeout=SECONDS)[1] for process in processes]
    return [process.returncode for process in processes], said


def assert_same_weights(run, other):
    ours, theirs = (load_newest(folder, lambda _: None)[0] for folder in (run, other))
    assert ours["n_images"] == theirs["n_images"]
    for name, tensor in ours["ema"].items():
        torch.testing.assert_close(tensor, theirs["ema"][name], rtol=1e-3, atol=1e-4)


def test_two_processes_give_the_run_of_one_and_one_may_go_on(prepared, tmp_path):
    # Slices, so that images must know their number in the whole batch; labels, so that each keeps its own.
    config = settings(prepared, **SLICES, network__label_width=3)
    train_run(config, tmp_path / "one")
    statuses, said = ended(start(config, tmp_path / "two", 2))
    assert statuses == [0, 0], said
    assert_same_weights(tmp_path / "two", tmp_path / "one")
    one, two = (read_rows(tmp_path / name / METRICS_NAME) for name in ("one", "two"))
    assert [row["n_images"] for row in two] == [row["n_images"] for row in one] == [0, 8, 16]
    assert all(row["n-generated"] == 20 for row in two)
    for ours, theirs in zip(two, one, strict=True):
        assert ours["pairwise-l2"] == pytest.approx(theirs["pairwise-l2"], rel=1e-3)
    assert read_json(tmp_path / "two" / "run.json")["processes"] == 2
    # The last snapshot is lost; another number of processes makes it again.
    list_snapshots(tmp_path / "two")[-1].unlink()
    assert ended(start(config, tmp_path / "two", 1, "--resume"))[0] == [0]
    assert_same_weights(tmp_path / "two", tmp_path / "one")


@pytest.mark.slow
def test_torchrun_starts_them(prepared, tmp_path):
    config = settings(prepared, training__kimg=0.004, training__snapshot_kimg=0.004, evaluation__every=0)
    save_config(config, tmp_path)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-port", str(free_port()), "-m", "voxflate", "train", "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [*command, "--config", str(tmp_path / "config.toml")], capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("next: voxflate generate") == 1
    assert [path.name for path in list_snapshots(tmp_path / "run")] == [
        "snapshot-000000000.safetensors",
        "snapshot-000000004.safetensors",
    ]


def test_a_lost_process_ends_the_run_with_one_line_and_it_goes_on(prepared, tmp_path):
    run = tmp_path / "run"
    config = settings(prepared, training__kimg=40.0, evaluation__every=0)
    first, second = start(config, run, 2)
    while len(list_snapshots(run)) < 2 and first.poll() is None:
        time.sleep(0.1)
    second.kill()
    (status, _), (said, _) = ended([first, second])
    assert status == 2
    lines = [line for line in said.splitlines() if line.startswith("voxflate: another")]
    assert len(lines) == 1
    assert "another process of this run was lost" in lines[0]
    assert "--resume" in lines[0]
    assert "Traceback" not in said
    at = load_newest(run, lambda _: None)[0]["n_images"]
    train_run(config, run, resume=True, stop_at=at + 8)


@pytest.mark.slow
def test_a_request_to_end_is_heard_by_all(prepared, tmp_path):
    run = tmp_path / "run"
    processes = start(settings(prepared, training__kimg=40.0, evaluation__every=0), run, 2)
    while len(list_snapshots(run)) < 2 and processes[0].poll() is None:
        time.sleep(0.1)
    processes[1].terminate()  # one is enough
    statuses, said = ended(processes)
    assert statuses == [0, 0], said
    at = load_newest(run, lambda _: None)[0]["n_images"]
    assert f"{at} images" in said[0] or at > 8


def test_shares_of_the_stream_make_up_its_batches(prepared):
    for values in (
        {},
        {"training__phase": "2d"},
        {"training__phase": "2d", "training__twin": "planar", "network__position": True},
    ):
        config = settings(prepared, **values)
        cpu, worlds = torch.device("cpu"), (World(0, 2), World(1, 2))
        whole = Stream(prepared, config.training, cpu, labels=True)(8, 8)
        shares = [Stream(prepared, config.training, cpu, world, labels=True)(8, 8) for world in worlds]
        assert torch.equal(torch.cat([share.labels for share in shares]), whole.labels)
        assert torch.equal(torch.cat([share.reals for share in shares]), whole[0])
        if whole[1] is not None:
            assert torch.equal(torch.cat([share.positions for share in shares]), whole[1])


def test_a_batch_that_cannot_be_shared_is_refused(prepared):
    config = settings(prepared, training__batch=6)
    refusal = r"training.batch = 6: 2 processes need a multiple of 4, .* set training.batch=8"
    with pytest.raises(VoxflateError, match=refusal):
        build_gan(config, build_run_networks(config), World(0, 2))


def test_without_torchrun_the_process_is_alone():
    with joined_world("cpu", {}) as world:
        assert world == ALONE
        assert world.is_first
        assert world.any(True, torch.device("cpu"))
        assert world.agree_on([1.0], torch.device("cpu"))
