"""The modality of a set: told by DICOM, by the user or by the recipe, and never made up."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from pydicom.uid import SegmentationStorage, generate_uid

from tests.data.cases.phantoms import (
    body,
    chest,
    dicom_slice,
    prepared,
    refusal,
    volumes,
    write_nifti,
    write_series,
)
from voxflate._system.errors import VoxflateError
from voxflate.data.prepared import Manifest, PreparedSet, open_prepared
from voxflate.data.writers.dicom import write_dicom
from voxflate.data.writers.nifti import write_nifti as write_volume
from voxflate.data.writers.synthetic import PLAIN


def two_scans(folder: Path, modality: str) -> Path:
    for number in range(2):
        array = chest(number) if modality == "CT" else body(number)
        write_series(folder / str(number), array, modality=modality, patient=f"P{number}")
    return folder


def two_files(folder: Path) -> Path:
    for number in range(2):
        write_nifti(folder / f"{number}.nii", body(number))
    return folder


def without_modality(made: PreparedSet, folder: Path, recipe: str) -> PreparedSet:
    """A set as version 6 of the format has it."""
    shutil.copytree(made.root, folder)
    content = json.loads((folder / "manifest.json").read_text())
    del content["modality"], content["manifest_sha256"]
    content |= {"recipe": recipe, "version": 6}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(content | {"manifest_sha256": digest}))
    return open_prepared(folder)


@pytest.mark.parametrize(("modality", "recipe"), [("CT", "ct"), ("MR", "mr"), ("PT", "mr"), ("CT", "mr")])
def test_the_manifest_has_what_dicom_tells(tmp_path: Path, modality: str, recipe: str) -> None:
    made, account = prepared(two_scans(tmp_path / "in", modality), tmp_path / "out", recipe)
    assert open_prepared(tmp_path / "out").manifest.modality == modality
    assert made.modality == modality
    assert not any("modality" in note for note in account.notes)


def test_files_that_do_not_tell_count_as_what_the_user_or_else_the_recipe_says(tmp_path: Path) -> None:
    source = two_files(tmp_path / "in")
    for recipe in ("mr", "adni"):
        made, account = prepared(source, tmp_path / recipe, recipe)
        assert (made.manifest.modality, made.modality) == ("", "MR")
        assert not any("modality" in note for note in account.notes)
    made, account = prepared(source, tmp_path / "told", modality="pt")
    assert len(volumes(made)) == 2
    assert (made.manifest.modality, made.modality) == ("PT", "PT")
    assert "the files do not tell their modality; --modality says PT" in account.notes
    write_nifti(tmp_path / "hu" / "a.nii", chest())
    made, _ = prepared(tmp_path / "hu", tmp_path / "ct", "ct")
    assert (made.manifest.modality, made.modality) == ("CT", "CT")


def test_beside_dicom_the_option_only_selects(tmp_path: Path) -> None:
    source = two_files(two_scans(tmp_path / "in", "PT"))
    made, account = prepared(source, tmp_path / "out", modality="PT")
    assert made.modality == "PT"
    assert account.left_out()["does not match --modality"] == ["0.nii", "1.nii"]
    assert not any("--modality says" in note for note in account.notes)


def test_several_modalities_of_one_set_are_all_named(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "p", body(), modality="PT", patient="P")
    write_series(tmp_path / "in" / "c", chest(), modality="CT", patient="C")
    made, _ = prepared(tmp_path / "in", tmp_path / "out", mixed=True)
    assert made.modality == "CT, PT"
    with pytest.raises(VoxflateError, match="the modality is CT, PT, and only CT and MR are written"):
        write_dicom(tmp_path / "new", volumes(made)[0], made, look=PLAIN)


def test_a_channel_that_is_not_mr_counts_too(tmp_path: Path) -> None:
    for number in range(2):
        for name, modality in (("t1", "MR"), ("fdg", "PT")):
            write_series(
                tmp_path / "in" / f"p{number}" / name, body(number), modality=modality,
                patient=f"P{number}", SeriesDescription=name,
            )  # fmt: skip
    made, _ = prepared(tmp_path / "in", tmp_path / "out", channels={"t1": "t1", "fdg": "fdg"})
    assert [one.name for one in made.layout.channels] == ["t1", "fdg"]
    assert made.modality == "MR, PT"


def test_what_cannot_be_a_modality_is_refused(tmp_path: Path) -> None:
    source = two_files(tmp_path / "in")
    text = refusal(source, tmp_path / "out", modality="PET")
    assert text.startswith("--modality PET: DICOM calls it PT; choose one of CT, MR, PT, ")
    text = refusal(source, tmp_path / "out", modality="xray")
    assert text.startswith("--modality xray: choose one of CT, MR, PT, ")
    text = refusal(source, tmp_path / "out", "ct", modality="PT")
    assert text == "--modality PT: --recipe ct is for CT; use --recipe mr"


def test_only_ct_and_mr_are_written_as_dicom(tmp_path: Path) -> None:
    made, _ = prepared(two_scans(tmp_path / "pet", "PT"), tmp_path / "pet-set")
    with pytest.raises(VoxflateError) as caught:
        write_dicom(tmp_path / "new", volumes(made)[0], made, look=PLAIN)
    assert str(caught.value) == (
        f"{tmp_path / 'new'}: the modality is PT, and only CT and MR are written as DICOM; write NIfTI"
    )
    assert not (tmp_path / "new").exists()
    write_volume(tmp_path / "new.nii", volumes(made)[0], made)
    made, _ = prepared(two_scans(tmp_path / "ct", "CT"), tmp_path / "ct-set")
    with pytest.raises(
        VoxflateError, match=r"are CT, but recipe mr does not keep Hounsfield .* --recipe ct$"
    ):
        write_dicom(tmp_path / "new", volumes(made)[0], made, look=PLAIN)


def test_older_sets_are_what_their_recipe_says(tmp_path: Path) -> None:
    made, _ = prepared(two_files(tmp_path / "in"), tmp_path / "out")
    old = without_modality(made, tmp_path / "old", "mr")
    assert (old.manifest.modality, old.modality) == ("", "MR")
    write_dicom(tmp_path / "new", np.asarray(volumes(made)[0]), old, look=PLAIN)
    own = without_modality(made, tmp_path / "own", "pet")  # a recipe of the user's
    assert own.modality == ""
    with pytest.raises(VoxflateError, match=r"the modality is unknown \(recipe pet\), and only CT and MR"):
        write_dicom(tmp_path / "other", np.asarray(volumes(made)[0]), own, look=PLAIN)


def silent(one: Any, index: int) -> None:
    """Takes the modality out of a slice's header."""
    del one.Modality


