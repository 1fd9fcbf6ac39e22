"""Writes volumes with all their channels as a folder that other tools can read: nnU-Net, BIDS, MONAI.

To add a layout: write a `FolderLayout` (the path of each file, and the function that describes the folder)
and add it to `LAYOUTS`. `write_pairs` writes a whole folder, `FolderWriter` writes one volume after the
other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxflate._system.errors import VoxflateError
from voxflate._system.files import whole_file, whole_folder, write_json
from voxflate._system.version import __version__
from voxflate.data.channels import Layout
from voxflate.data.prepared import PreparedSet
from voxflate.data.volume import Float32, Float64
from voxflate.data.writers.label_tables import PARTICIPANTS, Kept, Labels, write_labels, write_participants
from voxflate.data.writers.nifti import write_mask_nifti, write_nifti
from voxflate.data.writers.synthetic import Look
from voxflate.data.writers.tags import image_tags, plain_word

SYNTHETIC_SET = "Synthetic volumes made by a generative network (voxflate)"
PREPARED_SET = "Prepared scans: resampled, and clipped or rescaled (voxflate)"
BIDS_VERSION = "1.9.0"

_BIDS_SUFFIXES = {
    "t1": "T1w",
    "t1w": "T1w",
    "t2": "T2w",
    "t2w": "T2w",
    "flair": "FLAIR",
    "pd": "PDw",
    "pdw": "PDw",
    "t2star": "T2starw",
    "t2starw": "T2starw",
}
"""Channel's name in lower case -> BIDS suffix; others keep their name and are listed in .bidsignore."""
_MASK_TAG = "seg"


@dataclass(frozen=True)
class FolderLayout:
    """The layout of a folder.

    Attributes:
        image: (name, channel's number, the set's channels) -> path of an image channel's file.
        mask: name -> path of the mask's file.
        describe: Writes the files that describe the folder, after all volumes; the last argument says in a
            sentence what they are.
        needs_mask: Whether every volume must have a mask.
        renumbered: Whether the classes must be 1, 2, 3, ...
        reserved: Names that no label can have, because the description has files under them.
    """

    image: Callable[[str, int, Layout], str]
    mask: Callable[[str], str]
    describe: Callable[[Path, PreparedSet, Sequence[Kept], str], None]
    needs_mask: bool = False
    renumbered: bool = False
    reserved: tuple[str, ...] = ()


class FolderWriter:
    """Writes volumes one by one into a folder, and finally the files that describe it.

    Args:
        folder: Output folder; created if missing.
        prepared: The set, or the geometry of an export, that defines values, voxels and channels.
        layout: A name in `LAYOUTS`.
        look: Look of generated volumes; None for scans.
        digits: Number of digits in a volume's name.

    Raises:
        VoxflateError: If there is no such layout, or it needs a mask and there is none.
    """

    def __init__(
        self,
        folder: Path,
        prepared: PreparedSet,
        layout: str = "flat",
        look: Look | None = None,
        digits: int = 4,
    ) -> None:
        self._layout = find_layout(layout, prepared)
        self._folder = folder
        self._prepared = prepared
        self._look = look
        self._digits = digits
        self.kept: list[Kept] = []

    def add(self, volume: Float32, labels: Labels | None = None, affine: Float64 | None = None) -> Kept:
        """Write one volume.

        Args:
            volume: float32 [C, D, H, W] in [-1, 1], all channels of the set.
            labels: A value per label column.
            affine: 4x4, index (w, h, d, 1) -> world mm, for all its files; the set's own if None.

        Raises:
            VoxflateError: If channels or shape do not match the set, or a file cannot be written.
        """
        channels = self._prepared.layout.channels
        if len(volume) != len(channels):
            raise VoxflateError(
                f"{self._folder}: the volume has {len(volume)} channels, the prepared set {len(channels)}"
            )
        name = f"sample-{len(self.kept):0{self._digits}d}"
        images = []
        for number in range(self._prepared.layout.images):
            images.append(self._layout.image(name, number, self._prepared.layout))
            write_nifti(
                self._folder / images[-1],
                volume[number],
                self._prepared,
                affine,
                look=self._look,
                channel=number,
            )
        mask = self._layout.mask(name) if self._prepared.layout.masks else ""
        if mask:
            write_mask_nifti(
                self._folder / mask,
                volume,
                self._prepared,
                affine,
                look=self._look,
                renumbered=self._layout.renumbered,
            )
        self.kept.append(Kept(name, tuple(images), mask, dict(labels or {})))
        return self.kept[-1]

    def finish(self) -> None:
        """Write the files that describe the folder."""
        about = PREPARED_SET if self._look is None else SYNTHETIC_SET
        self._layout.describe(self._folder, self._prepared, self.kept, about)


