"""Parts that an evaluation adds to the report: tables, pictures, volumes for the viewer, audit, utility."""

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
"""Prefix of the ids of sets of real volumes."""


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
    """Volumes for the viewer.

    Attributes:
        label: Their title.
        volumes: [n, D, H, W] in [-1, 1].
        names: Name of each volume, [n].
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
        """The volumes as bytes, for the viewer's script; "<" is escaped, or it could end the script."""
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
    """The result of the copying audit: a summary, and the flagged volumes next to their neighbours."""

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
        tables: The runs in the paper's layout; more than one if some are not comparable.
        details: Every metric.
        pictures: (caption, PNG), in order.
        volumes: Volumes for the viewer; it starts with the first set next to the first set of real volumes.
        audit: The copying audit.
        utility: Whether training on the volumes helps, for the runs where it was measured.
    """

    tables: Sequence[Table] = ()
    details: Table | None = None
    pictures: Sequence[tuple[str, Path]] = ()
    volumes: Sequence[VolumeSet] = ()
    audit: AuditSection | None = None
    utility: Sequence[UtilitySection] = ()

    @property
    def real_set(self) -> int:
        """Index of the first set of real volumes."""
        return next(number for number, each in enumerate(self.volumes) if each.id.startswith(REAL))

    @property
    def all_volumes(self) -> list[VolumeSet]:
        """Every set that the page embeds."""
        return [*self.volumes, *(self.audit.volumes if self.audit else ())]
