"""Formats and their disguises: what can be read equals its plain twin, what cannot is named in one line."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from tests.data.cases.phantoms import body, prepared, refusal, volumes, write_nifti, write_series

ARRAY = body()
ITK: Any = SimpleITK


@pytest.fixture
def expected(tmp_path: Path) -> Any:
    write_nifti(tmp_path / "ref" / "a.nii", ARRAY)
    return volumes(prepared(tmp_path / "ref", tmp_path / "ref-set")[0])


def nifti2(folder: Path) -> None:
    write_nifti(folder / "a.nii", ARRAY, nib.Nifti2Image)


def nifti2_packed(folder: Path) -> None:
    write_nifti(folder / "a.nii.gz", ARRAY, nib.Nifti2Image)


def pair(folder: Path) -> None:
    write_nifti(folder / "a.img", ARRAY, nib.Nifti1Pair)


def packed_pair(folder: Path) -> None:
    write_nifti(folder / "a.img.gz", ARRAY, nib.Nifti1Pair)


def half_packed_pair(folder: Path) -> None:
    write_nifti(folder / "a.img", ARRAY, nib.Nifti1Pair)
    (folder / "a.img.gz").write_bytes(gzip.compress((folder / "a.img").read_bytes()))
    (folder / "a.img").unlink()


def plain_called_packed(folder: Path) -> None:
    write_nifti(folder / "b.nii", ARRAY).rename(folder / "a.nii.gz")


def packed_called_plain(folder: Path) -> None:
    write_nifti(folder / "b.nii.gz", ARRAY).rename(folder / "a.nii")


def without_suffix(folder: Path) -> None:
    write_nifti(folder / "b.nii.gz", ARRAY).rename(folder / "a")


def with_another_suffix(folder: Path) -> None:
    write_nifti(folder / "b.nii", ARRAY).rename(folder / "a.data")


def big_endian(folder: Path) -> None:
    folder.mkdir()
    header = nib.Nifti1Header(endianness=">")
    nib.Nifti1Image(ARRAY.T, np.diag([2.0, 2, 2, 1]), header).to_filename(folder / "a.nii")


def mgz(folder: Path) -> None:
    write_nifti(folder / "a.mgz", ARRAY, nib.MGHImage)


def itk(name: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        write_nifti(folder.parent / "plain.nii", ARRAY)
        folder.mkdir()
        ITK.WriteImage(ITK.ReadImage(str(folder.parent / "plain.nii")), str(folder / name), True)

    return write


def mgh(folder: Path) -> None:
    write_nifti(folder / "b.mgh", ARRAY, nib.MGHImage)


def renamed(write: Callable[[Path], None], name: str) -> Callable[[Path], None]:
    def write_under_name(folder: Path) -> None:
        write(folder)
        (path,) = folder.iterdir()
        path.rename(folder / name)

    return write_under_name


READ = {
    "NIfTI-2": nifti2,
    "NIfTI-2, packed": nifti2_packed,
    "pair": pair,
    "pair, packed": packed_pair,
    "pair, voxels packed": half_packed_pair,
    "plain called .nii.gz": plain_called_packed,
    "packed called .nii": packed_called_plain,
    "packed, without suffix": without_suffix,
    "plain, another suffix": with_another_suffix,
    "big-endian": big_endian,
    "MGZ": mgz,
    "MetaImage with detached data": itk("a.mhd"),
    "NRRD with detached data": itk("a.nhdr"),
    "MetaImage": itk("a.mha"),
    "NRRD": itk("a.nrrd"),
    "MetaImage in capitals": renamed(itk("b.mha"), "a.MHA"),
    "NRRD in capitals": renamed(itk("b.nrrd"), "a.NRRD"),
    "MetaImage, without suffix": renamed(itk("b.mha"), "a"),
    "NRRD, without suffix": renamed(itk("b.nrrd"), "a"),
    "NRRD called .mha": renamed(itk("b.nrrd"), "a.mha"),
    "MetaImage called .nrrd": renamed(itk("b.mha"), "a.nrrd"),
    "NIfTI called .mha": renamed(without_suffix, "a.mha"),
    "NRRD called .nii": renamed(itk("b.nrrd"), "a.nii"),
    "MGH": mgh,
    "MGZ in capitals": renamed(mgz, "a.MGZ"),
    "MGZ called .mgh": renamed(mgz, "a.mgh"),
    "MGH called .mgz": renamed(mgh, "a.mgz"),
    "MGZ, without suffix": renamed(mgz, "a"),
    "MGH, another suffix": renamed(mgh, "a.dat"),
    "NIfTI called .dcm": renamed(with_another_suffix, "a.dcm"),
    "NIfTI, packed, called .dcm": renamed(without_suffix, "scan.DCM"),
    "NRRD called .ima": renamed(itk("b.nrrd"), "a.ima"),
    "MetaImage called .dcm": renamed(itk("b.mha"), "a.dcm"),
    "MGZ called .dcm": renamed(mgz, "a.dcm"),
}


@pytest.mark.parametrize("write", READ.values(), ids=READ.keys())
def test_a_scan_in_any_dress_equals_its_plain_twin(
    tmp_path: Path, expected: Any, write: Callable[[Path], None]
) -> None:
    write(tmp_path / "in")
    made, account = prepared(tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(volumes(made), expected)
    assert account.left_out() == {}
    assert account.seen == len(list((tmp_path / "in").iterdir()))
    assert made.manifest.scans[0].source_spacing == pytest.approx((2, 2, 2))


def deflated(path: Path) -> None:
    one = dcmread(path)
    one.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    one.save_as(path, enforce_file_format=True)


def without_preamble(path: Path) -> None:
    one = dcmread(path)
    one.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    one.save_as(path, implicit_vr=True, little_endian=True)
    raw = path.read_bytes()
    path.write_bytes(raw[144 + int.from_bytes(raw[140:144], "little") :])


def only_the_mark_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[132:])


@pytest.mark.parametrize("change", [deflated, without_preamble, only_the_mark_cut])
@pytest.mark.parametrize("suffix", [".dcm", ""])
def test_dicom_is_known_by_its_content(tmp_path: Path, change: Callable[[Path], None], suffix: str) -> None:
    write_series(tmp_path / "ref", ARRAY)
    for path in write_series(tmp_path / "in", ARRAY):
        change(path)
        path.rename(path.with_suffix(suffix))
    made, account = prepared(tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(volumes(made), volumes(prepared(tmp_path / "ref", tmp_path / "ref-set")[0]))
    assert account.left_out() == {}


def write(name: str, content: bytes) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        folder.mkdir()
        (folder / name).write_bytes(content)

    return make


def detached(data: str) -> Callable[[Path], None]:
    return write(
        "a.mhd",
        b"ObjectType = Image\nNDims = 3\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nDimSize = 4 4 4\n"
        b"ElementType = MET_SHORT\nElementSpacing = 1 1 1\nElementDataFile = " + data.encode() + b"\n",
    )


def half_a_pair(folder: Path) -> None:
    pair(folder)
    (folder / "a.img").unlink()


REFUSED = {
    "empty": (write("a.nii.gz", b""), "the file is empty"),
    "web page": (write("a.nii.gz", b"<!DOCTYPE html><html>log in</html>" + b" " * 900), "it is a web page"),
    "Git LFS": (write("a.nii", b"version https://git-lfs.github.com/spec/v1\noid x"), "git lfs pull"),
    "git-annex": (write("a.nii", b"/annex/objects/MD5E-s123--abc.nii"), "datalad get"),
    "ZIP": (write("a.nii", b"PK\3\4" + bytes(999)), "it is a ZIP archive"),
    "cut": (write("a.nii.gz", gzip.compress(bytes(99999))[:60]), "cannot be read as NIfTI"),
    "half a pair": (half_a_pair, "is a header without its .img file"),
    "data elsewhere": (detached("/etc/passwd"), "names a voxel file outside its folder (/etc/passwd)"),
    "data above": (detached("../a.raw"), "names a voxel file outside its folder (../a.raw)"),
    "data missing": (detached("a.raw"), "names a voxel file that does not exist (a.raw)"),
    "data in many files": (detached("LIST"), "keeps its voxels in several files"),
    "data by a pattern": (detached("a%03d.raw 1 4 1"), "keeps its voxels in several files"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_read_says_what_it_is(
    tmp_path: Path, make: Callable[[Path], None], message: str
) -> None:
    make(tmp_path / "in")
    text = refusal(tmp_path / "in", tmp_path / "out")
    assert message in text
    assert str(tmp_path / "in" / "a.") in text


def test_packed_slices_called_dcm_are_refused_as_such(tmp_path: Path) -> None:
    for path in write_series(tmp_path / "in", ARRAY):
        path.write_bytes(gzip.compress(path.read_bytes()))
        path.rename(path.with_suffix(".dcm"))
    assert ".dcm: is DICOM packed with gzip; unpack it" in refusal(tmp_path / "in", tmp_path / "out")


def test_a_deflated_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxflate.data.readers.packed._MOST_INFLATED", 10_000)
    array = np.zeros((4, 200, 200), np.int16)
    array[:, 50] = 7
    for path in write_series(tmp_path / "in", array):
        deflated(path)
    assert "unpacks to more than 10,000 bytes" in refusal(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize(
    ("slope", "inter", "factor"), [(0, 5, 1.0), (np.nan, np.nan, 1.0), (2, -100, 1.0), (-1, 0, -1.0)]
)
def test_scaling_is_what_nibabel_says(
    tmp_path: Path, expected: Any, slope: float, inter: float, factor: float
) -> None:
    content = bytearray(write_nifti(tmp_path / "in" / "a.nii", ARRAY).read_bytes())
    content[112:120] = np.array([slope, inter], "<f4").tobytes()
    (tmp_path / "in" / "a.nii").write_bytes(content)
    found = volumes(prepared(tmp_path / "in", tmp_path / "out")[0])
    if factor > 0:
        np.testing.assert_allclose(found, expected, atol=1e-4)
    else:  # bright becomes dark; the percentiles change places
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] < -0.9


def test_numbers_beyond_32_bits_are_refused(tmp_path: Path) -> None:
    write_nifti(tmp_path / "in" / "a.nii", ARRAY.astype(np.float64) * 1e300)
    assert "too large for 32 bits" in refusal(tmp_path / "in", tmp_path / "out")
