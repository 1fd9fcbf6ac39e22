"""One kind of scan per set: several are listed, and a choice is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.cases.phantoms import body, chest, prepared, refusal, volumes, write_nifti, write_series
from voxflate.data.preparing.recipes import RecipeOptions

STUDY = "1.2.826.0.1.3680043.8.498.4711"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two patients with a localizer, two contrasts and a map each."""
    source = tmp_path / "in"
    for patient in range(2):
        common: dict[str, Any] = {"patient": f"P{patient}", "StudyInstanceUID": f"{STUDY}.{patient}"}
        folder = source / f"P{patient}"
        write_series(folder / "1", body(0, (5, 20, 16)), SeriesDescription="3-plane localizer", **common)
        write_series(folder / "2", body(1), SeriesDescription="T1 MPRAGE sag", EchoTime=3.0, **common)
        write_series(folder / "3", body(2), SeriesDescription="t2_tse_tra", EchoTime=100.0, **common)
        write_series(
            folder / "4", body(3), SeriesDescription="ep2d", ImageType=["DERIVED", "PRIMARY", "ADC"], **common
        )
    return source


def test_a_study_is_not_mixed_but_listed(study: Path, tmp_path: Path) -> None:
    text = refusal(study, tmp_path / "out")
    for words in (
        "has several kinds of scans",
        "2 MR (T1 MPRAGE sag) of 2 people, 12x20x16 voxels of 3x2x2 mm",
        "2 MR (t2_tse_tra) of 2 people",
        "2 MR (ep2d) of 2 people",
        "--series PATTERN",
        "--mixed",
    ):
        assert words in text
    assert "localizer" not in text


def test_a_pattern_chooses_series_and_the_rest_is_in_the_account(study: Path, tmp_path: Path) -> None:
    made, account = prepared(study, tmp_path / "out", series="t1*")
    assert len(volumes(made)) == 2
    left = {reason: len(names) for reason, names in account.left_out().items()}
    assert left == {"does not match --series": 48, "DICOM localizer": 10}
    write_series(tmp_path / "plain", body(1))
    expected = volumes(prepared(tmp_path / "plain", tmp_path / "plain-set")[0])
    np.testing.assert_array_equal(volumes(made)[0], expected[0])
    assert len(volumes(prepared(study, tmp_path / "all", mixed=True)[0])) == 6


def test_short_series_are_left_out_by_number(study: Path, tmp_path: Path) -> None:
    write_series(study / "P0" / "5", body(1)[:8], SeriesDescription="T1 short", patient="P0")
    made, account = prepared(study, tmp_path / "out", series="t1*", min_slices=9)
    assert len(volumes(made)) == 2
    assert len(account.left_out()["DICOM series of fewer than 9 slices"]) == 8


def test_modalities_are_not_mixed(tmp_path: Path) -> None:
    for number in range(2):
        write_series(tmp_path / "in" / f"ct{number}", chest(number), modality="CT", patient=f"C{number}")
    write_series(tmp_path / "in" / "mr", body(), patient="M")
    text = refusal(tmp_path / "in", tmp_path / "out")
    assert "2 CT (no description) of 2 people" in text
    assert "1 MR (no description) of 1 person" in text
    made, _ = prepared(tmp_path / "in", tmp_path / "out", modality="ct")
    assert len(volumes(made)) == 2
    assert "is MR, not CT" in refusal(tmp_path / "in", tmp_path / "ct", "ct")
    assert len(volumes(prepared(tmp_path / "in", tmp_path / "ct", "ct", modality="CT")[0])) == 2


def test_t1_and_t2_without_descriptions_are_told_apart_by_their_echo(tmp_path: Path) -> None:
    for number, echo in enumerate((4.0, 5.0, 90.0)):
        write_series(tmp_path / "in" / str(number), body(number), patient=f"P{number}", EchoTime=echo)
    assert "several kinds of scans" in refusal(tmp_path / "in", tmp_path / "out")


def test_one_series_each_under_other_names_is_one_kind_with_a_note(tmp_path: Path) -> None:
    for number, name in enumerate(("T1 MPRAGE", "t1_mprage_sag")):
        folder = tmp_path / "in" / str(number)
        write_series(folder, body(number), patient=f"P{number}", SeriesDescription=name)
    made, account = prepared(tmp_path / "in", tmp_path / "out")
    assert len(volumes(made)) == 2
    assert any("2 different descriptions" in note for note in account.notes)
    assert "MPRAGE" not in (tmp_path / "out" / "manifest.json").read_text()


