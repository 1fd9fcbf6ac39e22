"""What is a perfect volume of half the size worth after doubling? A bound for growth from a smaller 3D run.

    python -m benchmarks.halved DATA --out FOLDER
    voxflate evaluate FOLDER --data DATA --out EVALUATION

Writes the real volumes of a prepared set, averaged over 2x2x2 voxels and doubled again by trilinear
interpolation, as NIfTI: no generator of half the size could give better ones to its larger successor.
"""

from __future__ import annotations

from pathlib import Path

import torch
from benchmarks.arguments import parser_of
from torch import Tensor
from torch.nn.functional import avg_pool3d, interpolate

from voxflate.data.prepared import open_prepared
from voxflate.data.writers.nifti import write_nifti


def halved(volumes: Tensor) -> Tensor:
    """Volumes [n, c, D, H, W] without the details that half the size cannot hold, in their own shape.

    >>> halved(torch.tensor([0.0, 2.0, 0.0, 2.0]).expand(1, 1, 4, 4, 4)).unique()
    tensor([1.])
    """
    return interpolate(avg_pool3d(volumes, 2), scale_factor=2, mode="trilinear", align_corners=False)


def main() -> None:
    """Write all volumes."""
    parser = parser_of(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    prepared = open_prepared(given.data)
    given.out.mkdir(parents=True)
    volumes = halved(torch.from_numpy(prepared.volumes("all")))
    for number, volume in enumerate(volumes[:, 0].numpy()):
        write_nifti(given.out / f"halved-{number:04d}.nii.gz", volume, prepared)
    print(f"wrote {len(volumes)} volumes to {given.out}")


if __name__ == "__main__":
    main()
