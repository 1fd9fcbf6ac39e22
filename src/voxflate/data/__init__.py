"""Scans in, training volumes out, and back: reading, preparing, sampling, exporting. Uses no networks.

In the order in which a scan passes them: `volume` (axes and world positions); `readers` (one format per file,
and what every reader refuses); `sources` (finds scans in folders and lists, matches them to subjects and
accounts for every file); `preparing` (recipes, steps, intensity checks, the report); `prepared` (the set on
disk); `datasets` and `readahead` (streams for training); `writers` (back to files). `shapes` has the volume
shapes, `synthetic` makes brains for trying everything out.
"""

from voxflate.data.prepared import SPLITS, PreparedSet, open_prepared
from voxflate.data.preparing.prepare import prepare
from voxflate.data.writers.nifti import write_nifti

__all__ = ["SPLITS", "PreparedSet", "open_prepared", "prepare", "write_nifti"]
