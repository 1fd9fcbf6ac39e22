"""Lists of scans and BIDS trees: who is whose, which side, and nothing from outside."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxflate._system.errors import VoxflateError
from voxflate.data.preparing.prepare import prepare
from voxflate.data.sources.account import Account
from voxflate.data.sources.found import Reading, find_sources

WriteScan = Callable[..., Path]
SHAPE = (4, 8, 8)


@pytest.fixture
def tree(tmp_path: Path, write_scan: WriteScan, write_series: Callable[..., Any]) -> Path:
    """Four files and a DICOM series."""
    for index in range(4):
        write_scan(tmp_path / "tree" / f"{index}.nii", seed=index)
    write_series(tmp_path / "tree" / "ct", np.random.default_rng(9).integers(0, 99, (5, 7, 6)))
    return tmp_path / "tree"


def csv(tree: Path, text: str) -> Path:
    (tree / "list.csv").write_text(text, encoding="utf-8")
    return tree / "list.csv"


def datalist(tree: Path, content: Any) -> Path:
    (tree / "list.json").write_text(json.dumps(content))
    return tree / "list.json"


def sides(path: Path, out: Path, **settings: Any) -> dict[str, list[str]]:
    """Split -> the pseudonyms of its scans' subjects."""
    scans = prepare(path, out, "mr", SHAPE, **settings).manifest.scans
    return {split: [scan.subject for scan in scans if scan.split == split] for split in ("train", "heldout")}


def refusal(path: Path, reading: Reading | None = None) -> str:
    with pytest.raises(VoxflateError) as error:
        find_sources(path, pytest.fail, reading or Reading())
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_table_says_whose_a_scan_is_and_where_it_belongs(tree: Path, tmp_path: Path) -> None:
    text = "\ufefffile, subject, split\n0.nii,ann,train\n1.nii,ann,train\n2.nii,bob,test\nct,cy,train\n"
    found = sides(csv(tree, text), tmp_path / "out")
    assert len(found["train"]) == 3
    assert len(set(found["train"])) == 2
    assert len(found["heldout"]) == 1
    sides(csv(tree, "path\n0.nii\n3.nii\n"), tmp_path / "plain", held_out=0.5)


def test_accents_of_a_list_may_be_spelled_otherwise(tree: Path, tmp_path: Path) -> None:
    (tree / "0.nii").rename(tree / "a\u0308.nii")
    (tree / "1.nii").rename(tree / "\u00e9.nii")
    text = "file,subject\n\u00e4.nii,M\u00fcller\ne\u0301.nii,Mu\u0308ller\n2.nii,other\n3.nii,another\n"
    found = sides(csv(tree, text), tmp_path / "out", held_out=0.3)
    assert sorted(len(set(people)) for people in found.values()) == [1, 2]


def test_a_monai_datalist_says_so_too(tree: Path, tmp_path: Path) -> None:
    content = {
        "name": "Brains",
        "training": [{"image": "0.nii", "label": "l.nii"}, {"image": "ct"}],
        "validation": [{"image": "./1.nii", "subject": "ann"}, "2.nii"],
    }
    found = sides(datalist(tree, content), tmp_path / "out")
    assert (len(found["train"]), len(found["heldout"])) == (2, 2)
    only_training = datalist(tree, {"training": ["0.nii", "1.nii", "2.nii", "3.nii"]})
    assert len(sides(only_training, tmp_path / "random", held_out=0.25)["heldout"]) == 1
    with pytest.raises(VoxflateError, match="the list holds out every scan; give some of them the split tr"):
        sides(datalist(tree, {"test": ["0.nii", "1.nii"]}), tmp_path / "test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file\n", "lists no scans"),
        ("name,age\nx,1\n", "has the columns name, age, expected file"),
        ("file\n0.nii\n0.nii\n", "0.nii twice"),
        ("file\nnone.nii\n", "which does not exist"),
        ("file\n../secret.nii\n", "lies outside the list's folder; allow it with --allow-outside"),
        ("file\n/etc/hostname\n", "lies outside the list's folder"),
        ("file\nlink.nii\n", "lies outside the list's folder"),
        ("file,split\n0.nii,train\n1.nii,\n", "to only some scans"),
        ("file,split\n0.nii,tomorrow\n", "line 2 has the split 'tomorrow'"),
        ("file\nnotes.txt\n", "is listed, but has no scan"),
        ("file,subject\n0.nii,a\n,b\n", "line 3 does not name exactly one file"),
    ],
)
def test_a_list_that_is_wrong_is_refused_in_one_line(
    tree: Path, write_scan: WriteScan, text: str, message: str
) -> None:
    write_scan(tree.parent / "secret.nii")
    (tree / "link.nii").symlink_to(tree.parent / "secret.nii")
    (tree / "notes.txt").write_text("x")

    def stop(error: VoxflateError) -> None:
        raise error

    with pytest.raises(VoxflateError, match=message) as error:
        find_sources(csv(tree, text), stop)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("file", "subject"), [("File Name", "PatientID"), ("FILE", "Subject-ID")])
