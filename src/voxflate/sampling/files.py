"""Writes generated volumes to files: a folder in the layout of another tool, or DICOM series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from voxflate._system.errors import VoxflateError
from voxflate.data.labels import Labels
from voxflate.data.prepared import WITHOUT_MODALITY, PreparedSet
from voxflate.data.volume import Float32
from voxflate.data.writers.checks import check_dicom_modality
from voxflate.data.writers.dicom import check_right_angles
from voxflate.data.writers.dicom_seg import check_segmentations, write_dicom_channels
from voxflate.data.writers.label_tables import Kept, write_labels
from voxflate.data.writers.layouts import FolderWriter, check_labels, find_layout
from voxflate.data.writers.synthetic import Look
from voxflate.runs.load import Source
from voxflate.runs.shipped import ROOT
from voxflate.runs.trained_on import own_set

FLAT = "flat"


class SeriesWriter:
    """Writes each volume as a folder of DICOM: a series per modality, and the mask as a segmentation.

    Args:
        folder: Output folder.
        prepared: The set that defines values, voxels and channels.
        layout: "flat", the only one for DICOM.
        look: Air, and whether position and units come from other data.
        digits: Number of digits in a volume's name.
    """

    def __init__(self, folder: Path, prepared: PreparedSet, layout: str, look: Look, digits: int) -> None:
        self._folder, self._prepared, self._look, self._digits = folder, prepared, look, digits
        self.kept: list[Kept] = []

    def add(self, volume: Float32, labels: Labels | None = None) -> Kept:
        """Write one volume, float32 [C, D, H, W] in [-1, 1]."""
        name = f"sample-{len(self.kept):0{self._digits}d}"
        write_dicom_channels(self._folder / name, volume, self._prepared, look=self._look)
        self.kept.append(Kept(name, (name,), "", dict(labels or {})))
        return self.kept[-1]

    def finish(self) -> None:
        """Write the labels next to the volumes."""
        write_labels(self._folder, self.kept)


FORMATS: dict[str, Callable[..., FolderWriter | SeriesWriter]] = {
    "nifti": FolderWriter,
    "dicom": SeriesWriter,
}
"""Name -> writer of volumes, called with (folder, prepared, layout, look, digits)."""


def check_format(file_format: str, layout: str, source: Source) -> None:
    """Refuse a format or layout before anything is computed.

    Args:
        file_format: A name in `FORMATS`.
        layout: A name in `LAYOUTS`.
        source: The run or export.

    Raises:
        VoxflateError: If it does not exist, does not suit the volumes or labels, or needs a missing package.
    """
    if file_format not in FORMATS:
        raise VoxflateError(f"--format {file_format}: choose one of {', '.join(FORMATS)}")
    prepared, labels = source.prepared, source.labels
    find_layout(layout, prepared)
    check_labels(layout, [column.name for column in labels.layout.labels] if labels else [])
    if file_format == "dicom":
        if layout != FLAT:
            raise VoxflateError(f"--layout {layout}: needs NIfTI files; leave out --format dicom")
        check_dicom_modality(prepared, f"--format dicom: {prepared.root}")
        _check_own_modality(source)
        check_right_angles(prepared.affine, f"--format dicom: {prepared.root}")
        if prepared.layout.masks:
            check_segmentations()


def format_notes(file_format: str, source: Source) -> list[str]:
    """What the user should know about the modality that files declare, one sentence each.

    Args:
        file_format: A name in `FORMATS`.
        source: The run or export, after `check_format`.
    """
    prepared = source.prepared
    if file_format != "dicom" or prepared.is_ct:
        return []
    notes = []
    if source.other_data and _own_set(source) is None:
        notes.append(
            f"{source.folder}: its training data cannot be opened, so their modality is unknown; the volumes "
            f"are written as {prepared.modality} because {prepared.root} is {prepared.modality}"
        )
    shipped = source.folder.resolve().parent == ROOT.resolve()  # these are MR
    if prepared.manifest.version in WITHOUT_MODALITY and not shipped:
        notes.append(
            f"{prepared.root}: was made before sets recorded their modality, so its volumes are written as "
            f"{prepared.modality} because of its recipe, {prepared.manifest.recipe}; to record the true one, "
            "prepare the scans again"
        )
    return notes


def _check_own_modality(source: Source) -> None:
    """Refuse volumes on other data that would be declared as another modality than the generator's own."""
    own = _own_set(source) if source.other_data else None
    if own is None:
        return
    check_dicom_modality(own, f"--format dicom: {source.folder}")
    if own.modality != source.prepared.modality:
        raise VoxflateError(
            f"--format dicom: {source.folder} makes {own.modality}, but the files would say "
            f"{source.prepared.modality}, as {source.prepared.root} is; write NIfTI, or leave out "
            "--data and --other-data"
        )


def _own_set(source: Source) -> PreparedSet | None:
    """The set that a generator was trained on, without scans for an export; None if it cannot be opened."""
    if source.exported is not None:
        return source.exported.geometry
    return own_set(source.folder, labels=False)
