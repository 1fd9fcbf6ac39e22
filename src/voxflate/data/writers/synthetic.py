"""What generated volumes look like in a file: their air, and what the header says of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voxflate._system.errors import VoxflateError
from voxflate.data.prepared import PreparedSet
from voxflate.data.volume import Float32

SYNTHETIC = "synthetic: made by a generative network (voxflate), shows nobody"
"""What the header of a generated volume says."""
OTHER_DATA = "; on other data"
"""What is added where place and units are those of other data than the network was trained on."""

AIR_SHARE = 0.01
"""Voxels this near to the lower end of a CT window, as a share of its width, count as air."""

_LOWEST = -32768


@dataclass(frozen=True)
class Look:
    """How generated volumes are written.

    Attributes:
        air: Hounsfield units of the voxels at the lower end of the window; None leaves them there.
        other_data: Whether place and units are those of other data than the network was trained on.
    """

    air: float | None = None
    other_data: bool = False

    @property
    def description(self) -> str:
        """For a header, at most 79 characters."""
        return SYNTHETIC + OTHER_DATA * self.other_data


PLAIN = Look()


def hounsfield(
    volume: Float32, prepared: PreparedSet, air: float | None = None, channel: int = 0
) -> npt.NDArray[np.int16]:
    """Whole Hounsfield units, as scanners write them, of a volume in [-1, 1].

    Args:
        volume: What lies outside [-1, 1] is clipped.
        prepared: A set of CT; says what the ends of its window are.
        air: As `Look.air`; see `check_air`.
        channel: Which image channel it is.
    """
    clipped = np.clip(volume, -1, 1)
    units = np.rint(prepared.to_intensity(clipped, channel)).astype(np.int16)
    if air is not None:
        units[clipped <= -1 + 2 * AIR_SHARE] = round(air)
    return units


def check_air(prepared: PreparedSet, air: float | None) -> None:
    """Refuse a value for air that the volumes cannot have.

    Raises:
        VoxflateError: If they are not CT, or the value is inside the window or beyond 16 bits.
    """
    if air is None:
        return
    if not prepared.is_ct:
        raise VoxflateError(f"--air {air:g}: {prepared.root} is not CT; MR has no unit: leave --air out")
    low = prepared.manifest.intensity[0]
    if not _LOWEST <= air <= low:
        raise VoxflateError(
            f"--air {air:g}: the window of {prepared.root} begins at {low:g} HU, air lies below it and not "
            f"below {_LOWEST}; the usual value is --air -1000"
        )
