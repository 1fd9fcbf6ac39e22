"""Damages scans randomly and prepares them: every case must end well.

    python -m benchmarks.fuzz_readers --cases 3000 --seed 0

A case is a folder with an intact scan and one that was truncated, had bits flipped or, for DICOM, elements
moved to other tags. It ends well if `prepare` keeps the intact scan, and uses the damaged one or tells in one
line, with the file's name, why not; if nothing outside OUT changes; and if it takes no longer than 20
seconds. Cases run in separate processes, so that a crash of a decoder is seen and counted.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, TimeoutError
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import SimpleITK
from benchmarks.arguments import parser_of
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from voxflate._system.errors import VoxflateError
from voxflate.data.preparing.prepare import prepare

SHAPE = (4, 4, 4)
LIMIT_S = 20.0
KINDS = ("nii", "nii.gz", "nrrd", "mha", "npz", "dcm")
DAMAGES = ("cut", "flip", "shuffle")
_GOOD = "whole.nii"


def write_scan(folder: Path, kind: str) -> list[Path]:
    """Write an intact scan of a kind; return its files."""
    array = np.random.default_rng(0).integers(-900, 900, (5, 16, 12)).astype(np.int16)
    if kind == "dcm":
        return [_write_slice(folder / f"IM{index}", index, pixels) for index, pixels in enumerate(array)]
    path = folder / f"scan.{kind}"
    if kind.startswith("nii"):
        nib.Nifti1Image(array.T, np.diag([1.5, 1.5, 3.0, 1.0])).to_filename(path)
    elif kind == "npz":
        np.savez_compressed(path, array=array.T, affine=np.diag([1.5, 1.5, 3.0, 1.0]))
    else:
        itk: Any = SimpleITK
        itk.WriteImage(itk.GetImageFromArray(array), str(path))
    return [path]


def _write_slice(path: Path, index: int, pixels: Any) -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"1.2.3.{index + 1}"
    one = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    one.SeriesInstanceUID, one.Modality, one.PatientID = "1.2.3", "CT", "X"
    one.ImagePositionPatient, one.ImageOrientationPatient = [0, 0, 3 * index], [1, 0, 0, 0, 1, 0]
    one.PixelSpacing, one.Rows, one.Columns = [1.5, 1.5], *pixels.shape
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated = one.BitsStored = 16
    one.HighBit, one.PixelRepresentation, one.RescaleSlope, one.RescaleIntercept = 15, 1, 1, 0
    one.PixelData = pixels.tobytes()
    pydicom.dcmwrite(path, one)
    return path


def damage(path: Path, how: str, rng: np.random.Generator) -> None:
    """Truncate a file, flip bits (half of them in its first 600 bytes), or mix its DICOM tags."""
    content = bytearray(path.read_bytes())
    if how == "shuffle":
        try:
            _shuffle_elements(path, rng)
        except Exception:  # files that pydicom cannot write again are truncated instead
            how = "cut"
    if how == "cut":
        path.write_bytes(content[: rng.integers(0, len(content))])
    elif how == "flip":
        for _ in range(int(rng.integers(1, 9))):
            end = len(content) if rng.random() < 0.5 else min(600, len(content))
            content[rng.integers(0, end)] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)


def _shuffle_elements(path: Path, rng: np.random.Generator) -> None:
    """Give some elements the values of others, or remove them."""
    one = pydicom.dcmread(path)
    tags = list(one.keys())
    for first, second in rng.choice(len(tags), (int(rng.integers(1, 4)), 2)):
        if rng.random() < 0.3 and tags[first] in one:
            del one[tags[first]]
        elif tags[first] in one and tags[second] in one:
            one[tags[first]].value = one[tags[second]].value
    pydicom.dcmwrite(path, one)


def run_case(seed: int, number: int) -> str:
    """Run one case; return "kind damage: prepared|refused", or raise the error."""
    warnings.simplefilter("ignore")  # odd values are expected here
    rng = np.random.default_rng([seed, number])
    kind = KINDS[rng.integers(len(KINDS))]
    how = DAMAGES[rng.integers(len(DAMAGES) if kind == "dcm" else 2)]
    folder = Path(tempfile.mkdtemp(prefix="voxflate-fuzz-"))
    try:
        source = folder / "source"
        source.mkdir()
        whole = np.random.default_rng(1).normal(size=(6, 6, 6)).astype(np.float32)
        nib.Nifti1Image(whole, np.eye(4)).to_filename(source / _GOOD)
        files = write_scan(source, kind)
        damage(files[rng.integers(len(files))], how, rng)
        before = _contents(source)
        refused: list[VoxflateError] = []
        prepared = prepare(
            source, folder / "out", "mr", SHAPE, held_out=0, refuse=refused.append, salt=b"a salt for fuzzing"
        )
        count = len(prepared.stored("train"))
        _check(count >= 1, "the whole scan was lost")
        _check(all("\n" not in str(e) and str(source) in str(e) for e in refused), f"unclear: {refused}")
        _check(all(_GOOD not in str(e) for e in refused), f"the whole scan was refused: {refused}")
        _check(_contents(source) == before, "the source was changed")
        _check({path.name for path in folder.iterdir()} == {"source", "out"}, "something was left behind")
        return f"{kind} {how}: {'refused' if refused else 'prepared'}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)


def _contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def fuzz(cases: int, seed: int, first: int = 0) -> tuple[Counter[str], list[str]]:
    """Run cases from the first on; return their outcomes, and errors with the number of the case."""
    ends: Counter[str] = Counter()
    wrong: list[str] = []
    context = multiprocessing.get_context("spawn")
    number, cases = first, first + cases
    while number < cases:
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            waiting = {case: pool.submit(run_case, seed, case) for case in range(number, cases)}
            for case, future in waiting.items():
                number = case + 1
                try:
                    ends[future.result(LIMIT_S)] += 1
                except (BrokenProcessPool, TimeoutError) as error:
                    wrong.append(f"case {case}: {type(error).__name__}")
                    for process in pool._processes.values():
                        process.kill()
                    break  # the pool is broken: continue after this case with a new one
                except Exception as error:
                    wrong.append(f"case {case}: {type(error).__name__}: {error}")
    return ends, wrong


def main() -> None:
    """Print the outcomes of the cases; exit status 1 if one went wrong."""
    parser = parser_of(__doc__)
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    arguments = parser.parse_args()
    ends, wrong = fuzz(arguments.cases, arguments.seed, arguments.first)
    for end, count in sorted(ends.items()):
        print(f"{count:6d}  {end}")
    for line in wrong:
        print(line)
    print(f"{sum(ends.values())} of {arguments.cases} cases ended well (seed {arguments.seed})")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
