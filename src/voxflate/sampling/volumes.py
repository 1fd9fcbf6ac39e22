"""Generated volumes as an array that knows its position in space and its units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voxflate._system.errors import VoxflateError
from voxflate.data.channels import Layout, mask_labels
from voxflate.data.labels import Labels
from voxflate.data.prepared import PreparedSet
from voxflate.data.views import one_channel
from voxflate.data.volume import Float32, Float64
from voxflate.data.writers.label_tables import Kept, write_labels
from voxflate.data.writers.layouts import flat_image, flat_mask
from voxflate.data.writers.nifti import SUFFIXES, write_labels_array, write_nifti
from voxflate.data.writers.synthetic import Look, check_air

Masks = npt.NDArray[np.int16]


class Volumes(np.ndarray[Any, np.dtype[np.float32]]):
    """Volumes [n, D, H, W], or one [D, H, W]: a float32 NumPy array with values in [-1, 1].

    D, H, W are the axes S, A, R of a RAS volume. With M modalities, a volume is [M, D, H, W] in the
    order of the data's channels. Selecting volumes keeps position, units, masks and labels (`scans[0]`,
    `scans[:2]`); parts of volumes, and results of computations, are plain arrays.

    Args:
        values: [n, D, H, W] or [D, H, W], or with M modalities [n, M, D, H, W] or [M, D, H, W]; values
            outside [-1, 1] are clipped.
        prepared: The set that defines position and values of the volumes.
        other_data: Whether that set is not the generator's training data; files then say so.
        masks: Their masks, values as in the source, [n, D, H, W] or [D, H, W].
        labels: Labels of each volume, by name.

    Raises:
        VoxflateError: If the volumes do not have the set's shape, or have NaN voxels.
    """

    _prepared: PreparedSet | None = None
    _other_data: bool = False
    _masks: Masks | None = None
    _labels: list[Labels] | Labels | None = None

    def __new__(
        cls,
        values: npt.ArrayLike,
        prepared: PreparedSet,
        *,
        masks: Masks | None = None,
        labels: list[Labels] | Labels | None = None,
        other_data: bool = False,
    ) -> Volumes:
        """Copy the values, clipped."""
        array = np.clip(np.asarray(values, np.float32), -1, 1)
        one = shape_of_one(prepared)
        if array.shape[-len(one) :] != one or array.ndim > len(one) + 1:
            raise VoxflateError(f"volumes must be of shape {one}, got an array of {array.shape}")
        if np.isnan(array).any():
            raise VoxflateError(
                f"{np.isnan(array).sum()} voxels are NaN: training has diverged; load an earlier snapshot"
            )
        volumes = array.view(cls)
        volumes._prepared, volumes._other_data = prepared, other_data
        volumes._masks, volumes._labels = masks, labels
        return volumes

    def __getitem__(self, key: Any) -> Any:
        """Volumes for a selection along the first axis of several, else a plain array or a number."""
        found = super().__getitem__(key)
        if not isinstance(found, Volumes):
            return found
        if self._prepared is None or isinstance(key, tuple):
            return found.view(np.ndarray)
        one = shape_of_one(self._prepared)
        whole = self.ndim == len(one) + 1 and found.shape[-len(one) :] == one and found.ndim <= self.ndim
        if not whole:
            return found.view(np.ndarray)
        found._prepared, found._other_data = self._prepared, self._other_data
        found._masks = None if self._masks is None else self._masks[key]
        found._labels = _chosen(self._labels, key)
        return found

    def __array_wrap__(
        self, array: npt.NDArray[Any], context: Any = None, return_scalar: bool = False
    ) -> Any:
        """Results of computations are plain arrays: they may no longer be volumes in [-1, 1]."""
        plain = array.view(np.ndarray)
        return plain[()] if return_scalar or plain.ndim == 0 else plain

    @property
    def affine(self) -> Float64:
        """4x4 in RAS+, for an array in (R, A, S) order as in NIfTI: index (w, h, d, 1) -> world mm."""
        return self._source().affine

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel sides, mm, in the order D, H, W."""
        return self._source().spacing

    @property
    def masks(self) -> Masks | None:
        """Their masks with the values of the data, int16 [n, D, H, W] or [D, H, W]; None without masks."""
        return self._masks

    @property
    def labels(self) -> list[Labels] | Labels | None:
        """Labels of each volume, e.g. {"sex": "F", "age": 61.2}; None without labels."""
        return self._labels

    def intensities(self) -> Float32:
        """The values in the units of the data: HU for CT, the cohort's median range for MR; a plain array."""
        prepared, values = self._source(), self.view(np.ndarray)
        if prepared.layout.images == 1:
            return prepared.to_intensity(values)
        parts = values.swapaxes(0, -4)  # modalities first
        found = [one_channel(prepared, index).to_intensity(part) for index, part in enumerate(parts)]
        return np.stack(found).swapaxes(0, -4)

    def save(self, path: str | Path, *, air: float | None = None) -> list[Path]:
        """Write NIfTI files with the units and position of the data, and headers that mark them synthetic.

        One volume is written to `path`. Several are written to numbered files: `x.nii.gz` becomes
        `x-0000.nii.gz`, `x-0001.nii.gz` and so on. A mask is written to `x_seg.nii.gz`, and several
        modalities to `x_NAME.nii.gz`; the labels are listed in `x_labels.csv`. If one of the files cannot be
        written, none of them is kept.

        Args:
            path: Name of the file, ending in .nii or .nii.gz. Its folder is created if missing.
            air: CT: value in HU for voxels at the lower end of the window; None leaves them unchanged.

        Returns:
            The files in the order of the volumes: for each its images, then its mask. The table of labels is
            last.

        Raises:
            VoxflateError: If there is no volume, a file already exists, the name has another suffix, `air` is
                invalid, or the disk is full.
        """
        prepared, suffix = self._source(), nifti_suffix(Path(path))
        check_air(prepared, air)
        look = Look(air, self._other_data)
        count = 1 if self.ndim == len(shape_of_one(prepared)) else len(self)
        if count == 0:
            raise VoxflateError(f"{path}: there are no volumes to write; the selection is empty")
        volumes = self.view(np.ndarray).reshape(count, -1, *self.shape[-3:])
        masks = None if self._masks is None else self._masks.reshape(count, *self.shape[-3:])
        folder, stems = Path(path).parent, _stems(Path(path).name.removesuffix(suffix), count)
        jobs: list[tuple[Path, Callable[[Path], None]]] = []
        for number, stem in enumerate(stems):
            for channel in range(prepared.layout.images):
                write = partial(
                    write_nifti,
                    volume=volumes[number, channel],
                    prepared=prepared,
                    look=look,
                    channel=channel,
                )
                jobs.append((folder / flat_image(stem, channel, prepared.layout, suffix), write))
            if masks is not None:
                place: dict[str, Any] = {"affine": self.affine, "description": look.description}
                write = partial(write_labels_array, labels=masks[number], **place)
                jobs.append((folder / flat_mask(stem, suffix), write))
        if self._labels:
            listed = self._labels if isinstance(self._labels, list) else [self._labels]
            kept = [Kept(stem, (), "", labels) for stem, labels in zip(stems, listed, strict=True)]
            table = folder / f"{Path(path).name.removesuffix(suffix)}_labels.csv"
            jobs.append((table, lambda path: write_labels(path.parent, kept, path.name)))
        return write_all(jobs)

    def copy(self, order: Any = "C") -> Any:
        """A copy with position and units."""
        copied = super().copy(order)
        copied._prepared, copied._other_data = self._prepared, self._other_data
        copied._masks = None if self._masks is None else self._masks.copy()
        copied._labels = self._labels
        return copied

    def __copy__(self) -> Any:
        """As `copy`; NumPy would lose everything but the values."""
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Any:
        """As `copy`."""
        return self.copy()

    def __reduce__(self) -> Any:
        """Pickle with position and units."""
        if self._prepared is None:
            return np.asarray, (self.view(np.ndarray),)
        made = partial(type(self), masks=self._masks, labels=self._labels, other_data=self._other_data)
        return made, (self.view(np.ndarray), self._prepared)

    def _source(self) -> PreparedSet:
        if self._prepared is None:
            raise VoxflateError(
                "this array was computed from volumes, so its position and units are unknown; use volumes "
                "as sample() returned them, or a selection of them such as scans[0] or scans[:2]"
            )
        return self._prepared


