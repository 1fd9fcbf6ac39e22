"""Scans in, training volumes out, and back: reading, preparing, sampling, exporting. Needs no network.

In the order in which a scan passes them: `volume` (axes and world positions); `readers` (one format per file,
and what every reader refuses); `sources` (what is in a folder or list, whose it is, and an account of every
file); `preparing` (recipes, steps, checks of intensities, the report); `prepared` (the set on disk);
`datasets`
and `readahead` (streams for training); `writers` (back to files). `shapes`: volume shapes. `synthetic` makes
brains to try everything with.
"""

from voxflate.data.prepared import SPLITS, PreparedSet, open_prepared
from voxflate.data.preparing.prepare import prepare
from voxflate.data.writers.nifti import write_nifti

__all__ = ["SPLITS", "PreparedSet", "open_prepared", "prepare", "write_nifti"]
