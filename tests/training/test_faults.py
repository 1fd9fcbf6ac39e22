"""What happens to a run when the machine fails it, as in docs/measurements/faults.md."""

import os
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.strategies import run_config, write_prepared
from tests.training.test_run import same
from voxflate._system.errors import VoxflateError
from voxflate.runs.snapshots import list_snapshots, load_newest
from voxflate.training.run import train_run

NOBODY = 65534


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="module")
def whole(prepared, tmp_path_factory):
    """The last snapshot of a run that nothing happened to."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    train_run(run_config(prepared), run)
    return load_newest(run)[0]


@pytest.fixture
def open_folder():
    """A folder that everybody may enter, as pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="voxflate-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def at(n_images, do):
    """Calls `do` after the step that ends at so many images."""
    return lambda progress: do() if progress.n_images == n_images else None


def fails(config, run, match, **options):
    with pytest.raises(VoxflateError, match=match) as caught:
        train_run(config, run, **options)
    assert "\n" not in str(caught.value)


def goes_on(config, run, whole, notes=()):
    told = []
    train_run(config, run, resume=True, on_note=told.append)
    same(load_newest(run)[0], whole)
    notes = (" path (", *notes)  # how the networks run comes first
    assert len(told) == len(notes)
    assert all(note in line for note, line in zip(notes, told, strict=True)), told


def test_a_full_disk(prepared, whole, open_folder):
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", open_folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        run, config = open_folder / "run", run_config(prepared)

        def fill():
            free = os.statvfs(open_folder).f_bavail * os.statvfs(open_folder).f_bsize
            (open_folder / "ballast").write_bytes(bytes(free - 40_000))

        fails(config, run, "No space left on device.*free some space", on_progress=at(8, fill))
        assert load_newest(run)[0]["n_images"] == 0
        (open_folder / "ballast").unlink()
        goes_on(config, run, whole)
    finally:
        subprocess.run(["umount", open_folder], check=True)


def test_a_quota(prepared, whole, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    config = run_config(prepared)
    try:
        small = at(8, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1])))
        fails(config, tmp_path / "run", "File too large", on_progress=small)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load_newest(tmp_path / "run")[0]["n_images"] == 0
    goes_on(config, tmp_path / "run", whole)


def test_a_folder_that_becomes_read_only(whole, open_folder):
    """Root may write everywhere, so the training becomes somebody else for a while."""
    run, config = open_folder / "run", run_config(write_prepared(open_folder / "data"))
    train_run(config, run, stop_at=12)

    def seal(mode):
        for folder in (run, *(path for path in run.rglob("*") if path.is_dir())):
            folder.chmod(mode)

    seal(0o555)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(NOBODY)
        fails(config, run, "cannot be written .Permission denied.*make its folder writable", resume=True)
    finally:
        if root:
            os.seteuid(0)
        seal(0o755)
    assert load_newest(run)[0]["n_images"] == 12
    goes_on(config, run, whole)


def test_snapshots_removed_under_the_run(prepared, whole, tmp_path):
    run = tmp_path / "run"
    train_run(run_config(prepared), run, on_progress=at(8, lambda: shutil.rmtree(run / "snapshots")))
    same(load_newest(run)[0], whole)


def test_the_run_removed_under_itself(prepared, tmp_path):
    run = tmp_path / "run"
    fails(
        run_config(prepared),
        run,
        "its folder was removed",
        on_progress=at(8, lambda: shutil.rmtree(run)),
    )


def test_data_removed_under_the_run(whole, tmp_path):
    config = run_config(write_prepared(tmp_path / "data"))
    train_run(config, tmp_path / "run", on_progress=at(8, lambda: shutil.rmtree(tmp_path / "data")))
    same(load_newest(tmp_path / "run")[0], whole)
    fails(config, tmp_path / "run", "no such folder", resume=True)


def test_facts_removed_between_two_starts(prepared, whole, tmp_path):
    run, config = tmp_path / "run", run_config(prepared)
    train_run(config, run, stop_at=12)
    facts = (run / "run.json").read_bytes()
    (run / "run.json").unlink()
    fails(config, run, r"run\.json: no such file", resume=True)
    (run / "run.json").write_bytes(facts)
    goes_on(config, run, whole)


def test_a_clock_that_is_set_back(prepared, whole, tmp_path, monkeypatch):
    run, config, now = tmp_path / "run", run_config(prepared), [2e9]

    def back():
        now[0] -= 86_400.0
        return now[0]

    monkeypatch.setattr(time, "time", back)
    train_run(config, run, stop_at=12)
    for i, path in enumerate(list_snapshots(run)):
        os.utime(path, (1e9 - i, 1e9 - i))
    goes_on(config, run, whole)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: content[: len(content) // 2], "is damaged"),
        (lambda content: content[:-1], "is damaged"),
        (lambda content: content[:5000] + bytes([content[5000] ^ 4]) + content[5001:], "is damaged"),
        (lambda content: b"", "is damaged"),
    ],
    ids=["truncated", "last byte missing", "flipped bit", "empty"],
)
def test_a_damaged_newest_snapshot(damage, said, prepared, whole, tmp_path):
    run, config = tmp_path / "run", run_config(prepared)
    train_run(config, run)
    newest = list_snapshots(run)[-1]
    newest.write_bytes(damage(newest.read_bytes()))
    before = list_snapshots(run)[-2]
    goes_on(config, run, whole, notes=(f"skipped {newest}", f"continuing from {before}"))


def test_leftovers_of_a_killed_process_go(prepared, whole, tmp_path):
    run, config = tmp_path / "run", run_config(prepared)
    train_run(config, run, stop_at=12)
    leftovers = [
        run / ".tmp-1-log.jsonl",
        run / "snapshots" / ".tmp-1-x.safetensors",
        run / "sheets" / ".tmp-1-a.png",
    ]
    for path in leftovers:
        path.write_text("half")
    goes_on(config, run, whole)
    assert not any(path.exists() for path in leftovers)