def two_with_files(folder: Path, modality: str = "MR") -> Path:
    """Two people, each with a series called T1, and a PET image and a mask as files."""
    for number in range(2):
        array = chest(number) if modality == "CT" else body(number)
        person = folder / f"p{number}"
        write_series(
            person / "t1", array, modality=modality, patient=f"P{number}", SeriesDescription="T1 MPRAGE"
        )
        for name, values in (("fdg", array), ("seg", (array > 300).astype(np.int16))):
            nib.Nifti1Image(values.T, np.diag([-2.0, -2.0, 3.0, 1.0])).to_filename(person / f"{name}.nii")
    return folder


CHANNELS = {"t1": "T1*", "fdg": "*fdg.nii"}


def test_images_that_do_not_tell_count_beside_others_that_do(tmp_path: Path) -> None:
    source = two_with_files(tmp_path / "in")
    made, account = prepared(source, tmp_path / "out", channels=CHANNELS)
    assert made.modality == open_prepared(tmp_path / "out").modality == "MR, OTHER"
    note = "2 of 4 images do not tell their modality, so that of the set is MR, OTHER, and it is not written"
    assert any(one.startswith(note) for one in account.notes)
    with pytest.raises(VoxflateError, match="the modality is MR, OTHER, and only CT and MR are written"):
        write_dicom(tmp_path / "new", volumes(made)[0], made, look=PLAIN)
    mixed = two_files(two_scans(tmp_path / "mixed", "MR"))
    assert prepared(mixed, tmp_path / "mixed-set")[0].modality == "MR, OTHER"


