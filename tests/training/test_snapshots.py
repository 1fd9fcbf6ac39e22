import errno
import os
import resource
from pathlib import Path

import pytest
import torch

from voxflate.errors import VoxflateError
from voxflate.training import snapshots
from voxflate.training.snapshots import (
    list_snapshots,
    load_newest,
    load_snapshot,
    save_snapshot,
    snapshot_path,
)
from voxflate.training.state import FORMAT


def state(n_images):
    """A snapshot as far as it is looked at before it meets its networks."""
    return {
        "format": FORMAT,
        "n_images": n_images,
        "steps": n_images // 8,
        "seconds": 1.0,
        "lr_scale": 1.0,
        "restores": 0,
        "network": {},
        "gan": {"weights": torch.full((100_000,), float(n_images))},
        "ema": {},
        "rng": torch.get_rng_state(),
    }


def numbers(run):
    return [int(path.stem.split("-")[1]) for path in list_snapshots(run)]


def leftovers(run):
    return [path.name for path in (run / snapshots.FOLDER).iterdir() if not path.name.startswith("snapshot-")]


def test_the_newest_stay_and_the_newest_is_loaded(tmp_path):
    for n_images in (0, 800, 10_000_000, 20_000_000):
        path = save_snapshot(tmp_path, state(n_images), keep=2)
        assert path == snapshot_path(tmp_path, n_images)
    assert numbers(tmp_path) == [10_000_000, 20_000_000]
    loaded, path = load_newest(tmp_path)
    assert path == snapshot_path(tmp_path, 20_000_000)
    assert torch.equal(loaded["gan"]["weights"], state(20_000_000)["gan"]["weights"])
    assert not leftovers(tmp_path)


def test_damaged_snapshots_after_the_one_written_go(tmp_path):
    save_snapshot(tmp_path, state(8), keep=1)
    save_snapshot(tmp_path, state(32), keep=2).write_bytes(b"damaged")
    path = save_snapshot(tmp_path, state(16), keep=1)
    assert path.exists()
    assert numbers(tmp_path) == [16]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_cut_off_snapshot_is_passed_over(tmp_path, share):
    for n_images in (8, 16):
        path = save_snapshot(tmp_path, state(n_images), keep=2)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(VoxflateError, match="is damaged"):
        load_snapshot(path)
    assert load_newest(tmp_path)[0]["n_images"] == 8


def test_where_no_snapshot_is_whole_one_line_says_so(tmp_path):
    with pytest.raises(VoxflateError, match="no snapshot to load"):
        load_newest(tmp_path)
    save_snapshot(tmp_path, state(8), keep=1).write_bytes(b"PK nothing")
    with pytest.raises(VoxflateError, match="none of its 1 snapshots can be read") as caught:
        load_newest(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [{"format": FORMAT + 1}, {"n_images": 3}, [1, 2]])
def test_a_file_of_another_format_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(VoxflateError, match="snapshot format"):
        load_snapshot(tmp_path / "other.pt")


def test_loading_runs_no_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    torch.save({"format": FORMAT, "trap": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(VoxflateError, match="holds more than tensors and numbers"):
        load_snapshot(tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(("module", "name"), [(os, "fsync"), (Path, "write_bytes"), (os, "replace")])
def test_a_full_disk_leaves_the_snapshot_before(tmp_path, monkeypatch, module, name):
    save_snapshot(tmp_path, state(8), keep=1)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, name, full)
    with pytest.raises(VoxflateError, match="No space left on device"):
        save_snapshot(tmp_path, state(16), keep=1)
    monkeypatch.undo()
    assert load_newest(tmp_path)[0]["n_images"] == 8
    assert numbers(tmp_path) == [8]
    assert not leftovers(tmp_path)


def test_a_disk_that_fills_up_on_the_way_leaves_the_snapshot_before(tmp_path):
    """The operating system itself stops the writing in the middle of the file."""
    save_snapshot(tmp_path, state(8), keep=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(VoxflateError, match="File too large") as caught:
            save_snapshot(tmp_path, state(16), keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert load_newest(tmp_path)[0]["n_images"] == 8
    assert not leftovers(tmp_path)
