"""Labels for generated volumes: set by name, or drawn jointly from the training set."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxflate._system.errors import VoxflateError
from voxflate.data.channels import LabelColumn, LabelValue, Layout
from voxflate.data.prepared import SPLITS, PreparedSet
from voxflate.data.volume import Float32

Labels = dict[str, LabelValue]
"""The labels of one volume, a value per column."""

BINS = 20
"""Number of equal bins for a column's numbers: an export gives no age more exactly than that."""


def rounded_outwards(low: float, high: float) -> tuple[float, float]:
    """Round a range to round numbers outside it, because its ends are the exact values of two people.

    The step is 1, 2 or 5 times a power of ten, and at least a bin wide, so the two are known no more closely
    than all others. A range of a single value stays.

    >>> rounded_outwards(19.98, 86.2), rounded_outwards(40, 40)
    ((15.0, 90.0), (40, 40))
    """
    if high == low:
        return low, high
    width = (high - low) / BINS
    power = math.floor(math.log10(width))
    step = next(each for each in (1, 2, 5, 10) if each * 10.0**power >= width) * 10.0**power
    return round(math.floor(low / step) * step, -power), round(math.ceil(high / step) * step, -power)


@dataclass(frozen=True)
class JointLabels:
    """The joint distribution of a training set's labels.

    Attributes:
        layout: Its label columns.
        rows: For every training volume a value per column (a class, or the index of a bin), sorted.
    """

    layout: Layout
    rows: tuple[tuple[str | int, ...], ...]

    @classmethod
    def of(cls, layout: Layout, subjects: Iterable[Mapping[str, LabelValue]]) -> JointLabels:
        """Make the distribution from the labels of subjects."""
        rows = [tuple(_remembered(c, subject[c.name]) for c in layout.labels) for subject in subjects]
        return cls(layout, tuple(sorted(rows)))

    @classmethod
    def from_json(cls, layout: Layout, rows: Any) -> JointLabels:
        """Read `rows` after a round trip through JSON.

        Raises:
            ValueError: If they do not fit the columns.
        """
        whole = isinstance(rows, list) and bool(rows)
        if not whole or not all(_fits(layout.labels, row) for row in rows):
            raise ValueError("its label rows do not fit its label columns")
        return cls(layout, tuple(map(tuple, rows)))

    def values_of(self, name: str) -> set[str | int]:
        """The classes, or indices of bins, that training volumes have in a column."""
        place = [column.name for column in self.layout.labels].index(name)
        return {row[place] for row in self.rows}

    def draw(
        self, seed: int, first: int, count: int, given: Mapping[str, LabelValue] | None = None
    ) -> list[Labels]:
        """Labels of samples `first` to `first + count - 1` of a seed, the same for any batch size.

        Args:
            seed: Seed of the series.
            first: Number of the first sample.
            count: How many.
            given: Values that are fixed, as `chosen_labels` returns them. The others are drawn from training
                volumes of the same classes, if there are any.
        """
        given = given or {}
        same = [
            row
            for row in self.rows
            if all(
                not column.categorical or column.name not in given or value == given[column.name]
                for column, value in zip(self.layout.labels, row, strict=True)
            )
        ]
        rows = same or self.rows
        return [self._drawn(seed, index, rows) | dict(given) for index in range(first, first + count)]

    def vectors(
        self, seed: int, first: int, count: int, given: Mapping[str, LabelValue] | None = None
    ) -> Float32:
        """As `draw`, but encoded: float32 [count, label_width]."""
        return self.layout.encode(self.draw(seed, first, count, given))

    def _drawn(self, seed: int, index: int, rows: Sequence[tuple[str | int, ...]]) -> Labels:
        rng = np.random.default_rng([seed, index, 1])  # [seed, index] makes the volume
        row = rows[int(rng.integers(len(rows)))]
        within = rng.random(len(row))
        return {
            column.name: value if isinstance(value, str) else _number(column, (value + float(part)) / BINS)
            for column, value, part in zip(self.layout.labels, row, within, strict=True)
        }


def joint_labels(prepared: PreparedSet) -> JointLabels | None:
    """The joint distribution of the training volumes' labels; None if the set has no labels."""
    scans = [scan for scan in prepared.manifest.scans if scan.split == "train"]
    return (
        JointLabels.of(prepared.layout, [scan.labels for scan in scans]) if prepared.layout.labels else None
    )


def labels_sha256(prepared: PreparedSet) -> str:
    """SHA-256 of a set's labels, which its content hash does not cover; "" if it has none.

    Over the columns and the labels of every volume, in the order of the arrays.
    """
    if not prepared.layout.labels:
        return ""
    scans = prepared.manifest.scans
    ordered = [scan.labels for split in SPLITS for scan in scans if scan.split == split]
    content = [prepared.layout.as_json()["labels"], ordered]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def chosen_labels(joint: JointLabels | None, asked: Mapping[str, LabelValue]) -> tuple[Labels, list[str]]:
    """Check the labels that a user requests.

    Args:
        joint: Joint distribution of the training set's labels; None if the generator knows none.
        asked: Name -> value; numbers may be given as text.

    Returns:
        The values, and a warning for each number outside the training set's range, and for each class that no
        training volume has.

    Raises:
        VoxflateError: If a name or class is unknown (lists the known ones, and suggests a similar one), or a
            numeric value is not a number.
    """
    known = {column.name: column for column in joint.layout.labels} if joint else {}
    found: Labels = {}
    warnings = []
    for name, value in asked.items():
        if name not in known:
            raise VoxflateError(f"label {name}: the generator does not know it; {_hint(name, known)}")
        column = known[name]
        column.encode(value)
        found[name] = str(value) if column.categorical else float(value)
        if not column.categorical and not column.low <= float(value) <= column.high:
            warnings.append(
                f"label {name} = {value}: outside the training set's {column.low:g} to {column.high:g}; "
                "the generator has learned nothing there"
            )
        if column.categorical and joint and found[name] not in joint.values_of(name):
            warnings.append(
                f"label {name} = {value}: no training volume has it; the generator has learned nothing of it"
            )
    return found, warnings


def _hint(name: str, known: Iterable[str]) -> str:
    """Which labels a generator knows, and the one that an unknown name resembles, if there is one."""
    names = {each.lower(): each for each in known}
    if not names:
        return "it knows no labels"
    near = difflib.get_close_matches(name.lower(), names, n=1)
    return f"it knows {', '.join(names.values())}" + (f"; did you mean {names[near[0]]}?" if near else "")


def _remembered(column: LabelColumn, value: LabelValue) -> str | int:
    if column.categorical:
        return str(value)
    spread = column.high - column.low
    share = (float(value) - column.low) / spread if spread else 0.0
    return min(max(int(share * BINS), 0), BINS - 1)


def _number(column: LabelColumn, share: float) -> float:
    """The number at this fraction of the column's range, rounded to about a thousandth of the range."""
    spread = column.high - column.low
    digits = 3 - math.ceil(math.log10(spread)) if spread else 12
    return round(column.low + share * spread, digits)


def _fits(columns: Sequence[LabelColumn], row: Any) -> bool:
    return isinstance(row, list) and len(row) == len(columns) and all(map(_is_of, columns, row))


def _is_of(column: LabelColumn, value: Any) -> bool:
    if column.categorical:
        return value in column.values
    return isinstance(value, int) and 0 <= value < BINS
