"""Scans in, training volumes out, and back: reading, preparing, sampling, exporting. Needs no network.

Files, in the order a scan passes them: `volume` (axes and world positions); `lists` and `sources` (what
there is), read by `read`, `itk`, `npz`, `dicom_slices`, `dicom` and `regrid`, refused by `checks`; `jobs` and
`split`; `steps` and `recipes`; `prepare`, with `rows`, `names`, `quality`, `quality_report` and `manifest`;
`prepared` (the result on disk); `datasets` and `readahead` (streams for training); `export` and `dicom_out`
(back to files). `shapes` and `proposals`: volume shapes. `cohort` makes brains to try everything with.
"""

from voxflate.data.prepared import SPLITS, PreparedSet, open_prepared
from voxflate.data.preparing.prepare import prepare
from voxflate.data.writers.nifti import write_nifti

__all__ = ["SPLITS", "PreparedSet", "open_prepared", "prepare", "write_nifti"]
