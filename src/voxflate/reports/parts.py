"""Parts that an evaluation adds to the report: tables, pictures, volumes to look through, audit, utility."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from voxflate.drawing.sheets import COLOURS

REAL = "volumes-real"
"""How the ids of sets of real volumes begin."""


@dataclass(frozen=True)
class Table:
    """A table of the report, with notes below it (those that begin with "Warning" stand out).

    Cells are text; a second line is printed small.
    """

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class VolumeSet:
    """Volumes to look through.

    Attributes:
        label: What they are.
        volumes: [n, D, H, W] in [-1, 1].
        names: Of each volume, [n].
        spacing: Voxel sides, mm, order D, H, W.
        id: Unique in the page.
        classes: Classes of their masks, [n, D, H, W]; 0 is background. None without masks.
    """

    label: str
    volumes: NDArray[np.floating]
    names: Sequence[str]
    spacing: Sequence[float]
    id: str
    classes: NDArray[np.integer] | None = None

    @property
    def json(self) -> Markup:
        """The volumes as bytes, for the viewer's script; "<" cannot end the script element."""
        grey = np.clip((np.asarray(self.volumes) + 1) * 127.5, 0, 255).round().astype(np.uint8)
        content: dict[str, Any] = {
            "shape": list(grey.shape[1:]),
            "spacing": [float(side) for side in self.spacing],
            "names": list(self.names),
            "data": base64.b64encode(grey.tobytes()).decode("ascii"),
        }
        if self.classes is not None:
            content["classes"] = base64.b64encode(self.classes.astype(np.uint8).tobytes()).decode("ascii")
            content["colours"] = list(COLOURS)
        return Markup(json.dumps(content).replace("<", "\\u003c"))


@dataclass(frozen=True)
class AuditSection:
    """What the copying audit found: a summary, and the flagged volumes beside their neighbours."""

    summary: str
    volumes: Sequence[VolumeSet] = ()


@dataclass(frozen=True)
class UtilitySection:
    """Whether training on generated volumes helps: a chart (PNG) and tables of one run."""

    label: str
    chart: Path
    tables: Sequence[Table]


@dataclass(frozen=True)
class Extras:
    """What an evaluation adds to the report.

    Attributes:
        tables: The runs in the paper's layout; more than one where some do not compare.
        details: Every metric.
        pictures: (caption, PNG), in order.
        volumes: Volumes to look through; at first the first set lies beside the first one of real volumes.
        audit: The copying audit.
        utility: Whether training on the volumes helps, of the runs where it was measured.
    """

    tables: Sequence[Table] = ()
    details: Table | None = None
    pictures: Sequence[tuple[str, Path]] = ()
    volumes: Sequence[VolumeSet] = ()
    audit: AuditSection | None = None
    utility: Sequence[UtilitySection] = ()

    @property
    def real_set(self) -> int:
        """Number of the first set of real volumes."""
        return next(number for number, each in enumerate(self.volumes) if each.id.startswith(REAL))

    @property
    def all_volumes(self) -> list[VolumeSet]:
        """Every set that the page embeds."""
        return [*self.volumes, *(self.audit.volumes if self.audit else ())]
