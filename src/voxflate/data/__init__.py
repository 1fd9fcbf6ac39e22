"""Scans in, training volumes out, and back: reading, preparing, sampling, exporting. Needs no network.

Files, in the order a scan passes them: `volume` (axes and world positions), `read`, `steps` and `recipes`,
`split`, `prepare`, `prepared` (the result on disk), `datasets` (streams for training), `export` (back to
NIfTI). `cohort` makes brains to try everything with.
"""

from voxflate.data.export import write_nifti
from voxflate.data.prepare import prepare
from voxflate.data.prepared import SPLITS, PreparedSet, open_prepared

__all__ = ["SPLITS", "PreparedSet", "open_prepared", "prepare", "write_nifti"]
