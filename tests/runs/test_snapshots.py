import errno
import io
import json
import os
import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from voxflate._system.errors import VoxflateError
from voxflate.gans.state import FORMAT
from voxflate.runs import snapshots
from voxflate.runs.snapshots import (
    best_snapshot,
    list_snapshots,
    load_chosen,
    load_newest,
    load_snapshot,
    save_snapshot,
    snapshot_path,
)


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


def test_any_flipped_bit_is_noticed_and_said(tmp_path):
    save_snapshot(tmp_path, state(8), keep=2)
    path = save_snapshot(tmp_path, state(16), keep=2)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    places = {0, len(content) - 1, len(content) - 64, len(content) - 65, len(content) - 66}
    for place in sorted(places | set(rng.integers(0, len(content), 100).tolist())):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        told = []
        assert load_newest(tmp_path, told.append)[0]["n_images"] == 8, place
        (line,) = told
        assert str(path) in line
        assert "\n" not in line


def test_a_snapshot_is_a_plain_pytorch_file(tmp_path):
    path = save_snapshot(tmp_path, state(8), keep=1)
    assert torch.load(path, weights_only=True)["n_images"] == 8
    assert len(zipfile.ZipFile(path).comment) == 64


def test_a_snapshot_of_the_format_before_is_upgraded(tmp_path):
    old = {key: value for key, value in state(8).items() if key not in ("lr_scale", "restores")}
    torch.save(old | {"format": 2}, tmp_path / "old.pt")
    loaded = load_snapshot(tmp_path / "old.pt")
    assert (loaded["format"], loaded["lr_scale"], loaded["restores"]) == (FORMAT, 1.0, 0)


def test_a_snapshot_of_this_format_without_its_checksum_is_refused(tmp_path):
    torch.save(state(8), tmp_path / "bare.pt")
    with pytest.raises(VoxflateError, match="its checksum is missing"):
        load_snapshot(tmp_path / "bare.pt")


def old_format(content):
    """Bytes of a snapshot without a seal, as anybody can write one."""
    buffer = io.BytesIO()
    torch.save(state(8) | {"format": 2} | content, buffer)
    return buffer.getvalue()


def compressed(content):
    """The same archive with its entries deflated: a small file that is large in memory."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(buffer, "w") as bomb:
        for entry in archive.infolist():
            bomb.writestr(entry.filename, archive.read(entry), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (
            compressed(old_format({"gan": {"weights": torch.zeros(1_000_000)}})),
            "a snapshot is never compressed",
        ),
        (
            old_format({"ema": {"weights": torch.zeros(1).expand(2**40)}}),
            r"a tensor claims \(1099511627776,\)",
        ),
        (old_format({"rng": "none"}), "its rng is no Tensor"),
        (old_format({"n_images": "8"}), "its n_images is no int"),
        (b"PK\x05\x06" + b"\xff" * 18, "is damaged"),
        (b"\x80\x04" + b"(" * 100_000, "is damaged"),
    ],
    ids=["zip bomb", "a terabyte of one number", "no tensor", "no number", "broken directory", "deep pickle"],
)
def test_a_snapshot_that_lies_is_refused_before_memory_is_taken(tmp_path, content, match):
    path = tmp_path / "lie.pt"
    path.write_bytes(content)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, limits[1]))
    try:
        with pytest.raises(VoxflateError, match=match):
            load_snapshot(path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def test_a_file_of_a_terabyte_of_nothing_is_refused_unread(tmp_path):
    with open(tmp_path / "sparse.pt", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(VoxflateError, match="at most"):
        load_snapshot(tmp_path / "sparse.pt")


def test_the_best_stays_beside_the_newest(tmp_path):
    figures = {0: 0.9, 8: 0.2, 16: 0.5, 24: 0.4, 32: 0.3}
    for n_images, figure in figures.items():
        best = best_snapshot(tmp_path)
        save_snapshot(tmp_path, state(n_images), keep=2, protect=[best] if best else [])
        with open(tmp_path / "metrics.jsonl", "a") as file:
            file.write(json.dumps({"n_images": n_images, "kid-random-heldout-avg": figure}) + "\n")
    assert numbers(tmp_path) == [8, 24, 32]
    assert load_chosen(tmp_path, "best")[0]["n_images"] == 8
    assert load_chosen(tmp_path, "newest")[0]["n_images"] == 32


def test_newest_means_most_images_whatever_the_clock_says(tmp_path):
    for n_images in (8, 999_999_999, 1_000_000_000):
        os.utime(save_snapshot(tmp_path, state(n_images), keep=3), (10**9 - n_images, 10**9 - n_images))
    assert load_newest(tmp_path)[0]["n_images"] == 1_000_000_000
    assert numbers(tmp_path) == [8, 999_999_999, 1_000_000_000]
