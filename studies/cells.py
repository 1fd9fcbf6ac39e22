"""Numbers in the cells of a study's tables, and notes about runs that differ."""

from __future__ import annotations

from collections.abc import Iterable

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
    """A number with so many significant digits; one below 0.0001, such as a KID of the floor, with two.

    >>> number_cell(104.38, 3), number_cell(23456.0, 3), number_cell(-0.0000123, 3)
    ('104', '23456', '-1.2e-05')
    """
    if value is None:
        return DASH
    text = f"{value:#.{digits}g}"
    if "e" not in text:
        return text.rstrip(".")
    return f"{value:.0f}" if abs(value) >= 1 else f"{value:.1e}"


def kimg_cell(value: float) -> str:
    """Thousands of images.

    >>> kimg_cell(25_000), kimg_cell(17.5), kimg_cell(0.016)
    ('25000', '17.5', '0.016')
    """
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def by_run(pairs: Iterable[tuple[str, str]]) -> str:
    """What is said of runs: once if it is the same for all, otherwise each with its runs.

    >>> by_run([("a", "x"), ("b", "x")]), by_run([("a", "x"), ("b", "y"), ("c", "x")])
    ('x', 'x: a, c; y: b')

    Args:
        pairs: (name of the run, what is said of it).
    """
    runs: dict[str, list[str]] = {}
    for name, said in pairs:
        runs.setdefault(said, []).append(name)
    if len(runs) < 2:
        return "".join(runs)
    return "; ".join(f"{said}: {', '.join(names)}" for said, names in runs.items())
