"""Numbers in the cells of a study's tables, and notes about runs that differ."""

from __future__ import annotations

from collections.abc import Iterable

from voxflate.evaluation.seeds import Spread
from voxflate.reports.tables import DASH, PLUS_MINUS

_DECIMALS = 6
"""The most that a mean with a deviation has."""


def spread_cell(found: Spread | None, digits: int) -> str:
    """A mean over seeds; if it has a deviation, that with two digits, and the mean with as many decimals.

    >>> spread_cell(Spread(0.0856, 0.0361, 3), 3), spread_cell(Spread(144.66, 3.14, 3), 3)
    ('0.086 ± 0.036', '144.7 ± 3.1')
    >>> spread_cell(Spread(1234.5, 99.7, 3), 3), spread_cell(Spread(0.4, 0.0, 2), 3)
    ('1234 ± 100', '0.400 ± 0')

    Args:
        found: The mean and the deviation.
        digits: Significant digits of a mean without a deviation, or with one of 0.
    """
    if found is None:
        return DASH
    mean = number_cell(found.mean, digits)
    if found.deviation is None:
        return mean
    decimals = max(0, 1 - int(f"{found.deviation:.1e}".partition("e")[2]))
    if not found.deviation or decimals > _DECIMALS:
        return f"{mean} {PLUS_MINUS} 0"
    rounded = round(found.mean, decimals) + 0.0  # so that no -0.0 is printed
    return f"{rounded:.{decimals}f} {PLUS_MINUS} {found.deviation:.{decimals}f}"


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


def hours_cell(seconds: float) -> str:
    """A time in hours: one unit in a column, whatever its rows took.

    >>> hours_cell(559), hours_cell(3_600), hours_cell(1_483_200)
    ('0.16 h', '1.0 h', '412 h')
    """
    return f"{number_cell(seconds / 3600, 2)} h"


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
