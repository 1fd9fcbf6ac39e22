"""How files tell generated volumes from scans, and the air of generated volumes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voxflate._system.errors import VoxflateError
from voxflate.data.prepared import PreparedSet
from voxflate.data.readers.generated import SYNTHETIC
from voxflate.data.volume import Float32

PREPARED = "prepared scan: resampled, and clipped or rescaled (voxflate)"
"""Description of a prepared scan, where a format needs one."""
OTHER_DATA = "; on other data"
"""Added to the description if position and units come from data that the network was not trained on."""

AIR_SHARE = 0.01
"""Voxels this close to the lower end of a CT window, as a fraction of its width, count as air."""

_LOWEST = -32768


@dataclass(frozen=True)
class Look:
    """How generated volumes are written.

    Attributes:
        air: Value in HU for voxels at the lower end of the window; None leaves them unchanged.
        other_data: Whether position and units come from data that the network was not trained on.
    """

    air: float | None = None
    other_data: bool = False

    @property
    def description(self) -> str:
        """The description for a header, at most 79 characters."""
        return SYNTHETIC + OTHER_DATA * self.other_data


PLAIN = Look()


def kind_of(look: Look | None) -> str:
    """The word for a volume in titles: Synthetic if it was generated, Prepared if it is a scan."""
    return "Prepared" if look is None else "Synthetic"


def hounsfield(
    volume: Float32, prepared: PreparedSet, air: float | None = None, channel: int = 0
) -> npt.NDArray[np.int16]:
    """Convert a volume in [-1, 1] to whole Hounsfield units, as scanners write them.

    Args:
        volume: Values outside [-1, 1] are clipped.
        prepared: A set of CT; it defines the window.
        air: As `Look.air`; see `check_air`.
        channel: Index of the image channel.
    """
    clipped = np.clip(volume, -1, 1)
    units = np.rint(prepared.to_intensity(clipped, channel)).astype(np.int16)
    if air is not None:
        units[clipped <= -1 + 2 * AIR_SHARE] = round(air)
    return units


def check_air(prepared: PreparedSet, air: float | None) -> None:
    """Refuse a value for air that the volumes cannot have.

    Raises:
        VoxflateError: If they are not CT, or the value is inside the window or does not fit 16 bits.
    """
    if air is None:
        return
    if not prepared.is_ct:
        raise VoxflateError(
            f"--air {air:g}: {prepared.root} is not CT, so air has no fixed value: leave --air out"
        )
    low = prepared.manifest.intensity[0]
    if not _LOWEST <= air <= low:
        raise VoxflateError(
            f"--air {air:g}: the window of {prepared.root} begins at {low:g} HU; air must be below that and "
            f"not below {_LOWEST}; the usual value is --air -1000"
        )
