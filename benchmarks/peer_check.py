"""Compares our readers with nibabel and SimpleITK on real scans: orientation, spacing, voxel values.

    python -m benchmarks.peer_check FOLDER [--files 5] [--series 5]

NIfTI files are compared with both peers, DICOM series with SimpleITK's own series reader, which sorts the
files of the folder itself. The same voxels must be at the same world positions, and integers must be exactly
equal. A refused series is named with its reason. Exit status 1 if anything differs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK
from benchmarks.arguments import parser_of

from voxflate.data.readers.itk import world_affine
from voxflate.data.sources.found import Source, find_sources
from voxflate.data.volume import Volume, to_ras

ITK: Any = SimpleITK
MOST_MM = 1e-3
"""Positions may differ by the rounding of decimal strings."""


def by_nibabel(path: Path) -> Volume:
    """A NIfTI file read by nibabel, in its closest canonical orientation."""
    image = nib.as_closest_canonical(nib.load(path))
    return Volume(np.asarray(image.dataobj).T, image.affine)


def by_simpleitk(image: Any) -> Volume:
    """An image of SimpleITK, reoriented to RAS by SimpleITK."""
    turned = ITK.DICOMOrient(image, "RAS")
    directions = np.array(turned.GetDirection()).reshape(3, 3)
    affine = world_affine(directions, np.array(turned.GetSpacing()), np.array(turned.GetOrigin()))
    return Volume(ITK.GetArrayFromImage(turned), affine)


def compare(name: str, ours: Volume, theirs: Volume) -> str:
    """The difference in a line; empty if there is none."""
    if ours.array.shape != theirs.array.shape:
        return f"{name}: shape {ours.array.shape}, here {theirs.array.shape}"
    moved = max(
        float(np.abs(ours.geometry.world(corner) - theirs.geometry.world(corner)).max())
        for corner in np.ndindex(2, 2, 2)
        for corner in [tuple(c * (n - 1) for c, n in zip(corner, ours.array.shape, strict=True))]
    )
    if moved > MOST_MM:
        return f"{name}: a corner lies {moved:.4f} mm away"
    integers = bool((theirs.array == np.rint(theirs.array)).all())
    if integers and not np.array_equal(ours.array, theirs.array):
        return f"{name}: {(ours.array != theirs.array).sum()} integers differ"
    if not np.allclose(ours.array, theirs.array, rtol=1e-6, atol=0):
        return f"{name}: values differ by up to {np.abs(ours.array - theirs.array).max():g}"
    return ""


def check(source: Source) -> list[str]:
    """Compare a scan with every peer that reads it, and print a line for each."""
    ours = to_ras(source.volume())
    if source.series:
        reader = ITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(source.path.parent)))
        peers = {"SimpleITK": by_simpleitk(reader.Execute())}
    else:
        peers = {
            "nibabel": by_nibabel(source.path),
            "SimpleITK": by_simpleitk(ITK.ReadImage(str(source.path))),
        }
    wrong = []
    for peer, theirs in peers.items():
        differs = compare(peer, ours, theirs)
        kind = theirs.array.dtype
        shape = "x".join(map(str, ours.array.shape))
        print(f"{'differs' if differs else 'equal':8} {peer:10} {shape:>12} {kind!s:8} {source.name}")
        wrong += [differs] if differs else []
    return wrong


def main() -> None:
    """Print one line per scan and peer."""
    parser = parser_of(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=5, help="NIfTI files, spread over the folder")
    parser.add_argument("--series", type=int, default=5, help="DICOM series, spread over the folder")
    arguments = parser.parse_args()
    sources = find_sources(arguments.folder, lambda error: print(f"refused  {error}"))
    files = [one for one in sources if one.series is None and ".nii" in one.path.name]
    series = [one for one in sources if one.series is not None]
    wrong: list[str] = []
    for found, count in ((files, arguments.files), (series, arguments.series)):
        for index in sorted({int(i) for i in np.linspace(0, len(found) - 1, min(count, len(found)))}):
            wrong += check(found[index])
    for line in wrong:
        print(line)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