def test_columns_may_be_spelled_otherwise(tree: Path, file: str, subject: str) -> None:
    found = find_sources(csv(tree, f"{file},{subject}\n0.nii,ann\n1.nii,ann\n"), pytest.fail)
    assert [one.subject for one in found] == ["ann", "ann"]
    listed = csv(tree, f"T1,{file}\n0.nii,x\n")
    (one,) = find_sources(listed, pytest.fail, Reading(channels={"t1": "T1"}))
    assert one.path.name == "0.nii"


def test_a_list_without_the_channels_is_told_their_columns(tree: Path) -> None:
    reading = Reading(channels={"t1": "T1", "t2": "T2"})
    with pytest.raises(
        VoxflateError, match="has the columns file, expected t1 or t2; name the columns of th"
    ):
        find_sources(csv(tree, "file\n0.nii\n"), pytest.fail, reading)


def test_outside_files_are_read_when_asked(tree: Path, write_scan: WriteScan) -> None:
    write_scan(tree.parent / "other.nii")
    (source,) = find_sources(csv(tree, "file\n../other.nii\n"), pytest.fail, Reading(allow_outside=True))
    assert source.geometry().shape == (10, 14, 12)


@pytest.mark.parametrize(
    "content", [[], {}, {"cases": []}, {"training": [{"label": "x"}]}, {"training": [7]}]
)
def test_json_that_is_no_datalist_is_refused(tree: Path, content: Any) -> None:
    assert "list.json" in refusal(datalist(tree, content))


@pytest.fixture
def bids(tmp_path: Path, write_scan: WriteScan) -> Path:
    root = tmp_path / "bids"
    for subject in ("01", "02", "03"):
        for session in ("a", "b"):
            folder = root / f"sub-{subject}" / f"ses-{session}" / "anat"
            write_scan(folder / f"sub-{subject}_ses-{session}_T1w.nii.gz", seed=int(subject))
    write_scan(root / "derivatives" / "fs" / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    (root / "dataset_description.json").write_text("{}")
    return root


def test_a_bids_tree_gives_its_raw_scans_by_subject(bids: Path, tmp_path: Path) -> None:
    found = sides(bids, tmp_path / "out", held_out=0.3)
    assert (len(found["train"]), len(found["heldout"])) == (4, 2)
    assert len(set(found["heldout"])) == 1


def test_bids_trees_in_a_folder_give_only_their_raw_scans(bids: Path) -> None:
    shutil.copytree(bids, bids.parent / "trees" / "a")
    shutil.copytree(bids, bids.parent / "trees" / "b")
    account = Account()
    assert len(find_sources(bids.parent / "trees", pytest.fail, account=account)) == 12
    assert "folders not searched: 2 (not raw scans of a BIDS tree)" in " ".join(account.lines())


def test_several_kinds_of_scans_in_a_bids_tree_are_not_mixed(bids: Path, write_scan: WriteScan) -> None:
    write_scan(bids / "sub-01" / "ses-a" / "anat" / "sub-01_ses-a_T2w.nii.gz")
    assert "several kinds of scans (6 T1w, 1 T2w); choose one, such as --only '*_T1w.nii*'" in refusal(bids)
    assert len(find_sources(bids, pytest.fail, Reading(only="*_T1w.nii*"))) == 6
    assert "has no scan that match" in refusal(bids, Reading(only="*_FLAIR.nii*"))