def write_all(jobs: Sequence[tuple[Path, Callable[[Path], None]]]) -> list[Path]:
    """Write files that do not exist yet, all or none.

    Raises:
        VoxflateError: If one exists, is to be written twice, or cannot be written.
    """
    paths = [path for path, _ in jobs]
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise VoxflateError(f"{twice}: would be written twice; give its parts names that differ")
    for path in paths:
        if path.exists():
            raise VoxflateError(f"{path}: already exists; choose another name, or delete it first")
    try:
        for path, write in jobs:
            write(path)
    except BaseException:
        for path in paths:
            path.unlink(missing_ok=True)
        raise
    return paths


def split_channels(made: Float32, layout: Layout) -> tuple[Float32, Masks | None]:
    """Split a generator's output [n, C, D, H, W] into the images and masks of `Volumes`."""
    images = made[:, 0] if layout.images == 1 else made[:, : layout.images]
    return images, mask_labels(made, layout) if layout.masks else None


def shape_of_one(prepared: PreparedSet) -> tuple[int, ...]:
    """Shape of one volume: [D, H, W], or [M, D, H, W] with several modalities."""
    images = prepared.layout.images
    return prepared.shape if images == 1 else (images, *prepared.shape)


def _chosen(labels: list[Labels] | Labels | None, key: Any) -> list[Labels] | Labels | None:
    """The labels of the volumes that a key selects."""
    if not isinstance(labels, list):
        return labels
    numbers = np.arange(len(labels))[key]
    return [labels[number] for number in numbers] if numbers.ndim else labels[int(numbers)]


def nifti_suffix(path: Path) -> str:
    """The suffix of a NIfTI file's name.

    Raises:
        VoxflateError: If it has another one.
    """
    suffix = next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), None)
    if suffix is None:
        raise VoxflateError(f"{path}: a NIfTI file's name must end in {' or '.join(SUFFIXES)}")
    return suffix


def _stems(stem: str, count: int) -> list[str]:
    """Names of `count` volumes, without suffix."""
    digits = max(4, len(str(count - 1)))
    return [stem] if count == 1 else [f"{stem}-{number:0{digits}d}" for number in range(count)]
