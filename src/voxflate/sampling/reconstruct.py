"""From a scan on the disk to the volume that comes closest to it among those that a generator makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voxflate._system.errors import VoxflateError
from voxflate.data.preparing.replay import prepare_like
from voxflate.data.writers.nifti import SUFFIXES, write_array
from voxflate.data.writers.synthetic import SYNTHETIC
from voxflate.runs.chosen import Snapshot
from voxflate.runs.load import Loaded, check_volumes, open_source
from voxflate.sampling.asked import check_plain
from voxflate.sampling.inversion import STEPS, TOLERANCE, Inversion, Progress, invert


@dataclass(frozen=True)
class Options:
    """How a scan is inverted; see `inversion.invert`."""

    steps: int = STEPS
    tolerance: float = TOLERANCE
    fit_noise: bool = True


OPTIONS = Options()


def reconstruct(
    scan: Path,
    run: Path,
    out: Path,
    options: Options = OPTIONS,
    snapshot: Snapshot = "newest",
    data: Path | None = None,
    device: str | None = None,
    progress: Progress | None = None,
    tell: Callable[[Loaded], None] | None = None,
) -> Inversion:
    """Prepare a scan as the generator's data was prepared, invert it, and write the volume that was found.

    Args:
        scan: File, or folder of one DICOM series.
        run: Folder of a 3D run or of an export.
        out: NIfTI file to write, at the scan's place and in its intensities; must not exist.
        options: Of the inversion.
        snapshot: "newest", "best", or a number of kimg.
        data: Where a run's prepared set lies now; None where the run says.
        device: Where to compute, as `training.device`; None for the run's own setting.
        progress: Called with (steps done, steps).
        tell: Called with the generator once it is loaded.

    Raises:
        VoxflateError: If the scan or the run cannot be used, or `out` is taken or no NIfTI file.
    """
    if not out.name.endswith(SUFFIXES):
        raise VoxflateError(f"{out}: a NIfTI file's name must end in {' or '.join(SUFFIXES)}")
    if out.exists():
        raise VoxflateError(f"{out}: exists already; choose another name, or delete it first")
    if options.steps < 1 or not options.tolerance > 0:
        raise VoxflateError(
            f"steps and tolerance must be above 0, got {options.steps} and {options.tolerance}"
        )
    source = open_source(run, data, device)
    check_volumes(source)
    check_plain(source.prepared, source.labels, "invert")
    prepared = prepare_like(scan, source.prepared.manifest)
    loaded = source.load(snapshot)
    if tell is not None:
        tell(loaded)
    given = np.asarray(prepared.array, np.float32)[None]
    found = invert(loaded.network, given, **vars(options), progress=progress)
    assert prepared.intensity is not None  # prepare_like checks it
    low, high = prepared.intensity
    values = low + (found.rendered[0] + 1) * ((high - low) / 2)
    if source.prepared.is_ct:
        values = np.rint(values).astype(np.int16)
    write_array(out, values, prepared.affine, SYNTHETIC)
    return found
