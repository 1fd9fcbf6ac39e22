"""Which files make one volume, in the folders and lists that people have."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxflate._system.errors import VoxflateError
from voxflate.data.sources.account import Account
from voxflate.data.sources.found import find_sources
from voxflate.data.sources.source import Reading

WriteScan = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """Makes files that need not be read to be paired."""

    def make(*names: str) -> Path:
        for name in names:
            path = tmp_path / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
        return tmp_path / "in"

    return make


def pairs(source: Path, account: Account | None = None, **reading: Any) -> list[list[str]]:
    root = source if source.is_dir() else source.parent
    found = find_sources(source, stop, Reading(**reading), account=account)
    return [[one.path.relative_to(root).as_posix() for one in scan.members] for scan in found]


def stop(error: VoxflateError) -> None:
    raise error


def refusal(source: Path, **reading: Any) -> str:
    with pytest.raises(VoxflateError) as caught:
        pairs(source, **reading)
    assert "\n" not in str(caught.value)
    return str(caught.value)


CASES = {
    "equal names in two folders": (
        ["images/c_1.nii.gz", "images/c_2.nii.gz", "labels/c_1.nii.gz", "labels/c_2.nii.gz"],
        {"mask": "labels/*"},
        [["images/c_1.nii.gz", "labels/c_1.nii.gz"], ["images/c_2.nii.gz", "labels/c_2.nii.gz"]],
    ),
    "nnU-Net": (
        [f"imagesTr/case_{i}_{c:04d}.nii.gz" for i in (10, 11) for c in (0, 1)]
        + ["labelsTr/case_10.nii.gz", "labelsTr/case_11.nii.gz"],
        {"channels": {"t1": "imagesTr/*_0000.nii.gz", "t2": "imagesTr/*_0001.nii.gz"}, "mask": "labelsTr/*"},
        [
            [f"imagesTr/case_{i}_0000.nii.gz", f"imagesTr/case_{i}_0001.nii.gz", f"labelsTr/case_{i}.nii.gz"]
            for i in (10, 11)
        ],
    ),
    "a folder per subject, BraTS": (
        [f"p{i}/{name}.nii.gz" for i in (1, 2) for name in ("t1", "t2", "seg")],
        {"channels": {"t1": "t1.nii*", "t2": "t2.nii*"}, "mask": "seg.nii*"},
        [[f"p{i}/t1.nii.gz", f"p{i}/t2.nii.gz", f"p{i}/seg.nii.gz"] for i in (1, 2)],
    ),
    "a folder per subject, names repeat it": (
        [f"B{i}/B{i}_{name}.nii" for i in (1, 2) for name in ("flair", "t1ce", "seg")],
        {"channels": {"flair": "*_flair.nii", "t1ce": "*_t1ce.nii"}, "mask": "*_seg.nii"},
        [[f"B{i}/B{i}_flair.nii", f"B{i}/B{i}_t1ce.nii", f"B{i}/B{i}_seg.nii"] for i in (1, 2)],
    ),
    "a suffix on the mask alone": (
        ["a.nii.gz", "a_seg.nii.gz", "b.mha", "b_seg.nrrd"],
        {"mask": "*_seg.*"},
        [["a.nii.gz", "a_seg.nii.gz"], ["b.mha", "b_seg.nrrd"]],
    ),
    "two trees of the same shape with repeated names": (
        [f"{kind}/{site}/p1.nii.gz" for kind in ("images", "labels") for site in "ab"],
        {"mask": "labels/*"},
        [["images/a/p1.nii.gz", "labels/a/p1.nii.gz"], ["images/b/p1.nii.gz", "labels/b/p1.nii.gz"]],
    ),
    "accents spelled in two ways": (
        ["images/M\u00fcller.nii", "images/So\u0301s.nii", "labels/Mu\u0308ller.nii", "labels/S\u00f3s.nii"],
        {"mask": "labels/*"},
        [
            ["images/M\u00fcller.nii", "labels/Mu\u0308ller.nii"],
            ["images/So\u0301s.nii", "labels/S\u00f3s.nii"],
        ],
    ),
    "a pattern with an accent": (
        ["ge\u0301n/a.nii", "seg/a.nii"],
        {"channels": {"t1": "g\u00e9n/*"}, "mask": "seg/*"},
        [["ge\u0301n/a.nii", "seg/a.nii"]],
    ),
    "names that the patterns cut differently": (
        ["images/h_1.nii.gz", "images/h_2.nii.gz", "labels/h_1.nii.gz", "labels/h_2.nii.gz"],
        {"channels": {"t1": "images/h_*"}, "mask": "labels/*"},
        [["images/h_1.nii.gz", "labels/h_1.nii.gz"], ["images/h_2.nii.gz", "labels/h_2.nii.gz"]],
    ),
    "BIDS": (
        ["dataset_description.json"]
        + [
            f"sub-{i}/ses-{s}/anat/sub-{i}_ses-{s}_{k}.nii.gz"
            for i in (1, 2)
            for s in (1, 2)
            for k in ("T1w", "T2w")
        ]
        + [
            f"derivatives/fs/sub-{i}/ses-{s}/anat/sub-{i}_ses-{s}_space-T1w_dseg.nii.gz"
            for i in (1, 2)
            for s in (1, 2)
        ]
        + ["derivatives/prep/sub-1/ses-1/anat/sub-1_ses-1_desc-preproc_T1w.nii.gz"],
        {"channels": {"t1": "*_T1w.nii*", "t2": "*_T2w.nii*"}, "mask": "*_dseg.nii*"},
        [
            [
                f"sub-{i}/ses-{s}/anat/sub-{i}_ses-{s}_T1w.nii.gz",
                f"sub-{i}/ses-{s}/anat/sub-{i}_ses-{s}_T2w.nii.gz",
                f"derivatives/fs/sub-{i}/ses-{s}/anat/sub-{i}_ses-{s}_space-T1w_dseg.nii.gz",
            ]
            for i in (1, 2)
            for s in (1, 2)
        ],
    ),
    "BIDS trees in a folder": (
        [f"{tree}/dataset_description.json" for tree in "ab"]
        + [f"{tree}/sub-{tree}/anat/sub-{tree}_T1w.nii" for tree in "ab"]
        + [f"{tree}/derivatives/x/sub-{tree}_{kind}.nii" for tree in "ab" for kind in ("T1w", "dseg")],
        {"channels": {"t1": "*_T1w.nii"}, "mask": "*_dseg.nii"},
        [[f"{t}/sub-{t}/anat/sub-{t}_T1w.nii", f"{t}/derivatives/x/sub-{t}_dseg.nii"] for t in "ab"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_files_of_one_volume_find_each_other(tree: Callable[..., Path], case: str) -> None:
    files, reading, expected = CASES[case]
    assert pairs(tree(*files), **reading) == expected


def test_every_file_has_its_place_in_the_account(tree: Callable[..., Path]) -> None:
    source = tree("t1/a.nii", "t2/a.nii", "seg/a.nii", "seg/b.nii", "notes/a.nii")
    account = Account()
    found = pairs(source, account, channels={"t1": "t1/*", "t2": "t2/*"}, mask="seg/*")
    assert found == [["t1/a.nii", "t2/a.nii", "seg/a.nii"]]
    left = account.left_out()
    assert left["a mask without a scan"] == ["seg/b.nii"]
    assert left["matches no --channel or --mask"] == ["notes/a.nii"]
    assert any("paired by their names" in note for note in account.notes)


def test_masks_pass_the_pattern_for_scans(tree: Callable[..., Path]) -> None:
    source = tree("images/a.nii", "images/b.nii", "labels/a.nii", "labels/b.nii")
    assert pairs(source, mask="labels/*", only="images/a*") == [["images/a.nii", "labels/a.nii"]]


@pytest.mark.parametrize(
    ("files", "reading", "message"),
    [
        (["i/a.nii", "i/b.nii", "l/a.nii"], {"mask": "l/*"}, "i/b.nii: has no mask; add the file, or leave"),
        (["t1/a.nii", "t2/b.nii", "t1/b.nii"], {"channels": {"t1": "t1/*", "t2": "t2/*"}}, "has no t2"),
        (
            ["a_1.nii", "a_1_seg.nii", "a_1_seg.nii.gz"],
            {"mask": "*_seg.nii*"},
            "a_1.nii: has 2 files for mask (a_1_seg.nii, a_1_seg.nii.gz); keep one",
        ),
        (
            ["i/a.nii", "l/b.nii", "i/c.nii", "l/d.nii"],
            {"mask": "l/*"},
            "no image can be paired with a mask by name",
        ),
        (["i/a.nii"], {"mask": "labels/*"}, "no scan matches --mask 'labels/*'; it has 1 scans, such as"),
        (
            ["i/a.nii", "m/a.nii"],
            {"mask": "*"},
            "--mask '*' matches all 2 scans; give a pattern of masks alone",
        ),
        (["i/a.nii"], {"channels": {"t1": "i/*", "t2": "*2.nii"}}, "no scan matches --channel t2='*2.nii'"),
        (
            ["a_t1.nii", "a_t1ce.nii"],
            {"channels": {"t1": "*_t1*", "t1ce": "*_t1ce*"}},
            "a_t1ce.nii: matches the channels t1 and t1ce; make their patterns narrower",
        ),
    ],
)
def test_what_does_not_pair_is_refused(
    tree: Callable[..., Path], files: list[str], reading: dict[str, Any], message: str
) -> None:
    assert message in refusal(tree(*files), **reading)


def test_the_columns_of_a_table_are_channels(tree: Callable[..., Path]) -> None:
    source = tree("x/1.nii", "y/2.nii", "z/3.nii", "x/4.nii", "y/5.nii", "z/6.nii")
    table = source / "list.csv"
    table.write_text(
        "T1,t2,seg,subject,split,age\nx/1.nii,y/2.nii,z/3.nii,7,train,61\nx/4.nii,y/5.nii,z/6.nii,8,val,\n"
    )
    reading = Reading(channels={"t1": "T1", "t2": "t2"}, mask="seg")
    first, second = find_sources(table, stop, reading)
    assert [one.path.name for one in first.members] == ["1.nii", "2.nii", "3.nii"]
    assert (first.subject, first.split, first.labels["age"]) == ("7", "train", "61")
    assert (second.subject, second.split, second.labels["age"]) == ("8", "heldout", "")
    assert "z/3.nii" not in dict(first.labels).values()


def test_a_line_without_a_file_for_a_channel_is_refused(tree: Callable[..., Path]) -> None:
    source = tree("1.nii", "2.nii", "3.nii")
    table = source / "list.csv"
    table.write_text("t1,seg\n1.nii,3.nii\n2.nii,\n")
    assert "2.nii: has no mask" in refusal(table, channels={"t1": "t1"}, mask="seg")
    assert "no line has a file for mask" in refusal(table, channels={"t1": "t1"}, mask="labels")


def test_a_datalist_has_several_images_and_a_label(tree: Callable[..., Path]) -> None:
    source = tree(*(f"{kind}/{i}.nii" for kind in "abm" for i in (1, 2)))
    items = [{"image": [f"a/{i}.nii", f"b/{i}.nii"], "label": f"m/{i}.nii", "sex": "F"} for i in (1, 2)]
    path = source / "dataset.json"
    path.write_text(json.dumps({"training": items}))
    expected = [[f"a/{i}.nii", f"b/{i}.nii", f"m/{i}.nii"] for i in (1, 2)]
    assert pairs(path, mask="label") == expected
    assert pairs(path) == [one[:2] for one in expected]
    assert pairs(path, channels={"flair": "image-1"}, mask="label") == [one[1:] for one in expected]
    (scan, _) = find_sources(path, stop, Reading(mask="label"))
    assert scan.labels["sex"] == "F"


def test_series_and_mask_pair_by_folder(
    tmp_path: Path, write_series: Callable[..., list[Path]], write_scan: WriteScan
) -> None:
    for name in ("p1", "p2"):
        pixels = np.random.default_rng(0).integers(0, 900, (4, 5, 6))
        write_series(tmp_path / "in" / name / "T1", pixels, SeriesDescription="T1 MPRAGE", PatientID=name)
        write_scan(tmp_path / "in" / name / "seg.nii.gz")
    found = find_sources(tmp_path / "in", stop, Reading(channels={"t1": "T1*"}, mask="*seg*"))
    assert [(one.name.split("/")[0], one.mask and one.mask.name) for one in found] == [
        ("p1", "p1/seg.nii.gz"),
        ("p2", "p2/seg.nii.gz"),
    ]
    assert len(found[0].files) == 5


def test_scans_of_two_people_are_not_one_volume(
    tmp_path: Path, write_series: Callable[..., list[Path]]
) -> None:
    for kind, patient in (("T1", "P0"), ("T2", "Q0")):
        pixels = np.random.default_rng(0).integers(0, 900, (4, 5, 6))
        write_series(tmp_path / "in" / "p" / kind, pixels, SeriesDescription=kind, PatientID=patient)
    channels = {"t1": "T1", "t2": "T2"}
    text = refusal(tmp_path / "in", channels=channels)
    assert "would be one volume with scans of other people: the PatientIDs of p/T1/" in text
    assert len(pairs(tmp_path / "in", channels=channels, subjects="folder")) == 1