@pytest.mark.parametrize(
    ("names", "advice"),
    [
        (["sub-{}_T1w.nii.gz", "sub-{}_T2w.nii.gz"], "--only '*_T1w.*'"),
        (["case{}_t1.nii", "case{}_t1ce.nii", "case{}_flair.nii", "case{}_seg.nii"], "--only '*_flair.*'"),
        (["p{}/T1.nii", "p{}/T2.nii"], "--only 'T1.*'"),
        (["images/h{}.nii", "labels/h{}.nii"], "--only '*images/*'"),
        (["imagesTr/h{}.nii", "labelsTr/h{}.nii"], "--only '*imagesTr/*'"),
        (["c{}_0000.nii.gz", "c{}_0001.nii.gz"], "--only '*_0000.*'"),
        (["p{}.nii", "p{}_mask.nii"], "--only"),
    ],
)
def test_files_of_several_kinds_are_told_by_their_names(
    tmp_path: Path, names: list[str], advice: str
) -> None:
    for number in range(3):
        for kind, name in enumerate(names):
            write_nifti(tmp_path / "in" / name.format(number + 1), body(10 * kind + number))
    text = refusal(tmp_path / "in", tmp_path / "out")
    assert "several" in text
    assert advice in text
    assert len(volumes(prepared(tmp_path / "in", tmp_path / "out", mixed=True)[0])) == 3 * len(names)


@pytest.mark.parametrize(
    "names",
    [
        ["t0.nii", "t1.nii", "t2.nii", "t3.nii"],
        ["PD_001.nii", "HC_001.nii", "CT_001.nii"],
        ["scan_0001.nii", "scan_0002.nii", "scan_0003.nii"],
        ["p1/v1/T1.nii", "p1/v2/T1.nii", "p2/v1/T1.nii"],
    ],
)
def test_names_that_only_look_like_kinds_are_prepared(tmp_path: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        write_nifti(tmp_path / "in" / name, body(number))
    assert len(volumes(prepared(tmp_path / "in", tmp_path / "out")[0])) == len(names)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("values", [(0, 1), (0, 1, 2, 3), (0, 255)])
def test_label_maps_are_recognised(tmp_path: Path, kind: Any, values: tuple[int, ...]) -> None:
    labels = np.array(values)[np.random.default_rng(0).integers(0, len(values), (8, 16, 12))].astype(kind)
    write_nifti(tmp_path / "in" / "a.nii.gz", labels)
    text = refusal(tmp_path / "in", tmp_path / "out")
    assert f"has only {len(values)} different whole numbers, 0 to {values[-1]}" in text
    assert "seems to be a label map or mask" in text
    assert len(volumes(prepared(tmp_path / "in", tmp_path / "out", mixed=True)[0])) == 1


def test_scans_of_few_grey_values_are_not_label_maps(tmp_path: Path) -> None:
    grey = (body() // 60).astype(np.uint8) * 9  # 18 values, up to 150
    write_nifti(tmp_path / "in" / "a.nii", grey)
    write_series(tmp_path / "in" / "dicom", (chest() > -500).astype(np.int16))
    assert len(volumes(prepared(tmp_path / "in", tmp_path / "out")[0])) == 2


def test_left_out_label_maps_are_in_the_account(tmp_path: Path) -> None:
    for number in range(3):
        write_nifti(tmp_path / "in" / f"{number}.nii", body(number))
        write_nifti(tmp_path / "in" / f"{number}x.nii", (body(number) > 300).astype(np.uint8))
    refused: list[Exception] = []
    made, account = prepared(
        tmp_path / "in", tmp_path / "out", refuse=refused.append, options=RecipeOptions(crop=False)
    )
    assert (len(volumes(made)), len(refused)) == (3, 3)
    (names,) = account.left_out().values()
    assert names == ["0x.nii", "1x.nii", "2x.nii"]


def parcellation(codes: Sequence[int]) -> Any:
    """Blocks of regions with such codes in a background of 0, int32 [D, H, W]."""
    labels = np.zeros((12, 24, 24), np.int32)
    places = np.random.default_rng(0).permutation(4 * 8 * 8)[: len(codes)]
    for code, place in zip(codes, places, strict=True):
        d, h, w = (3 * int(at) for at in np.unravel_index(place, (4, 8, 8)))
        labels[d : d + 3, h : h + 3, w : w + 3] = code
    return labels


@pytest.mark.parametrize("codes", [range(1, 61), [*range(1001, 1036), *range(2001, 2036), *range(2, 60)]])
def test_parcellations_are_recognised_whatever_their_codes(tmp_path: Path, codes: Sequence[int]) -> None:
    write_nifti(tmp_path / "in" / "a.nii", parcellation(codes))
    assert "seems to be a label map or mask" in refusal(tmp_path / "in", tmp_path / "out")
    prepared(tmp_path / "in", tmp_path / "mixed", mixed=True)


def test_scans_of_8_bits_without_background_noise_are_not_label_maps(tmp_path: Path) -> None:
    grey = np.clip(body() / 4 + np.random.default_rng(0).normal(0, 2, body().shape), 0, 255).astype(np.uint8)
    grey[grey < 40] = 0
    write_nifti(tmp_path / "in" / "a.nii", grey)
    assert len(volumes(prepared(tmp_path / "in", tmp_path / "out")[0])) == 1
