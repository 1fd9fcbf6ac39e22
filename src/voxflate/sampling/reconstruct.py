"""Reconstructs a scan on disk: finds and writes the generator's closest volume."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voxflate._system.errors import VoxflateError
from voxflate._system.files import check_writable
from voxflate.data.channels import LabelValue
from voxflate.data.labels import chosen_labels
from voxflate.data.outside import check_outside_sets
from voxflate.data.prepared import PreparedSet
from voxflate.data.preparing.replay import Prepared, prepare_like
from voxflate.data.readers.generated import SYNTHETIC
from voxflate.data.volume import Float32
from voxflate.data.writers.layouts import flat_image, flat_mask
from voxflate.data.writers.nifti import write_array, write_labels_array
from voxflate.runs.chosen import Snapshot
from voxflate.runs.load import Loaded, Source, check_volumes, open_source
from voxflate.sampling.inversion import OPTIONS, Inversion, Options, Progress, invert
from voxflate.sampling.volumes import nifti_suffix, write_all


@dataclass(frozen=True)
class Subject:
    """A scan with its other files and labels.

    Attributes:
        scan: File, or folder of one DICOM series; with several modalities the first.
        others: The other modalities by name.
        mask: Its mask, which is also fitted; None to fit only the images.
        labels: Known labels of the subject, by name.
    """

    scan: Path
    others: Mapping[str, Path] = field(default_factory=dict)
    mask: Path | None = None
    labels: Mapping[str, LabelValue] = field(default_factory=dict)


def reconstruct(
    subject: Subject,
    run: Path,
    out: Path,
    options: Options = OPTIONS,
    snapshot: Snapshot = "newest",
    data: Path | None = None,
    device: str | None = None,
    progress: Progress | None = None,
    tell: Callable[[Loaded], None] | None = None,
    warn: Callable[[str], None] = warnings.warn,
) -> Inversion:
    """Prepare a scan like the generator's data, invert it, and write the resulting volume.

    Args:
        subject: The scan with its other files and labels.
        run: Folder of a 3D run or of an export.
        out: NIfTI file to write, at the scan's position and in its intensities. Several modalities are
            written to separate files beside it, and so is the mask; `outputs` gives their names.
        options: Options of the inversion.
        snapshot: "newest", "best", or a number of kimg.
        data: Folder of the run's prepared set; None to use the one named in the run.
        device: Device, as `training.device`; None for the run's own setting.
        progress: Called with (steps done, steps).
        tell: Called with the generator once it is loaded.
        warn: Called with a message about a label outside the training set's range.

    Raises:
        VoxflateError: If a file or the run cannot be used, a label is unknown, or `out` exists, is not a
            NIfTI file, lies in a prepared set or cannot be written.
    """
    nifti_suffix(out)
    options.check()
    check_outside_sets(out)
    check_writable(out)
    for path in (subject.scan, *subject.others.values(), subject.mask):
        if path is not None and not path.exists():
            raise VoxflateError(f"{path}: no such file; give a scan, or the folder of its DICOM series")
    source = open_source(run, data, device, other_data=None)
    check_volumes(source)
    layout, joint = source.prepared.layout, source.labels
    for path in outputs(out, source.prepared):
        if path.exists():
            raise VoxflateError(f"{path}: already exists; choose another name, or delete it first")
    known, lines = chosen_labels(joint, subject.labels)
    for line in lines:
        warn(line)
    prepared = prepare_like(subject.scan, source.prepared.manifest, subject.others, subject.mask)
    loaded = source.load(snapshot)
    if tell is not None:
        tell(loaded)
    given = prepared.channels[None]
    found = invert(loaded.network, given, layout, options, joint, known, progress)
    _write(found, prepared, source, out)
    return found


def outputs(out: Path, prepared: PreparedSet) -> list[Path]:
    """The files of a reconstruction: one per modality, then the mask."""
    suffix = nifti_suffix(out)
    stem, layout = out.name.removesuffix(suffix), prepared.layout
    names = [flat_image(stem, number, layout, suffix) for number in range(layout.images)]
    return [out.parent / name for name in names + [flat_mask(stem, suffix)] * bool(layout.masks)]


def _write(found: Inversion, prepared: Prepared, source: Source, out: Path) -> None:
    """Write all files or none, at the scan's position and in its intensities."""
    place: dict[str, Any] = {"affine": prepared.images[0].affine, "description": SYNTHETIC}
    writers: list[Callable[[Path], None]] = []
    images = found.rendered[0].reshape(-1, *source.prepared.shape)
    for image, given in zip(images, prepared.images, strict=True):
        assert given.intensity is not None  # prepare_like checks it
        values = _in_units(image, given.intensity, is_ct=source.prepared.is_ct)
        writers.append(partial(write_array, array=values, **place))
    if found.masks is not None:
        writers.append(partial(write_labels_array, labels=found.masks[0], **place))
    write_all(list(zip(outputs(out, source.prepared), writers, strict=True)))


def _in_units(image: Float32, intensity: tuple[float, float], *, is_ct: bool) -> npt.NDArray[Any]:
    low, high = intensity
    values = low + (image + 1) * ((high - low) / 2)
    return np.rint(values).astype(np.int16) if is_ct else values
