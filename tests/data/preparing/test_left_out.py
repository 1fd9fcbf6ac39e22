"""Scans that are left out when their voxels are read decide nothing: no voxel size, split, class or kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.preparing.test_prepare import Reads, refusal
from voxflate._system.errors import VoxflateError
from voxflate._system.files import sha256
from voxflate.data.prepared import PreparedSet
from voxflate.data.preparing.prepare import prepare
from voxflate.data.sources.account import Account
from voxflate.data.sources.source import Reading

SHAPE = (8, 16, 16)
WriteScan = Callable[..., Path]
WIDE = np.diag([12.0, 12.0, 12.0, 1.0])


def spoil(path: Path, write_scan: WriteScan, affine: Any = None) -> None:
    """A scan whose header is fine, with a NaN among its voxels."""
    array = np.random.default_rng(99).uniform(0, 100, (12, 14, 10)).astype(np.float32)
    array[3, 3, 3] = np.nan
    write_scan(path, array, affine)


def content(made: PreparedSet) -> tuple[Any, ...]:
    """Everything that makes a set, but the account of files."""
    made.verify()
    manifest = made.manifest
    scans = [(one.subject, one.split, one.scan, one.voxels_sha256, one.labels) for one in manifest.scans]
    return made.content_hash, manifest.steps, scans, manifest.layout, manifest.spacing


def prepared(source: Path, out: Path, **settings: Any) -> tuple[PreparedSet, Account]:
    account = Account()
    return prepare(source, out, "mr", SHAPE, refuse=lambda error: None, account=account, **settings), account


def test_a_scan_left_out_does_not_choose_the_voxel_size(
    scans: Path, tmp_path: Path, write_scan: WriteScan
) -> None:
    expected, _ = prepared(scans, tmp_path / "expected")
    spoil(scans / "wide.nii", write_scan, WIDE)
    made, account = prepared(scans, tmp_path / "made")
    assert content(made) == content(expected)
    assert [reason.split(";")[0] for reason in account.left_out()] == ["1 of 1680 voxels are NaN"]
    assert not any("box" in note for note in account.notes)
    names = sorted(path.name for path in made.root.iterdir())
    assert names == ["heldout.npy", "manifest.json", "report.html", "train.npy"]


def test_a_scan_left_out_moves_nobody_if_it_decided_nothing(
    scans: Path, tmp_path: Path, write_scan: WriteScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = prepared(scans, tmp_path / "whole", held_out=0.3)
    spoiled = next(one for one in whole.manifest.scans if one.split == "train").source_sha256
    path = next(path for path in scans.iterdir() if sha256(path) == spoiled)
    path.unlink()
    spoil(path, write_scan)
    reads = Reads(monkeypatch)
    made, _ = prepared(scans, tmp_path / "made", held_out=0.3)
    assert reads.count == 10  # nothing was made again
    split = {one.source_sha256: one.split for one in whole.manifest.scans}
    assert len(made.manifest.scans) == 9
    assert all(split[one.source_sha256] == one.split for one in made.manifest.scans)


@pytest.mark.parametrize("spoilt", ["voxels", "header"])
def test_a_split_that_is_emptied_is_made_again(
    scans: Path, tmp_path: Path, write_scan: WriteScan, spoilt: str
) -> None:
    whole, _ = prepared(scans, tmp_path / "whole")
    (held,) = [one for one in whole.manifest.scans if one.split == "heldout"]
    path = next(path for path in scans.iterdir() if sha256(path) == held.source_sha256)
    path.unlink()
    expected, _ = prepared(scans, tmp_path / "expected")
    if spoilt == "voxels":
        spoil(path, write_scan)
    else:
        path.write_bytes(b"no image")
    made, account = prepared(scans, tmp_path / "made")
    assert content(made) == content(expected)
    assert len(made.stored("heldout")) == 1
    assert not any("held out, because" in note for note in account.notes)


def listed(folder: Path, splits: list[str]) -> Path:
    """A list of the scans whose names end in 0, 1, ..., with their splits."""
    rows = [f"MUSTERMANN-{i}.nii.gz,{split}" for i, split in enumerate(splits)]
    (folder / "list.csv").write_text("\n".join(["file,split", *rows, ""]))
    return folder / "list.csv"


@pytest.mark.parametrize("spoilt", [True, False], ids=["held out and damaged", "nobody held out"])
def test_the_note_on_a_list_s_split_gives_the_true_reason(
    scans: Path, tmp_path: Path, write_scan: WriteScan, spoilt: bool
) -> None:
    source = listed(scans, ["train", "train", "train", "heldout" if spoilt else "train"])
    if spoilt:
        spoil(scans / "MUSTERMANN-3.nii.gz", write_scan)
    made, account = prepared(source, tmp_path / "made")
    assert len(made.manifest.scans) == 4 - spoilt
    (note,) = [note for note in account.notes if "no volume is held out" in note]
    assert "because the list holds out none of the scans that could be used" in note


def test_a_list_of_which_nobody_is_left_to_train_on_is_refused(
    scans: Path, tmp_path: Path, write_scan: WriteScan
) -> None:
    source = listed(scans, ["train", "heldout", "heldout"])
    spoil(scans / "MUSTERMANN-0.nii.gz", write_scan)
    text = refusal(lambda: prepared(source, tmp_path / "made"))
    assert "list.csv: every scan that it lists for training was left out" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scans"]


def test_labels_and_classes_of_scans_left_out_do_not_count(
    pairs: Path, tmp_path: Path, write_scan: WriteScan
) -> None:
    """Without the last of seven codes there are only six classes; without its mask there is no label 9."""
    grades = [1, 1, 2, 3, 4, 5]
    table = ["id,grade", *(f"MUSTERMANN-{i},{grade}" for i, grade in enumerate(grades)), "MUSTERMANN-6,6"]
    (pairs / "participants.csv").write_text("\n".join(table))
    reading = Reading(mask="labels/*", labels=("grade",))
    expected, _ = prepared(pairs, tmp_path / "expected", reading=reading)
    labels = np.zeros((12, 14, 10), np.uint8)
    labels[2:5, 3:9, 2:6], labels[5:8, 3:9, 2:6] = 2, 9
    spoil(pairs / "images" / "MUSTERMANN-6.nii.gz", write_scan)
    write_scan(pairs / "labels" / "MUSTERMANN-6.nii.gz", labels)
    made, account = prepared(pairs, tmp_path / "made", reading=reading)
    assert content(made) == content(expected)
    assert made.layout.labels[0].categorical
    assert [channel.label for channel in made.layout.channels[1:]] == [2, 7]
    assert not any("not every mask has every class" in note for note in account.notes)


class _Stop(Exception):
    pass


@pytest.mark.parametrize(("stop", "again"), [(4, 18), (14, 9), (20, 3)])
def test_an_interruption_before_or_after_the_new_beginning_changes_nothing(
    scans: Path, tmp_path: Path, write_scan: WriteScan, monkeypatch: pytest.MonkeyPatch, stop: int, again: int
) -> None:
    """Eleven scans are read in the first round, of which one is left out, and ten in the second.

    The next call keeps the volumes of the interrupted round, and reads the one that is left out to say why.
    """
    expected, _ = prepared(scans, tmp_path / "expected")
    spoil(scans / "wide.nii", write_scan, WIDE)
    calls = 0

    def progress(done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if calls == stop:
            raise _Stop

    with pytest.raises(_Stop):
        prepared(scans, tmp_path / "made", progress=progress)
    reads = Reads(monkeypatch)
    made, account = prepared(scans, tmp_path / "made")
    assert content(made) == content(expected)
    assert len(account.left_out()) == 1
    assert reads.count == again


def test_a_scan_that_was_repaired_in_between_is_taken(
    scans: Path, tmp_path: Path, write_scan: WriteScan
) -> None:
    write_scan(scans / "wide.nii", affine=WIDE, seed=50)
    expected, _ = prepared(scans, tmp_path / "expected")
    spoil(scans / "wide.nii", write_scan, WIDE)
    rounds: list[int] = []

    def progress(done: int, total: int) -> None:
        rounds.append(total)
        if rounds.count(10) == 5:
            raise _Stop

    with pytest.raises(_Stop):
        prepared(scans, tmp_path / "made", progress=progress)
    write_scan(scans / "wide.nii", affine=WIDE, seed=50)
    made, account = prepared(scans, tmp_path / "made")
    assert content(made) == content(expected)
    assert account.left_out() == {}


def test_without_leave_to_skip_the_first_bad_scan_ends_it(
    scans: Path, tmp_path: Path, write_scan: WriteScan
) -> None:
    spoil(scans / "wide.nii", write_scan, WIDE)
    with pytest.raises(VoxflateError, match=r"wide\.nii: 1 of 1680 voxels are NaN"):
        prepare(scans, tmp_path / "made", "mr", SHAPE)
    assert [path.name for path in tmp_path.iterdir()] == ["scans"]
