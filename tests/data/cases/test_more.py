"""Further situations: what a header says in places where few look, and what libraries say by themselves."""

from __future__ import annotations

import gzip
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.uid import ImplicitVRLittleEndian, generate_uid

from tests.data.cases.phantoms import body, group_of, prepared, refusal, volumes, write_nifti, write_series

ITK: Any = SimpleITK


def test_values_that_a_table_explains_are_not_taken_as_they_are(tmp_path: Path) -> None:
    table = group_of(LUTDescriptor=[256, 0, 16], ModalityLUTType="US", LUTData=b"\0" * 512)
    write_series(tmp_path / "in", body(), ModalityLUTSequence=[table])
    assert "000.dcm: maps its values by a table (Modality LUT)" in refusal(tmp_path / "in", tmp_path / "out")


def test_packed_dicom_is_in_the_account_as_what_it_is(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "a", body())
    for path in write_series(tmp_path / "in" / "b", body(1), patient="P2"):
        path.with_suffix(".dcm.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    _, account = prepared(tmp_path / "in", tmp_path / "out")
    assert {reason: len(files) for reason, files in account.left_out().items()} == {
        "packed DICOM: unpack it": 12
    }


@pytest.mark.parametrize("name", ["SpacingBetweenSlices", "SliceThickness"])
def test_every_second_slice_alone_gets_a_note(tmp_path: Path, name: str) -> None:
    for index, path in enumerate(write_series(tmp_path / "in", body(), **{name: 3.0})):
        if index % 2:
            path.unlink()
    made, account = prepared(tmp_path / "in", tmp_path / "out")
    assert made.manifest.scans[0].affine is not None
    assert any(f"headers say ({name}): some may be missing" in note for note in account.notes)
    write_series(tmp_path / "whole", body(), SpacingBetweenSlices=3.0, SliceThickness=1.0)
    _, account = prepared(tmp_path / "whole", tmp_path / "whole-set")
    assert not any("missing" in note for note in account.notes)


def test_acquisitions_end_to_end_in_one_series_get_a_note(tmp_path: Path) -> None:
    def numbered(number: Callable[[int], int]) -> Callable[[Any, int], None]:
        return lambda one, index: setattr(one, "AcquisitionNumber", number(index))

    write_series(tmp_path / "end-to-end", body(), change=numbered(lambda index: 1 + index // 6))
    write_series(tmp_path / "between", body(), change=numbered(lambda index: 1 + index % 2))
    write_series(tmp_path / "every-turn", body(), change=numbered(lambda index: 1 + index))
    write_series(tmp_path / "one", body(), change=numbered(lambda index: 4))
    for name in ("between", "every-turn", "one", "end-to-end"):
        made, account = prepared(tmp_path / name, tmp_path / f"{name}-set")
        assert len(made.manifest.scans) == 1
        notes = [note for note in account.notes if "2 acquisitions end to end" in note]
        assert len(notes) == (name == "end-to-end"), name


def test_a_statistical_map_gets_a_note(tmp_path: Path) -> None:
    for name, intent in (("scan", "none"), ("map", "z score")):
        image = nib.nifti1.Nifti1Image(body(), np.diag([2.0, 2.0, 3.0, 1.0]))
        image.header.set_intent(intent)
        (tmp_path / name).mkdir()
        nib.loadsave.save(image, tmp_path / name / "a.nii.gz")
        _, account = prepared(tmp_path / name, tmp_path / f"{name}-set")
        assert any("a statistic (z score)" in note for note in account.notes) == (name == "map")


@pytest.mark.parametrize("unit", ["um", "m", "cm"])
def test_a_nrrd_that_is_not_in_millimetres_is_refused(tmp_path: Path, unit: str) -> None:
    image = ITK.GetImageFromArray(body())
    (tmp_path / "in").mkdir()
    ITK.WriteImage(image, str(tmp_path / "in" / "a.nrrd"))
    content = (tmp_path / "in" / "a.nrrd").read_bytes()
    whole = prepared(tmp_path / "in", tmp_path / "whole")[0]
    for named, path in ((unit, tmp_path / "in" / "a.nrrd"), ("mm", tmp_path / "mm" / "a.nrrd")):
        path.parent.mkdir(exist_ok=True)
        line = f'\nspace units: "{named}" "{named}" "{named}"\n\n'.encode()
        path.write_bytes(content.replace(b"\n\n", line, 1))
    assert f'does not give its voxel sides in mm ("{unit}" "{unit}" "{unit}")' in refusal(
        tmp_path / "in", tmp_path / "out"
    )
    np.testing.assert_array_equal(volumes(prepared(tmp_path / "mm", tmp_path / "mm-set")[0]), volumes(whole))


def spm(folder: Path) -> None:
    """Analyze 7.5 with an origin, where NIfTI has the code of its orientation."""
    folder.mkdir()
    image = nib.Spm99AnalyzeImage(body().T, np.diag([2.0, 2.0, 2.0, 1.0]))
    image.header["origin"][:3] = [8, 10, 6]
    image.to_filename(folder / "a.img")
    (folder / "a.mat").unlink(missing_ok=True)


def test_analyze_is_refused_in_one_line_by_its_name(tmp_path: Path) -> None:
    spm(tmp_path / "in")
    done = command("prepare", tmp_path / "in", tmp_path / "out", "--shape", "8,16,16")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "it is Analyze 7.5, which does not say which way its axes point" in done.stderr


def test_what_nibabel_mends_by_itself_is_not_on_the_terminal(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "in" / "a.nii", body())
    content = bytearray(path.read_bytes())
    struct.pack_into("<f", content, 80, -2.0)  # a voxel side; the affine is elsewhere
    path.write_bytes(content)
    done = command("prepare", tmp_path / "in", tmp_path / "out", "--shape", "8,16,16")
    assert done.returncode == 0
    assert "pixdim" not in done.stderr


def command(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "voxflate", *map(str, words)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("held", [0, 2, 638])
@pytest.mark.parametrize("implicit", [False, True])
def test_a_slice_with_fewer_pixels_than_it_claims_is_not_filled_up(
    tmp_path: Path, held: int, implicit: bool
) -> None:
    paths = write_series(tmp_path / "in", body())
    one = pydicom.dcmread(paths[5])
    one.PixelData = one.PixelData[:held]
    if implicit:
        one.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    one.save_as(paths[5], implicit_vr=implicit, little_endian=True)
    text = refusal(tmp_path / "in", tmp_path / "out")
    assert f"005.dcm: is cut short or damaged: its header claims 640 bytes of pixels, it has {held}" in text


def test_a_slice_whose_end_is_missing_is_not_filled_up(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "in", body())
    paths[5].write_bytes(paths[5].read_bytes()[:-10])
    text = refusal(tmp_path / "in", tmp_path / "out")
    assert "005.dcm: is cut short or damaged: its header claims 640 bytes of pixels, it has 630" in text


def test_dicom_that_cannot_be_decoded_is_not_told_to_be_dicom(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "in", body())
    one = pydicom.dcmread(paths[5])
    del one.PixelData
    one.save_as(paths[5])
    text = refusal(tmp_path / "in", tmp_path / "out")
    assert "005.dcm" in text
    assert "name it .dcm" not in text


def test_contrasts_that_lie_between_each_other_are_not_one_volume(tmp_path: Path) -> None:
    common = {"SeriesInstanceUID": generate_uid(), "StudyInstanceUID": generate_uid()}
    write_series(tmp_path / "in", body(), EchoTime=5.0, **common)
    write_series(tmp_path / "in", body(1), first=50, start=1.5, EchoTime=90.0, **common)
    assert "050.dcm has an echo time of 90 ms, others 5: several contrasts in one" in refusal(
        tmp_path / "in", tmp_path / "out"
    )
