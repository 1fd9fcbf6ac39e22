"""Writes masks as DICOM segmentations that reference the series of their scan.

Requires the package highdicom: pip install 'voxflate[dicom-seg]'.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pydicom
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from voxflate._system.extras import import_optional
from voxflate._system.files import whole_file, whole_folder
from voxflate._system.version import __version__
from voxflate.data.channels import mask_labels, numbered
from voxflate.data.prepared import PreparedSet
from voxflate.data.volume import Float32, Float64
from voxflate.data.writers.checks import check_volume
from voxflate.data.writers.dicom import as_rows, long_string, write_dicom
from voxflate.data.writers.synthetic import PREPARED, Look, kind_of
from voxflate.data.writers.tags import image_tags

SERIES_NUMBER = 100
"""Series number of a segmentation in its study."""


def check_segmentations() -> None:
    """Refuse to write segmentations if highdicom is not installed.

    Raises:
        VoxflateError: Tells how to install it.
    """
    import_optional("highdicom", "dicom-seg", "DICOM segmentations need highdicom", "or write NIfTI")


def write_dicom_channels(
    folder: str | Path,
    volume: Float32,
    prepared: PreparedSet,
    affine: Float64 | None = None,
    *,
    look: Look | None,
) -> None:
    """Write all channels of a volume as DICOM, as one study.

    A volume with one channel is a series, as `write_dicom` writes it. Otherwise there is a folder per image
    channel, named after it (see `image_tags`), and mask.dcm if there is a mask.

    Args:
        folder: Folder to create; it must be missing or empty.
        volume: float32 [C, D, H, W] in [-1, 1], all channels of the set.
        prepared: The set that defines channels, values and voxels.
        affine: 4x4, index (w, h, d, 1) -> world mm, RAS+; the set's own if None.
        look: Look of a generated volume, which the files then call synthetic; None for a scan.

    Raises:
        VoxflateError: If the volume does not match the set, or highdicom is missing.
    """
    layout = prepared.layout
    if len(layout.channels) == 1:
        write_dicom(folder, volume[0], prepared, affine, look=look)
        return
    if layout.masks:
        check_segmentations()
    with whole_folder(folder) as temporary:
        folders = [temporary / tag for tag in image_tags(layout)]
        for number, series in enumerate(folders):
            beside = folders[0] if number else None
            write_dicom(series, volume[number], prepared, affine, look=look, channel=number, beside=beside)
        if layout.masks:
            write_dicom_seg(temporary / "mask.dcm", volume, prepared, folders[0], look=look)


def write_dicom_seg(
    path: str | Path, volume: Float32, prepared: PreparedSet, series: Path, *, look: Look | None
) -> None:
    """Write the mask of a volume as a DICOM segmentation, one segment per class.

    Segments are numbered 1, 2, 3, ..., as DICOM requires; their labels are the names of the classes with the
    values in the source.

    Args:
        path: File to write.
        volume: float32 [C, D, H, W] in [-1, 1], all channels of the set.
        prepared: The set that defines the classes.
        series: Folder of the series that `write_dicom` wrote for an image channel of the same volume.
        look: The same as for the series.

    Raises:
        VoxflateError: If highdicom is missing, or the file cannot be written.
    """
    check_segmentations()
    import highdicom  # slow to load, and optional

    for channel in volume:
        check_volume(Path(path), channel, prepared)
    layout = prepared.layout
    labels = as_rows(numbered(mask_labels(volume, layout), layout))
    slices = [pydicom.dcmread(file) for file in sorted(series.iterdir())]
    segments = [
        _segment(highdicom, number, layout.channels[layout.images + number - 1], generated=look is not None)
        for number in range(1, layout.masks + 1)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # empty classes; missing person names
        made = highdicom.seg.Segmentation(
            source_images=slices,
            pixel_array=labels.astype("uint8"),
            segmentation_type="BINARY",
            segment_descriptions=segments,
            series_instance_uid=generate_uid(),
            series_number=SERIES_NUMBER,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="voxflate",
            manufacturer_model_name="voxflate",
            software_versions=__version__,
            device_serial_number="0",
            content_description="Synthetic: made by a generative network" if look else PREPARED,
            content_label=kind_of(look).upper(),
            omit_empty_frames=bool(labels.any()),
        )
    made.SeriesDescription = f"{kind_of(look)} mask"
    with whole_file(path) as temporary:
        made.save_as(temporary, enforce_file_format=True)


def _segment(highdicom: Any, number: int, channel: Any, *, generated: bool) -> Any:
    # The mask of a scan was entered by the user; no file says how it was drawn.
    made_by = highdicom.AlgorithmIdentificationSequence(
        name="voxflate", version=__version__, family=codes.DCM.ArtificialIntelligence
    )
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=long_string(channel.name, f" ({channel.label})"),
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=codes.SCT.AnatomicalStructure,
        algorithm_type="AUTOMATIC" if generated else "MANUAL",
        algorithm_identification=made_by if generated else None,
    )
