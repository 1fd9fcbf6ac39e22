"""Labels of subjects: finds missing ones, tells classes from numbers, and sums columns up."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from voxflate._system.errors import VoxflateError
from voxflate.data.channels import LabelColumn, LabelValue
from voxflate.data.labels import rounded_outwards
from voxflate.data.prepared import Scan
from voxflate.data.readers.refusals import ScanError, printable
from voxflate.data.sources.account import Account, some
from voxflate.data.sources.labels import Known, Wanted, known_labels, participants_file, wanted_labels
from voxflate.data.sources.people import is_unknown, with_subjects
from voxflate.data.sources.source import Source

if TYPE_CHECKING:
    from voxflate.data.preparing.jobs import Plan, Refusals

MOST_CLASSES = 50
"""A column with more classes than this identifies people, or is free text."""
FEW_NUMBERS = 5
"""Integers with at most this many different values are class codes."""

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
"""Python reads more texts as numbers: 1_1 as 11."""
_WHOLE = re.compile(r"([+-]?[0-9]+)(\.0*)?")
_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+")


def with_labels(plan: Plan, scans: Sequence[Source], account: Account) -> tuple[list[Source], Known | None]:
    """The scans with only the requested labels, and with the subjects that a table gives (decision 0209).

    Args:
        plan: The planned preparation.
        scans: All scans.
        account: Receives what the table is, and whose subjects come from it.

    Returns:
        The scans in their order, and what was found for them; None if no labels are requested.

    Raises:
        VoxflateError: If a column is missing, or no scan has a row.
    """
    wanted = wanted_labels(plan.reading.labels)
    if not wanted:
        if unread := unread_table(plan):
            account.explain(unread, "a table of labels, read only with --label")
        return [replace(scan, labels={}) for scan in scans], None
    known = known_labels(plan.source, scans, wanted)
    if known.from_participants:
        if not any(known.rows):
            raise _without_rows(plan.source, scans[0], known)
        account.explain(known.table, "the table of labels")
    found = [replace(scan, labels=values) for scan, values in zip(scans, known.values, strict=True)]
    return with_subjects(found, known.rows, known.table.name, account), known


def unread_table(plan: Plan) -> Path | None:
    """The participants file that is not read because no label is requested; None if there is none."""
    return None if plan.reading.labels else participants_file(plan.source)


def _without_rows(source: Path, scan: Source, known: Known) -> VoxflateError:
    """The error that no scan has a row: the ids are written in another way than the names of the scans."""
    ids = f"its ids are such as {some(list(known.ids))}" if known.ids else "it has no rows"
    subject = "" if is_unknown(scan) else f" of subject {printable(scan.subject)}"
    return VoxflateError(
        f"{source}: no scan has a row in {known.table.name}: {ids}, the scans are such as "
        f"{printable(scan.name)}{subject}; write the ids as the names of the files begin, or of the folders"
    )


def labelled(plan: Plan, scans: Sequence[Source], known: Known | None, refuse: Refusals) -> list[Source]:
    """The scans that have all requested labels; the others are refused.

    Args:
        plan: The planned preparation.
        scans: The scans, as `with_labels` returns them, in any order.
        known: What it found for them.
        refuse: Called for scans that lack a value.

    Raises:
        VoxflateError: If a value is missing; anything that `refuse` raises.
    """
    if known is None:
        return list(scans)
    names = [one.name for one in wanted_labels(plan.reading.labels)]
    lacking = {scan.key: [name for name in names if name not in scan.labels] for scan in scans}
    without = [scan for scan in scans if lacking[scan.key]]
    if without and not refuse.leaves_out:
        columns = sorted({name for missing in lacking.values() for name in missing})
        rowless = sum(
            known.from_participants and not row and len(values) < len(names)
            for row, values in zip(known.rows, known.values, strict=True)
        )
        raise VoxflateError(
            f"{plan.source}: {len(without)} of {len(scans)} scans have no {' or '.join(columns)} in "
            f"{known.table.name} ({some([scan.name for scan in without])})"
            + (f", {rowless} of them because they have no row" if rowless else "")
            + "; fill them in, or leave these scans out with --skip-bad"
        )
    for scan in without:
        missing = " and ".join(lacking[scan.key])
        refuse.of(scan, ScanError(scan.path, f"has no value for the label {missing}"))
    return [scan for scan in scans if not lacking[scan.key]]


def typed(
    columns: Sequence[str], values: Sequence[Mapping[str, str]], names: Sequence[str] = ()
) -> list[dict[str, LabelValue]]:
    """Values as classes (text) or numbers.

    A column is continuous if all its values are numbers and either more than `FEW_NUMBERS` of them differ
    or some are not whole; otherwise it is categorical. `:categorical` and `:continuous` override that.

    Args:
        columns: As requested.
        values: For each scan, the values of all columns.
        names: Names of the scans, for errors.

    Raises:
        VoxflateError: If a continuous column has text, a categorical one too many classes, or numbers have
            commas.
    """
    found: list[dict[str, LabelValue]] = [{} for _ in values]
    for column in wanted_labels(columns):
        converted = _converted(column, [row[column.name] for row in values], names)
        for one, value in zip(found, converted, strict=True):
            one[column.name] = value
    return found


def _converted(column: Wanted, values: Sequence[str], names: Sequence[str]) -> Sequence[LabelValue]:
    numbers = [number_of(value) for value in values]
    place = next((place for place, number in enumerate(numbers) if number is None), None)
    text = None if place is None else repr(values[place])
    whose = "" if place is None or not names else f" (of {printable(names[place])})"
    if not column.kind:
        _check_commas(column.name, values, numbers)
    present = [number for number in numbers if number is not None]
    codes = len(set(present)) <= FEW_NUMBERS and all(number == int(number) for number in present)
    if column.kind == "continuous" and text is not None:
        raise VoxflateError(
            f"--label {column.name}:continuous: the value {text} is not a number{whose}; correct it"
        )
    if column.kind == "continuous" or (not column.kind and text is None and not codes):
        return present
    classes = [_class_of(value, number) for value, number in zip(values, numbers, strict=True)]
    count = len(set(classes))
    if count > MOST_CLASSES:
        raise VoxflateError(
            f"--label {column.name}: has {count} different values, not all of them numbers"
            + (f", as {text}{whose}" if text else "")
            + f"; at most {MOST_CLASSES} can be classes; choose another column, or correct the values"
        )
    return classes


def number_of(text: str) -> float | None:
    """The number that a text is; None for any other text."""
    number = float(text) if _NUMBER.fullmatch(text) else float("nan")
    return number if isfinite(number) else None


def _class_of(text: str, number: float | None) -> str:
    """The name of a class: 2 for 2 and 2.0, with all digits."""
    if number is None:
        return text
    if whole := _WHOLE.fullmatch(text):
        return str(int(whole[1]))
    return str(int(number)) if number.is_integer() else repr(number)


def _check_commas(name: str, values: Sequence[str], numbers: Sequence[float | None]) -> None:
    """Refuse a column of numbers some of which have a comma, for a point or between thousands."""
    others = [value for value, number in zip(values, numbers, strict=True) if number is None]
    if others and all(map(_COMMA.fullmatch, others)):
        raise VoxflateError(
            f"--label {name}: the value {others[0]!r} has a comma, and may be a number or a class; write "
            f"numbers with a point, or take the values as classes with --label {name}:categorical"
        )


def label_columns(names: Sequence[str], scans: Sequence[Scan]) -> tuple[LabelColumn, ...]:
    """The columns of a set, with the statistics of numbers over its training split.

    Args:
        names: Names of the columns.
        scans: Scans of the set, at least one of them in the training split.
    """
    return tuple(_column(name, scans) for name in names)


def _column(name: str, scans: Sequence[Scan]) -> LabelColumn:
    if any(isinstance(scan.labels[name], str) for scan in scans):
        return LabelColumn(name, tuple(sorted({str(scan.labels[name]) for scan in scans})))
    values = np.array([scan.labels[name] for scan in scans if scan.split == "train"], np.float64)
    low, high = rounded_outwards(float(values.min()), float(values.max()))
    return LabelColumn(name, (), low, high, float(values.mean()), float(values.std()) or 1.0)


def label_lines(columns: Sequence[LabelColumn], scans: Sequence[Scan]) -> Iterator[str]:
    """A line per label: classes with their counts in the training split, or range, mean and deviation."""
    train = [scan for scan in scans if scan.split == "train"]
    for column in columns:
        if column.categorical:
            counts = Counter(str(scan.labels[column.name]) for scan in train)
            yield f"{column.name}: " + ", ".join(f"{value} {counts[value]}" for value in column.values)
        else:
            yield (
                f"{column.name}: {column.low:g} to {column.high:g}, mean {column.mean:.4g}, "
                f"standard deviation {column.deviation:.3g}"
            )