def test_with_recipe_ct_all_images_are_ct(tmp_path: Path) -> None:
    source = two_with_files(tmp_path / "in", "CT")
    made, account = prepared(source, tmp_path / "out", "ct", channels=CHANNELS)
    assert made.modality == "CT"
    assert not any("modality" in note for note in account.notes)


@pytest.mark.parametrize(
    "option", [{"modality": "MR"}, {"series": "t1*"}, {"modality": "MR", "series": "t1*"}]
)
def test_masks_stay_whatever_selects_series(tmp_path: Path, option: dict[str, str]) -> None:
    source = two_with_files(tmp_path / "in")
    made, account = prepared(source, tmp_path / "out", mask="*seg.nii", **option)
    assert made.stored("train").shape[:2] == (2, 2)
    assert made.modality == "MR"
    (names,) = account.left_out().values()
    assert sorted(names) == ["p0/fdg.nii", "p1/fdg.nii"]
    lines = "".join(f"p{number}/t1,p{number}/seg.nii\n" for number in range(2))
    (source / "list.csv").write_text("file,seg\n" + lines)
    made, _ = prepared(source / "list.csv", tmp_path / "listed", mask="seg", **option)
    assert made.stored("train").shape[:2] == (2, 2)


def test_an_option_that_leaves_a_channel_without_images_is_named(tmp_path: Path) -> None:
    source = two_with_files(tmp_path / "in")
    for option, shown in (({"modality": "MR"}, "--modality MR"), ({"series": "t1*"}, "--series 't1*'")):
        assert refusal(source, tmp_path / "out", channels=CHANNELS, **option) == (
            f"{source}: no scan is left for --channel fdg='*fdg.nii': {shown} leaves out all 2 that match "
            "(p0/fdg.nii, p1/fdg.nii); change the option, or drop the channel"
        )
    lines = "".join(f"p{number}/t1,p{number}/fdg.nii\n" for number in range(2))
    (source / "list.csv").write_text("t1,fdg\n" + lines)
    columns = {"t1": "t1", "fdg": "fdg"}
    text = refusal(source / "list.csv", tmp_path / "out", channels=columns, modality="MR")
    assert (
        "no scan is left for fdg: --modality MR leaves out all 2 that match (p0/fdg.nii, p1/fdg.nii)" in text
    )


def test_a_datalist_s_image_is_not_dropped_with_its_files(tmp_path: Path) -> None:
    source = two_with_files(tmp_path / "in")
    items = [{"image": [f"p{number}/t1", f"p{number}/fdg.nii"]} for number in range(2)]
    (source / "list.json").write_text(json.dumps({"training": items}))
    text = refusal(source / "list.json", tmp_path / "out", modality="MR")
    assert "no scan is left for image-1: --modality MR leaves out all 2" in text


def test_the_option_says_what_dicom_without_a_modality_is(tmp_path: Path) -> None:
    for number in range(2):
        write_series(tmp_path / "in" / str(number), body(number), patient=f"P{number}", change=silent)
    made, account = prepared(tmp_path / "in", tmp_path / "out")
    assert (made.manifest.modality, made.modality) == ("", "MR")
    made, account = prepared(tmp_path / "in", tmp_path / "told", modality="PT")
    assert (len(volumes(made)), made.manifest.modality) == (2, "PT")
    assert "the files do not tell their modality; --modality says PT" in account.notes
    text = refusal(tmp_path / "in", tmp_path / "ct", "ct", modality="CT")
    assert "is CT without a RescaleIntercept" in text


def test_beside_series_that_tell_it_says_only_what_the_others_are(tmp_path: Path) -> None:
    source = two_scans(tmp_path / "in", "PT")
    write_series(source / "mr", body(4), patient="M")
    write_series(source / "silent", body(5), patient="S", change=silent)
    made, account = prepared(source, tmp_path / "out", modality="PT")
    assert (len(volumes(made)), made.modality) == (3, "PT")
    assert "1 DICOM series of no modality: --modality says PT" in account.notes
    assert len(account.left_out()["does not match --modality"]) == 12


