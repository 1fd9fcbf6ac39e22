"""Two machines train what one process would: two network namespaces, joined by a cable of their own.

Needs root and `ip` (Debian: iproute2), so it runs with `make bench`.
"""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests._system.test_distributed import SECONDS, assert_same_weights, settings
from tests.strategies import PAIRS, write_prepared
from voxflate.config.toml import save_config
from voxflate.data.channels import Layout
from voxflate.runs.snapshots import list_snapshots
from voxflate.training.run import train_run

NODES = ("vf-one", "vf-two")
ADDRESSES = ("10.213.77.1", "10.213.77.2")


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


def remove():
    for node in NODES:
        subprocess.run(["ip", "netns", "del", node], check=False, capture_output=True)


@pytest.fixture
def nodes():
    """Two namespaces that see each other and nothing else."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need root and iproute2")
    remove()
    try:
        for node in NODES:
            ip("netns", "add", node)
        ip("link", "add", "vf0", "netns", NODES[0], "type", "veth", "peer", "name", "vf0", "netns", NODES[1])
        for node, address in zip(NODES, ADDRESSES, strict=True):
            ip("-n", node, "addr", "add", f"{address}/24", "dev", "vf0")
            ip("-n", node, "link", "set", "vf0", "up")
            ip("-n", node, "link", "set", "lo", "up")
    except subprocess.CalledProcessError as error:
        remove()
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    yield NODES
    remove()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("data") / "set", layout=Layout(labels=PAIRS.labels))


def start(config, run, *options):
    """One torchrun per machine, as a SLURM step would start them; one process each."""
    folder = run.parent / f"{run.name}-settings"
    folder.mkdir(exist_ok=True)
    save_config(config, folder)
    settings_of = [] if "--resume" in options else ["--config", str(folder / "config.toml")]
    started = []
    for rank, (node, address) in enumerate(zip(NODES, ADDRESSES, strict=True)):
        words = ["--nnodes", "2", "--nproc-per-node", "1", "--node-rank", str(rank), "--rdzv-backend", "c10d"]
        words += ["--rdzv-endpoint", f"{ADDRESSES[0]}:29517", "--rdzv-id", "a-job", "--local-addr", address]
        # torchrun tells the host by its name, and both namespaces have the same one.
        words += ["--rdzv-conf", f"is_host={int(rank == 0)}"]
        words += ["-m", "voxflate", "train", "--out", str(run), *options, *settings_of]
        started.append(
            subprocess.Popen(
                ["ip", "netns", "exec", node, sys.executable, "-m", "torch.distributed.run", *words],
                env={**os.environ, "GLOO_SOCKET_IFNAME": "vf0"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
    return started


def ended(processes):
    said = [process.communicate(timeout=SECONDS) for process in processes]
    return [process.returncode for process in processes], said


@pytest.mark.slow
def test_two_machines_give_the_run_of_one_process(nodes, prepared, tmp_path):
    config = settings(prepared, network__label_width=3)
    train_run(config, tmp_path / "one")
    statuses, said = ended(start(config, tmp_path / "two"))
    assert statuses == [0, 0], said
    assert_same_weights(tmp_path / "two", tmp_path / "one")


@pytest.mark.slow
def test_a_lost_machine_ends_the_other_with_one_line_and_the_run_goes_on(nodes, prepared, tmp_path):
    run = tmp_path / "run"
    config = settings(prepared, training__kimg=40.0, evaluation__every=0)
    first, second = start(config, run)
    deadline = time.monotonic() + SECONDS
    while len(list_snapshots(run)) < 2 and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    inside = subprocess.run(["ip", "netns", "pids", NODES[1]], capture_output=True, text=True, check=True)
    for process in map(int, inside.stdout.split()):
        os.kill(process, signal.SIGKILL)
    (status, _), [(_, said), _] = ended([first, second])
    assert status != 0
    ours = [line for line in said.splitlines() if line.startswith("voxflate: ")]
    assert "another process of this run was lost" in ours[-1]
    assert not any("voxflate" in line for line in said.splitlines() if line.startswith("  File"))
    images = int(list_snapshots(run)[-1].stem.rpartition("-")[2])
    goes_on = settings(prepared, training__kimg=(images + 8) / 1000, evaluation__every=0)
    done = start(goes_on, run, "--resume", "--set", f"training.kimg={(images + 8) / 1000}")
    statuses, said = ended(done)
    assert statuses == [0, 0], said
    assert int(list_snapshots(run)[-1].stem.rpartition("-")[2]) == images + 8