def write_pairs(
    folder: str | Path,
    volumes: Float32,
    prepared: PreparedSet,
    layout: str = "flat",
    labels: Sequence[Labels] | None = None,
    *,
    affines: Sequence[Float64] | None = None,
    look: Look | None = None,
) -> None:
    """Write volumes with their masks and labels as a folder of NIfTI files; scan and mask have one affine.

    Args:
        folder: Folder to create; it must be missing or empty. It appears once all files are written.
        volumes: float32 [n, C, D, H, W] in [-1, 1], all channels of the set.
        prepared: The set, or the geometry of an export, that defines values, voxels and channels.
        layout: A name in `LAYOUTS`.
        labels: A value per label column for every volume; written to `PARTICIPANTS`, or to `LABELS` if flat.
        affines: 4x4 of each volume, index (w, h, d, 1) -> world mm; the set's own for all if None.
        look: Look of generated volumes; None for scans.

    Raises:
        VoxflateError: If the layout or the volumes do not match the set, or the folder cannot be written.
    """
    find_layout(layout, prepared)
    check_labels(layout, {name for one in labels or () for name in one})
    with whole_folder(folder) as temporary:
        writer = FolderWriter(temporary, prepared, layout, look, max(4, len(str(len(volumes) - 1))))
        for index, volume in enumerate(volumes):
            known = None if labels is None else labels[index]
            writer.add(volume, known, None if affines is None else affines[index])
        writer.finish()


def find_layout(name: str, prepared: PreparedSet) -> FolderLayout:
    """Look up a layout for a set.

    Raises:
        VoxflateError: If there is no such layout, or it does not suit the set.
    """
    if name not in LAYOUTS:
        raise VoxflateError(f"--layout {name}: choose one of {', '.join(LAYOUTS)}")
    if LAYOUTS[name].needs_mask and not prepared.layout.masks:
        raise VoxflateError(
            f"--layout {name}: is for scans with masks, and the volumes have none; choose another layout"
        )
    return LAYOUTS[name]


def check_labels(layout: str, labels: Iterable[str]) -> None:
    """Refuse labels that a layout cannot describe.

    Args:
        layout: A name in `LAYOUTS`.
        labels: Their names.

    Raises:
        VoxflateError: Names the label.
    """
    if clash := sorted(set(LAYOUTS[layout].reserved) & set(labels)):
        raise VoxflateError(
            f"--layout {layout}: a datalist has files under {clash[0]}, so no label can have that name; "
            "choose another layout"
        )


def _class_names(prepared: PreparedSet, *, renumbered: bool) -> dict[str, int]:
    """Name of each class, background first, and its value in the files."""
    masks = [channel for channel in prepared.layout.channels if channel.kind == "mask"]
    values = [number if renumbered else one.label for number, one in enumerate(masks, 1)]
    return {"background": 0, **dict(zip((one.name for one in masks), values, strict=True))}


def _describe_flat(folder: Path, prepared: PreparedSet, kept: Sequence[Kept], about: str) -> None:
    write_labels(folder, kept)


def _describe_nnunet(folder: Path, prepared: PreparedSet, kept: Sequence[Kept], about: str) -> None:
    """Write dataset.json for nnU-Net v2. Its classes must be 1, 2, 3, ...; the source's values are added."""
    images = [channel.name for channel in prepared.layout.channels[: prepared.layout.images]]
    # For the name CT, nnU-Net clips and scales by the whole set; for any other name it normalises per volume.
    names = {str(i): "CT" if prepared.is_ct else name for i, name in enumerate(images)}
    masks = [channel for channel in prepared.layout.channels if channel.kind == "mask"]
    content = {
        "channel_names": names,
        "labels": _class_names(prepared, renumbered=True),
        "numTraining": len(kept),
        "file_ending": ".nii.gz",
        "description": about,
        "source_values": {one.name: one.label for one in masks},
    }
    write_json(folder / "dataset.json", content)
    write_participants(folder / PARTICIPANTS, kept)


