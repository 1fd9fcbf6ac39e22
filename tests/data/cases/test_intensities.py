"""Values and units are what the recipe takes them for, or there is a word about it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.data.cases.phantoms import (
    SHAPE,
    body,
    chest,
    prepared,
    refusal,
    volumes,
    write_nifti,
    write_series,
)
from voxflate._system.errors import VoxflateError
from voxflate.data.preparing.recipes import RecipeOptions


def reference(array: Any, tmp_path: Path, recipe: str = "mr") -> Any:
    """The volume of a plain series."""
    modality = "CT" if recipe == "ct" else "MR"
    write_series(tmp_path / "plain", array, modality=modality)
    return volumes(prepared(tmp_path / "plain", tmp_path / "plain-set", recipe)[0])[0]


PADDINGS = {
    "signed": (-2000, {"PixelPaddingValue": -2000}, {}),
    "written without its sign": (-2000, {"PixelPaddingValue": 63536}, {}),
    "bright": (30000, {"PixelPaddingValue": 30000}, {}),
    "a range": (-1995, {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1990}, {}),
    "rescaled": (-2000, {"PixelPaddingValue": -2000}, {"RescaleIntercept": -24}),
}


@pytest.mark.parametrize(("stored", "padding", "more"), PADDINGS.values(), ids=PADDINGS.keys())
def test_padding_is_air(tmp_path: Path, stored: int, padding: dict[str, int], more: dict[str, int]) -> None:
    array = chest()
    padded = array - more.get("RescaleIntercept", 0)
    padded[:, :3] = stored

    def change(one: Any, index: int) -> None:
        for name, value in padding.items():
            one.add_new(name, "SS" if value < 0 else "US", value)

    array[:, :3] = -1000
    write_series(tmp_path / "in", padded, modality="CT", change=change, **more)
    options = RecipeOptions(window=(-1100.0, 650.0))
    found = volumes(prepared(tmp_path / "in", tmp_path / "out", "ct", options=options)[0])[0]
    write_series(tmp_path / "ref", array, modality="CT")
    expected = volumes(prepared(tmp_path / "ref", tmp_path / "ref-set", "ct", options=options)[0])[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_padding_of_mr_does_not_spoil_its_percentiles(tmp_path: Path) -> None:
    array = body()
    padded = array.copy()
    padded[:, :4], array[:, :4] = 32000, array[:, 4:].min()
    write_series(tmp_path / "in", padded, change=lambda one, _: one.add_new("PixelPaddingValue", "US", 32000))
    found = volumes(prepared(tmp_path / "in", tmp_path / "out")[0])[0]
    np.testing.assert_allclose(found, reference(array, tmp_path), atol=1e-4)


@pytest.mark.parametrize("added", [1024, 1000, -7168])
def test_ct_that_is_not_in_hounsfield_units_is_refused_or_mended(tmp_path: Path, added: int) -> None:
    for number in range(4):
        write_nifti(tmp_path / "in" / f"{number}.nii.gz", chest(number) + (added if number >= 2 else 0))
        write_nifti(tmp_path / "ref" / f"{number}.nii.gz", chest(number))
    text = refusal(tmp_path / "in", tmp_path / "out", "ct")
    assert "2.nii.gz: is not a CT in Hounsfield units" in text
    assert "--hu-offset" in text
    if added > 0:
        assert "% of its voxels lie above 700, where there is only bone or metal" in text
    assert "--hu-offset 5 does not correct it" in refusal(
        tmp_path / "in", tmp_path / "out", "ct", hu_offset=5.0
    )
    made, account = prepared(tmp_path / "in", tmp_path / "out", "ct", hu_offset=-float(added))
    np.testing.assert_allclose(
        volumes(made), volumes(prepared(tmp_path / "ref", tmp_path / "b", "ct")[0]), atol=1e-4
    )
    assert {
        "step": "hu_offset",
        "added": -added,
        "to": "scans not in Hounsfield units",
    } in made.manifest.steps
    assert sorted(scan.hu_offset for scan in made.manifest.scans) == sorted([0, 0, -added, -added])
    assert any(note.startswith("2 of 4 scans were not in Hounsfield units") for note in account.notes)
    assert "--hu-offset is for --recipe ct or coca, not for mr" in refusal(
        tmp_path / "in", tmp_path / "c", hu_offset=5.0
    )


@pytest.mark.parametrize(
    ("window", "tissue", "refused"), [((-1000.0, 1500.0), 0.6, True), ((-250.0, 650.0), 0.15, False)]
)
def test_a_shifted_scan_is_seen_whatever_its_window_and_its_share_of_tissue(
    tmp_path: Path, window: tuple[float, float], tissue: float, refused: bool
) -> None:
    hu = np.full((12, 24, 20), -1000)
    hu[:, : round(24 * tissue)] = 40
    hu += np.random.default_rng(0).integers(-20, 20, hu.shape)
    crop = np.random.default_rng(1).integers(-100, 200, hu.shape)  # in Hounsfield units, and without air
    for name, added in {"in": 1024, "ref": 0}.items():
        write_nifti(tmp_path / name / "a.nii", (hu + added).astype(np.int16))
        write_nifti(tmp_path / name / "crop.nii", crop.astype(np.int16))
    options = RecipeOptions(window=window)
    if refused:
        assert "lie above 700" in refusal(tmp_path / "in", tmp_path / "no", "ct", options=options)
    made, _ = prepared(tmp_path / "in", tmp_path / "out", "ct", options=options, hu_offset=-1024.0)
    expected, _ = prepared(tmp_path / "ref", tmp_path / "ref-set", "ct", options=options)
    np.testing.assert_allclose(volumes(made), volumes(expected), atol=1e-4)
    assert sorted(scan.hu_offset for scan in made.manifest.scans) == [-1024, 0]


@pytest.mark.parametrize("width", [19, 20, 21, 40])
def test_the_check_of_units_sees_more_than_one_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """Every 20th voxel of an image 20 voxels wide is its first column, which is air."""
    monkeypatch.setattr("voxflate.data.preparing.intensities._SAMPLED", 20 * 24 * width // 20)
    hu = np.random.default_rng(0).normal(0, 8, (20, 24, width)) + np.where(np.arange(width) < 5, -1000, 40)
    write_nifti(tmp_path / "in" / "a.nii", np.rint(hu).astype(np.int16))
    assert len(volumes(prepared(tmp_path / "in", tmp_path / "out", "ct")[0])) == 1
    write_nifti(tmp_path / "raw" / "a.nii", np.rint(hu + 1024).astype(np.int16))
    assert "of its voxels lie above 700, where there is only bone or metal" in refusal(
        tmp_path / "raw", tmp_path / "no", "ct"
    )


@pytest.mark.parametrize("window", [(-np.inf, 650.0), (-250.0, np.nan), (-40000.0, 650.0), (0.0, 1e308)])
def test_a_window_has_two_finite_ends(window: tuple[float, float]) -> None:
    with pytest.raises(VoxflateError, match=r"--window .*: expected LOW,HIGH .* from -32767 to 32767 HU"):
        RecipeOptions(window=window).check("ct")


def test_dicom_ct_without_an_intercept_is_refused_or_mended(tmp_path: Path) -> None:
    def change(one: Any, index: int) -> None:
        del one.RescaleIntercept, one.RescaleSlope

    array = chest()
    write_series(tmp_path / "in", array + 1024, modality="CT", change=change)
    text = refusal(tmp_path / "in", tmp_path / "out", "ct")
    assert "is CT without a RescaleIntercept" in text
    found = volumes(prepared(tmp_path / "in", tmp_path / "out", "ct", hu_offset=-1024.0)[0])[0]
    np.testing.assert_allclose(found, reference(array, tmp_path, "ct"), atol=1e-4)
    assert len(volumes(prepared(tmp_path / "in", tmp_path / "mr")[0])) == 1  # mr needs no unit
    text = refusal(tmp_path / "in", tmp_path / "wrong", "ct", hu_offset=-5.0)
    assert "with -5 added, its darkest values are about" in text
    assert "--hu-offset -5 does not correct it" in text


@pytest.mark.parametrize(
    ("unit", "mm"), [("meter", 0.002), ("micron", 2000.0), ("mm", 2.0), ("unknown", 2.0)]
)
def test_units_of_length_are_honoured(tmp_path: Path, unit: str, mm: float) -> None:
    image = nib.Nifti1Image(body().T, np.diag([mm, mm, mm, 1.0]))
    image.header.set_xyzt_units(unit)
    (tmp_path / "in").mkdir()
    image.to_filename(tmp_path / "in" / "a.nii")
    made, _ = prepared(tmp_path / "in", tmp_path / "out")
    assert made.manifest.scans[0].source_spacing == pytest.approx((2.0, 2.0, 2.0))


@pytest.mark.parametrize("crop", [False, True])
def test_two_affines_that_disagree_get_a_note(tmp_path: Path, crop: bool) -> None:
    options = RecipeOptions(crop=crop)
    image = nib.Nifti1Image(body().T, np.diag([2.0, 2.0, 2.0, 1.0]))
    image.set_qform(np.diag([-2.0, 2.0, 2.0, 1.0]), code=1)
    (tmp_path / "in").mkdir()
    image.to_filename(tmp_path / "in" / "a.nii")
    write_nifti(tmp_path / "ref" / "a.nii", body())
    made, account = prepared(tmp_path / "in", tmp_path / "out", options=options)
    note = "1 scan: sform and qform disagree on directions or voxel sizes; the sform is used (a.nii)"
    assert note in account.notes
    expected, other = prepared(tmp_path / "ref", tmp_path / "ref-set", options=options)
    np.testing.assert_array_equal(volumes(made), volumes(expected))
    assert not any("sform" in note for note in other.notes)


def test_a_damaged_qform_beside_a_good_sform_gets_a_note(tmp_path: Path) -> None:
    content = bytearray(write_nifti(tmp_path / "ref" / "a.nii", body()).read_bytes())
    content[252:256] = np.array([1, 2], "<i2").tobytes()  # codes of qform and sform
    content[256:268] = np.array([1.0001, 0, 0], "<f4").tobytes()  # no rotation: longer than 1
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.nii").write_bytes(content)
    made, account = prepared(tmp_path / "in", tmp_path / "out")
    assert any("the qform is damaged" in note and "the sform is used" in note for note in account.notes)
    np.testing.assert_array_equal(volumes(made), volumes(prepared(tmp_path / "ref", tmp_path / "ref-set")[0]))


@pytest.mark.parametrize("recipe", ["mr", "ct"])
def test_nan_is_air_when_asked(tmp_path: Path, recipe: str) -> None:
    array = (chest() if recipe == "ct" else body()).astype(np.float32)
    dark = array < (-500 if recipe == "ct" else 200)
    stripped, filled = array.copy(), array.copy()
    stripped[dark] = np.nan
    filled[dark] = -1000 if recipe == "ct" else array[~dark].min()
    write_nifti(tmp_path / "in" / "a.nii", stripped)
    write_nifti(tmp_path / "ref" / "a.nii", filled)
    text = refusal(tmp_path / "in", tmp_path / "out", recipe)
    assert (
        f"{dark.sum()} of {dark.size} voxels are NaN; if they are empty space, say so with --nan air" in text
    )
    made, _ = prepared(tmp_path / "in", tmp_path / "out", recipe, nan="air")
    np.testing.assert_array_equal(
        volumes(made), volumes(prepared(tmp_path / "ref", tmp_path / "r", recipe)[0])
    )
    assert {"step": "nan", "as": "air"} in made.manifest.steps
    write_nifti(tmp_path / "nothing" / "a.nii", np.full_like(array, np.nan))
    assert "all voxels are NaN; remove the file" in refusal(
        tmp_path / "nothing", tmp_path / "n", recipe, nan="air"
    )
    array[0, 0, 0] = np.inf
    write_nifti(tmp_path / "inf" / "a.nii", array)
    assert "NaN or infinite" in refusal(tmp_path / "inf", tmp_path / "no", recipe, nan="air")


def test_a_scan_unlike_its_cohort_is_said_on_the_terminal(tmp_path: Path) -> None:
    for number in range(10):
        write_nifti(tmp_path / "in" / f"{number}.nii", body(number), mm=2.0 if number else 9.0)
    _, account = prepared(tmp_path / "in", tmp_path / "out")
    assert any("1 scan is unlike the others in voxel volume" in note for note in account.notes)
    assert any("unlike the others in field of view, feet to head" in note for note in account.notes)
    (shown,) = [note for note in account.notes if "in voxel volume" in note]
    (written,) = [note for note in account.record()["notes"] if "in voxel volume" in note]
    assert re.search(r": 0\.nii \[scan-[0-9a-f]{12}\] \(729, median 8\)$", shown)
    assert re.search(r": scan-[0-9a-f]{12} \(729, median 8\)$", written)
    for number in range(3):
        write_nifti(tmp_path / "few" / f"{number}.nii", body(number), mm=2.0 if number else 9.0)
    _, account = prepared(tmp_path / "few", tmp_path / "few-set")
    assert any("1 scan is unlike the others in voxel volume" in note for note in account.notes)


def test_the_range_of_mr_is_no_outlier_because_it_is_normalised(tmp_path: Path) -> None:
    for number in range(10):
        write_nifti(tmp_path / "in" / f"{number}.nii", body(number) * (1 if number else 20))
    _, account = prepared(tmp_path / "in", tmp_path / "out")
    assert not any("intensity range" in note for note in account.notes)
    assert "intensity range of the source" not in (tmp_path / "out" / "report.html").read_text()


def test_the_crop_is_not_led_by_a_spike_and_keeps_both_legs(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    array = np.zeros((24, 24, 24))
    array[8:16, 8:16, 3:9] = array[8:16, 8:16, 15:21] = 500  # two legs
    array += rng.normal(0, 5, array.shape)
    write_nifti(tmp_path / "ref" / "a.nii", array.astype(np.int16))
    array[1, 1, 1] = 30000
    write_nifti(tmp_path / "in" / "a.nii", array.astype(np.int16))
    options = RecipeOptions(crop=True)
    shapes = [
        prepared(tmp_path / name, tmp_path / f"{name}-set", options=options)[0].manifest.scans[0].affine
        for name in ("in", "ref")
    ]
    np.testing.assert_allclose(*shapes)
    sides = np.linalg.norm(np.array(shapes[0])[:3, :3], axis=0) * SHAPE[::-1]
    assert sides[0] == pytest.approx(2.0 * (18 + 2 * 3))  # both legs and 5 mm around them
    assert sides[2] == pytest.approx(2.0 * (8 + 2 * 3))


def test_a_crop_to_next_to_nothing_is_refused(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(0, 1, (64, 64, 64))
    array[30:34, 30:36, 30:46] = 4000
    write_nifti(tmp_path / "in" / "a.nii", array.astype(np.int16), mm=20.0)
    assert "--crop would keep only" in refusal(
        tmp_path / "in", tmp_path / "out", options=RecipeOptions(crop=True)
    )
