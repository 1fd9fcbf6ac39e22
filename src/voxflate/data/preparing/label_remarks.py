"""Remarks on labels: classes that may be one, classes of few scans, codes for missing values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations

from voxflate.data.channels import LabelColumn
from voxflate.data.prepared import Scan
from voxflate.data.preparing.labels import FEW_NUMBERS, number_of
from voxflate.data.sources.account import Account, some

_WORD = 4
"""Fewest letters of a word that another class may abbreviate."""
_ROMAN = frozenset("ivxlcdm")
_UNIT = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?\s*[^\W\d]+")
"""A number with a unit, such as 38.78Y."""


def remark_on_labels(account: Account, columns: Sequence[LabelColumn], scans: Sequence[Scan]) -> None:
    """Remark on the labels of a set.

    Args:
        account: Receives the remarks.
        columns: The label columns.
        scans: All scans of the set.
    """
    for column in columns:
        if column.categorical:
            _remark_on_unseen(account, column, scans)
            _remark_on_spellings(account, column)
            _remark_on_many(account, column, len(scans))
            _remark_on_texts(account, column, scans)
        _remark_on_codes(account, column, [scan.labels[column.name] for scan in scans])


def _remark_on_unseen(account: Account, column: LabelColumn, scans: Sequence[Scan]) -> None:
    """Remark on classes that no volume to train on has."""
    trained = {scan.labels[column.name] for scan in scans if scan.split == "train"}
    if unseen := [value for value in column.values if value not in trained]:
        account.note(
            f"label {column.name}: {len(unseen)} of {len(column.values)} classes ({{classes}}) occur "
            "only in held-out volumes, so the generator learns nothing of them",
            classes=some(unseen),
        )


def _remark_on_spellings(account: Account, column: LabelColumn) -> None:
    """Remark on classes that differ in capitals or blanks, or of which one may abbreviate another."""
    groups = {value: {value} for value in column.values}
    for one, other in combinations(column.values, 2):
        if _alike(one, other):
            merged = groups[one] | groups[other]
            groups |= dict.fromkeys(merged, merged)
    several = dict.fromkeys(" / ".join(sorted(group)) for group in groups.values() if len(group) > 1)
    if several:
        account.note(
            f"label {column.name}: some classes may be one in several spellings ({{classes}}), and each is "
            "learned by itself; if they are one, write them alike",
            classes=some(list(several)),
        )


def _alike(one: str, other: str) -> bool:
    """Whether two classes may be the same: M, m and male, but not I and III, or A and AB."""
    short, long = sorted((" ".join(text.casefold().split()) for text in (one, other)), key=len)
    word = len(long) >= _WORD and short.isalpha() and long.isalpha() and not set(long) <= _ROMAN
    return short == long or (word and long.startswith(short))


def _remark_on_many(account: Account, column: LabelColumn, scans: int) -> None:
    """Remark on a column with about as many classes as there are scans."""
    count = len(column.values)
    nearly = count > FEW_NUMBERS and 2 * count > scans
    if count < 3 or not (count == scans or nearly):
        return
    advice = "merge classes, or choose another column"
    if all(map(_UNIT.fullmatch, column.values)):
        advice = "if these are numbers, write them without a unit"
    elif all(number_of(value) is not None for value in column.values):
        advice = f"if these are numbers, give it as --label {column.name}:continuous"
    account.note(
        f"label {column.name}: has {count} classes ({{classes}}) for {scans} scans, too few scans of each to "
        f"learn from; {advice}",
        classes=some(list(column.values)),
    )


def _remark_on_texts(account: Account, column: LabelColumn, scans: Sequence[Scan]) -> None:
    """Remark on a few texts that make classes of a column of numbers."""
    texts = [scan for scan in scans if number_of(str(scan.labels[column.name])) is None]
    numbers = sum(number_of(value) is not None for value in column.values)
    if not texts or numbers <= FEW_NUMBERS or 2 * len(texts) >= len(scans):
        return
    account.note(
        f"label {column.name}: taken as {len(column.values)} classes, because {len(texts)} of {len(scans)} "
        "values are not numbers ({texts}); if it is a column of numbers, correct these, and add --label "
        f"{column.name}:continuous",
        texts=some([f"{scan.labels[column.name]!r} of {account.named(scan.scan)}" for scan in texts]),
    )


def _remark_on_codes(account: Account, column: LabelColumn, values: Sequence[str | float]) -> None:
    """Remark on a number that looks like a code for a missing value, and is far from the others.

    Codes are -1 (not among classes, where -1, 0 and 1 are usual) and whole numbers with no digit but 9. Far
    means negative where no other number is, or more than twice as large as any other.
    """
    numbers = [number_of(str(value)) for value in values]
    known = {number for number in numbers if number is not None}
    codes = {number for number in known if _is_code(number) and not (column.categorical and number == -1)}
    others = known - codes
    if None in numbers or not others:
        return
    largest = max(map(abs, others))
    for code in sorted(codes):
        if code < 0 <= min(others) or abs(code) > 2 * largest:
            account.note(
                f"label {column.name}: {code:g} ({numbers.count(code)} of {len(numbers)} scans) is far from "
                "all other values; if it means that the value is missing, leave the cell empty"
            )


def _is_code(number: float) -> bool:
    return number == -1 or (number.is_integer() and set(str(int(abs(number)))) == {"9"})