@pytest.mark.parametrize("told", ["", "CT"])
def test_padding_is_air_in_ct_that_does_not_tell(tmp_path: Path, told: str) -> None:
    padded = np.maximum(chest(), 30)  # otherwise the darkest value would be as dark as air
    padded[:, :2] = -2000
    for name, change in (("plain", lambda one, index: None), ("silent", silent)):
        write_series(tmp_path / name, padded, modality="CT", PixelPaddingValue=-2000, change=change)
    plain, _ = prepared(tmp_path / "plain", tmp_path / "a", "ct")
    made, _ = prepared(tmp_path / "silent", tmp_path / "b", "ct", modality=told)
    np.testing.assert_array_equal(volumes(plain), volumes(made))


def test_an_option_that_leaves_nothing_says_what_there_is(tmp_path: Path) -> None:
    source = two_with_files(tmp_path / "in")
    write_series(source / "pet", body(7), modality="PT", patient="P9", SeriesDescription="FDG")
    assert refusal(source, tmp_path / "out", modality="CT") == (
        f"{source}: --modality CT leaves out its 7 scans: 4 not DICOM, 2 MR, 1 PT; change the option, or "
        "leave it out"
    )
    text = refusal(source, tmp_path / "out", series="t2*", mask="*seg.nii")
    assert "--series 't2*' leaves out its 5 scans: 2 not DICOM, 2 MR (T1 MPRAGE), 1 PT (FDG)" in text


def test_a_channel_that_is_not_ct_is_not_advised_away_by_modality(tmp_path: Path) -> None:
    source = tmp_path / "in"
    for number in range(2):
        for name, modality in (("ct", "CT"), ("pet", "PT")):
            array = chest(number) if name == "ct" else body(number)
            write_series(source / f"p{number}" / name, array, modality=modality, patient=f"P{number}")
    text = refusal(source, tmp_path / "out", "ct", channels={"low": "*/ct/*", "fdg": "*/pet/*"})
    assert text.endswith(
        "is PT, not CT, and --recipe ct reads Hounsfield units; use --recipe mr for all channels, or drop "
        "the channel fdg"
    )


def with_segmentations(folder: Path) -> Path:
    for number in range(2):
        person = folder / f"p{number}"
        write_series(person / "t1", body(number), patient=f"P{number}", SeriesDescription="T1")
        (person / "mask").mkdir()
        one = dicom_slice(person / "mask" / "1.dcm", body(number)[0], SegmentationStorage)
        one.Modality, one.SeriesInstanceUID = "SEG", generate_uid()
        one.save_as(person / "mask" / "1.dcm", enforce_file_format=True)
    return folder


def test_a_dicom_segmentation_as_a_mask_is_refused_for_what_it_is(tmp_path: Path) -> None:
    source = with_segmentations(tmp_path / "in")
    reason = "(a DICOM segmentation, which is not read: convert it to NIfTI)"
    for pattern in ("*/mask/*", "SEG*"):
        text = refusal(source, tmp_path / "out", mask=pattern)
        assert text.startswith(f"{source}: no scan matches --mask {pattern!r}; it has 2 scans, ")
        assert text.endswith(f"; left out: p0/mask/1.dcm, p1/mask/1.dcm {reason}")
    lines = "".join(f"p{number}/t1,p{number}/mask\n" for number in range(2))
    (source / "list.csv").write_text("file,seg\n" + lines)
    text = refusal(source / "list.csv", tmp_path / "out", mask="seg")
    assert text.endswith(f"p0/mask: is listed, but has no scan that can be read {reason}; correct the list")
    text = refusal(source / "list.csv", tmp_path / "out", mask="seg", refuse=lambda error: None)
    assert "no file for mask can be used: p0/mask/1.dcm, p1/mask/1.dcm (" in text


@pytest.mark.parametrize("modality", [None, 5, ["CT"], {"CT": 1}, "<script>", "CT,MR", "ct", "CT, "])
def test_a_manifest_has_only_modalities_that_there_are(tmp_path: Path, modality: Any) -> None:
    made, _ = prepared(two_files(tmp_path / "in"), tmp_path / "out")
    content = json.loads((made.root / "manifest.json").read_text())
    del content["manifest_sha256"]
    for known in ("", "CT", "MR, OTHER", "CT, PT"):
        assert Manifest.from_json(content | {"modality": known}).modality == known
    with pytest.raises(ValueError, match="modality is not one of CT, MR, PT, "):
        Manifest.from_json(content | {"modality": modality})
