"""Numbers in the cells of a study's tables."""

from __future__ import annotations

from voxflate.evaluation.seeds import Spread
from voxflate.reports.tables import DASH, PLUS_MINUS


def spread_cell(found: Spread | None, digits: int) -> str:
    """A mean over seeds, with its deviation where there are two or more."""
    if found is None:
        return DASH
    if found.deviation is None:
        return number_cell(found.mean, digits)
    return f"{number_cell(found.mean, digits)} {PLUS_MINUS} {number_cell(found.deviation, 2)}"


def number_cell(value: float | None, digits: int) -> str:
    """A number with so many significant digits."""
    if value is None:
        return DASH
    text = f"{value:#.{digits}g}"
    return f"{value:.0f}" if "e" in text else text.rstrip(".")
