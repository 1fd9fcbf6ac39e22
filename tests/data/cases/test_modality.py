"""The modality of a set: told by DICOM, by the user or by the recipe, and never made up."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.data.cases.phantoms import body, chest, prepared, refusal, volumes, write_nifti, write_series
from voxflate._system.errors import VoxflateError
from voxflate.data.prepared import PreparedSet, open_prepared
from voxflate.data.writers.dicom import write_dicom
from voxflate.data.writers.nifti import write_nifti as write_volume


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
        write_dicom(tmp_path / "new", volumes(made)[0], made)


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
    assert "--modality PET: choose one of CT, MR, PT, " in refusal(source, tmp_path / "out", modality="PET")
    text = refusal(source, tmp_path / "out", "ct", modality="PT")
    assert text == "--modality PT: --recipe ct is for CT; use --recipe mr"


def test_only_ct_and_mr_are_written_as_dicom(tmp_path: Path) -> None:
    made, _ = prepared(two_scans(tmp_path / "pet", "PT"), tmp_path / "pet-set")
    with pytest.raises(VoxflateError) as caught:
        write_dicom(tmp_path / "new", volumes(made)[0], made)
    assert str(caught.value) == (
        f"{tmp_path / 'new'}: the modality is PT, and only CT and MR are written as DICOM; write NIfTI"
    )
    assert not (tmp_path / "new").exists()
    write_volume(tmp_path / "new.nii", volumes(made)[0], made)
    made, _ = prepared(two_scans(tmp_path / "ct", "CT"), tmp_path / "ct-set")
    with pytest.raises(
        VoxflateError, match=r"are CT, but recipe mr does not keep Hounsfield .* --recipe ct$"
    ):
        write_dicom(tmp_path / "new", volumes(made)[0], made)


def test_older_sets_are_what_their_recipe_says(tmp_path: Path) -> None:
    made, _ = prepared(two_files(tmp_path / "in"), tmp_path / "out")
    old = without_modality(made, tmp_path / "old", "mr")
    assert (old.manifest.modality, old.modality) == ("", "MR")
    write_dicom(tmp_path / "new", np.asarray(volumes(made)[0]), old)
    own = without_modality(made, tmp_path / "own", "pet")  # a recipe of the user's
    assert own.modality == ""
    with pytest.raises(VoxflateError, match=r"the modality is unknown \(recipe pet\), and only CT and MR"):
        write_dicom(tmp_path / "other", np.asarray(volumes(made)[0]), own)