def _describe_monai(folder: Path, prepared: PreparedSet, kept: Sequence[Kept], about: str) -> None:
    """Write dataset.json with a datalist: every volume with its files, and its labels by name."""
    items = []
    for one in kept:
        files: dict[str, Any] = {"image": one.images[0] if len(one.images) == 1 else list(one.images)}
        if one.mask:
            files["label"] = one.mask
        check_labels("monai", one.labels)
        items.append({**files, **one.labels})
    content = {
        "name": "voxflate",
        "description": about,
        "labels": {str(value): name for name, value in _class_names(prepared, renumbered=False).items()},
        "numTraining": len(kept),
        "training": items,
    }
    write_json(folder / "dataset.json", content)
    write_participants(folder / PARTICIPANTS, kept)


def _describe_bids(folder: Path, prepared: PreparedSet, kept: Sequence[Kept], about: str) -> None:
    """Write the descriptions of the set and of its masks (derivatives), and the participants."""
    made = [{"Name": "voxflate", "Version": __version__}]
    common = {"Name": about, "BIDSVersion": BIDS_VERSION, "GeneratedBy": made}
    write_json(folder / "dataset_description.json", {**common, "DatasetType": "raw"})
    if prepared.layout.masks:
        masks = folder / "derivatives" / "masks"
        write_json(masks / "dataset_description.json", {**common, "DatasetType": "derivative"})
        classes = _class_names(prepared, renumbered=False)
        rows = [f"{value}\t{name}" for name, value in classes.items()]
        with whole_file(masks / "dseg.tsv") as temporary:
            temporary.write_text("\n".join(["index\tname", *rows, ""]), encoding="utf-8")
    write_participants(folder / PARTICIPANTS, kept, _bids_subject)
    suffixes = _bids_suffixes(prepared.layout)
    foreign = [f"*_{one}.nii.gz" for one in suffixes if one not in _BIDS_SUFFIXES.values()]
    if foreign:
        with whole_file(folder / ".bidsignore") as temporary:
            temporary.write_text("\n".join([*sorted(foreign), ""]), encoding="utf-8")


def _bids_subject(name: str) -> str:
    return f"sub-{name.rpartition('-')[2]}"


def _bids_suffixes(layout: Layout) -> list[str]:
    """Suffix of each image's file."""
    return image_tags(layout, lambda name: _BIDS_SUFFIXES.get(name.lower()) or plain_word(name))


def flat_image(name: str, number: int, layout: Layout, suffix: str = ".nii.gz") -> str:
    """Name of an image's file: the volume's name, plus the modality if there are several."""
    if layout.images == 1:
        return name + suffix
    return f"{name}_{image_tags(layout, taken=(_MASK_TAG,))[number]}{suffix}"


def flat_mask(name: str, suffix: str = ".nii.gz") -> str:
    """Name of a mask's file."""
    return f"{name}_{_MASK_TAG}{suffix}"


def _bids_image(name: str, number: int, layout: Layout) -> str:
    subject = _bids_subject(name)
    return f"{subject}/anat/{subject}_{_bids_suffixes(layout)[number]}.nii.gz"


def _bids_mask(name: str) -> str:
    subject = _bids_subject(name)
    return f"derivatives/masks/{subject}/anat/{subject}_dseg.nii.gz"


LAYOUTS: dict[str, FolderLayout] = {
    "flat": FolderLayout(flat_image, flat_mask, _describe_flat),
    "nnunet": FolderLayout(
        lambda name, number, _: f"imagesTr/{name}_{number:04d}.nii.gz",
        lambda name: f"labelsTr/{name}.nii.gz",
        _describe_nnunet,
        needs_mask=True,
        renumbered=True,
    ),
    "bids": FolderLayout(_bids_image, _bids_mask, _describe_bids),
    "monai": FolderLayout(
        lambda name, number, layout: f"images/{flat_image(name, number, layout)}",
        lambda name: f"labels/{name}.nii.gz",
        _describe_monai,
        reserved=("image", "label"),
    ),
}
"""Name -> layout of a folder of volumes."""
