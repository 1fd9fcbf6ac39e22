"""Generated volumes as an array that knows its place in space and its units."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voxflate._system.errors import VoxflateError
from voxflate.data.prepared import PreparedSet
from voxflate.data.volume import Float32, Float64
from voxflate.data.writers.nifti import SUFFIXES, write_synthetic_nifti
from voxflate.data.writers.synthetic import Look, check_air


class Volumes(np.ndarray[Any, np.dtype[np.float32]]):
    """Volumes [n, D, H, W], or one [D, H, W]: a float32 NumPy array with values in [-1, 1].

    D, H, W are the axes S, A, R of a RAS volume. Selecting volumes keeps place and units (`scans[0]`,
    `scans[:2]`); parts of volumes, and what is computed from volumes, are plain arrays.

    Args:
        values: [n, D, H, W] or [D, H, W]; values outside [-1, 1] are clipped.
        prepared: The set that says how the volumes lie and what their values mean.
        other_data: Whether that is other data than their generator was trained on; files then say so.

    Raises:
        VoxflateError: If the volumes are not of the set's shape, or hold NaN.
    """

    _prepared: PreparedSet | None = None
    _other_data: bool = False

    def __new__(cls, values: npt.ArrayLike, prepared: PreparedSet, *, other_data: bool = False) -> Volumes:
        """Copy the values, clipped."""
        array = np.clip(np.asarray(values, np.float32), -1, 1)
        if array.ndim not in (3, 4) or array.shape[-3:] != prepared.shape:
            raise VoxflateError(f"volumes of {prepared.shape} are expected, got an array of {array.shape}")
        if np.isnan(array).any():
            raise VoxflateError(
                f"{np.isnan(array).sum()} voxels are NaN: the training has diverged; load an earlier snapshot"
            )
        volumes = array.view(cls)
        volumes._prepared, volumes._other_data = prepared, other_data
        return volumes

    def __getitem__(self, key: Any) -> Any:
        """Volumes for a choice along the first of four axes, else a plain array or a number."""
        found = super().__getitem__(key)
        if not isinstance(found, Volumes):
            return found
        whole = self.ndim == 4 and found.ndim in (3, 4) and found.shape[-3:] == self.shape[-3:]
        if self._prepared is None or not whole or isinstance(key, tuple):
            return found.view(np.ndarray)
        found._prepared, found._other_data = self._prepared, self._other_data
        return found

    def __array_wrap__(
        self, array: npt.NDArray[Any], context: Any = None, return_scalar: bool = False
    ) -> Any:
        """Results of computations are plain arrays: they need not be volumes in [-1, 1] any more."""
        plain = array.view(np.ndarray)
        return plain[()] if return_scalar or plain.ndim == 0 else plain

    @property
    def affine(self) -> Float64:
        """4x4 in RAS+, for an array in (R, A, S) order as NIfTI has it: index (w, h, d, 1) -> world mm."""
        return self._source().affine

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel sides, mm, in the order D, H, W."""
        return self._source().spacing

    def intensities(self) -> Float32:
        """The values in the units of the data: HU for CT, the cohort's median range for MR; a plain array."""
        return self._source().to_intensity(self.view(np.ndarray))

    def save(self, path: str | Path, *, air: float | None = None) -> list[Path]:
        """Write NIfTI files in the units and the place of the data, with headers that call them synthetic.

        One volume goes to `path`. Several go to numbered files beside it: `x.nii.gz` becomes `x-0000.nii.gz`,
        `x-0001.nii.gz` and so on. If one of them cannot be written, none of them stays.

        Args:
            path: Name of the file, ending in .nii or .nii.gz. Its folder is made if it is missing.
            air: CT: Hounsfield units of the voxels at the lower end of the window; None leaves them there.

        Returns:
            The files, in the order of the volumes.

        Raises:
            VoxflateError: If a file exists already, the name has another suffix, air cannot be `air`, or
                there is no room.
        """
        prepared = self._source()
        check_air(prepared, air)
        look = Look(air, self._other_data)
        volumes = self.view(np.ndarray).reshape(-1, *self.shape[-3:])
        paths = _names(Path(path), len(volumes))
        for one in paths:
            if one.exists():
                raise VoxflateError(f"{one}: exists already; choose another name, or delete it first")
        written: list[Path] = []
        try:
            for one, volume in zip(paths, volumes, strict=True):
                write_synthetic_nifti(one, volume, prepared, look)
                written.append(one)
        except BaseException:
            for one in written:
                one.unlink(missing_ok=True)
            raise
        return paths

    def copy(self, order: Any = "C") -> Any:
        """A copy that knows its place and units too."""
        copied = super().copy(order)
        copied._prepared, copied._other_data = self._prepared, self._other_data
        return copied

    def __reduce__(self) -> Any:
        """Pickle with place and units."""
        if self._prepared is None:
            return np.asarray, (self.view(np.ndarray),)
        made = partial(type(self), other_data=self._other_data)
        return made, (self.view(np.ndarray), self._prepared)

    def _source(self) -> PreparedSet:
        if self._prepared is None:
            raise VoxflateError(
                "this array was computed from volumes, so its place and its units are not known; use volumes "
                "as sample() returned them, or a choice of them such as scans[0] or scans[:2]"
            )
        return self._prepared


def _names(path: Path, count: int) -> list[Path]:
    """The files that `count` volumes go to."""
    suffix = next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), None)
    if suffix is None:
        raise VoxflateError(f"{path}: a NIfTI file's name must end in {' or '.join(SUFFIXES)}")
    if count == 1:
        return [path]
    stem, digits = path.name.removesuffix(suffix), max(4, len(str(count - 1)))
    return [path.with_name(f"{stem}-{number:0{digits}d}{suffix}") for number in range(count)]
