"""Rows of ours: every start on the recommended settings, with and without the slice discriminator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STARTS = ("none", "inflate-1", "preserving", "planar")
"""Starts that are compared, by their strategy."""


@dataclass(frozen=True)
class Own:
    """A row that the paper does not have.

    Attributes:
        label: In the tables.
        values: Settings by dotted key, on top of the recommended ones.
        twin: Kind of the 2D run that it starts from: plain, planar, or "" for none.
    """

    label: str
    values: Mapping[str, Any]
    twin: str


def own_key(start: str, slices: bool) -> str:
    """The key of a row in `OWN`."""
    return f"own-{start}-slices" if slices else f"own-{start}"


def _own(start: str, slices: bool) -> Own:
    twin = {"none": "", "planar": "planar"}.get(start, "plain")
    values = {"start.strategy": start, "slice_discriminator.weight": 1.0 if slices else 0.0}
    label = f"ours: {start}, slice discriminator" if slices else f"ours: {start}"
    return Own(label, values, twin)


OWN: Mapping[str, Own] = {
    own_key(start, slices): _own(start, slices) for slices in (False, True) for start in STARTS
}
"""On the data of Tables 1 to 4. Each seed has a 2D run of its own."""
