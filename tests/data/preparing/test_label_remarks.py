"""What is said of the labels of a set."""

from __future__ import annotations

from dataclasses import replace

import pytest

from voxflate.data.prepared import Scan
from voxflate.data.preparing.label_remarks import remark_on_labels
from voxflate.data.preparing.labels import label_columns, typed
from voxflate.data.sources.account import Account

SCAN = Scan("s", "train", "", [], (0.0, 1.0))


def notes(values: list[str], column: str = "x") -> list[str]:
    labels = typed([column], [{"x": value} for value in values])
    scans = [replace(SCAN, labels=one) for one in labels]
    account = Account()
    remark_on_labels(account, label_columns(["x"], scans), scans)
    return account.notes


@pytest.mark.parametrize(
    ("classes", "shown"),
    [
        (["F", "M", "m", "f", "male", "Female"], "F / Female / f, M / m / male"),
        (["left  handed", "Left handed", "right"], "Left handed / left  handed"),
        (["con", "control", "patient"], "con / control"),
        (["I", "II", "III", "VIII", "V"], ""),
        (["A", "AB", "B", "0"], ""),
        (["AD", "CN", "MCI"], ""),
        (["T1", "T1 late"], ""),
        (["1", "10", "100000"], ""),
    ],
)
def test_classes_that_may_be_one_are_named(classes: list[str], shown: str) -> None:
    found = [note for note in notes([*classes] * 4) if "spellings" in note]
    assert [note.split("(")[1].split(")")[0] for note in found] == ([shown] if shown else [])


@pytest.mark.parametrize(
    ("values", "column", "advice"),
    [
        ([f"{n + 38.78:.2f}Y" for n in range(10)], "x", "write them without a unit"),
        ([f"site {n // 2}" for n in range(13)], "x", "merge classes, or choose another column"),
        (["20", "30", "40", "50"], "x", "give it as --label x:continuous"),
        (["20.5", "30.5", "40.5", "50.5"], "x:categorical", "give it as --label x:continuous"),
        (["20.5", "30.5", "40.5", "50.5"], "x", ""),
        (["F", "M"], "x", ""),
        ([f"site {n % 6}" for n in range(12)], "x", ""),
        (["AD", "CN", "MCI", "CN"], "x", ""),
    ],
)
def test_classes_of_one_scan_each_are_said(values: list[str], column: str, advice: str) -> None:
    found = [note for note in notes(values, column) if "too few scans of each" in note]
    assert len(found) == bool(advice)
    assert all(advice in note for note in found)


AGES = ["20.5", "30", "41", "52", "63", "74"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([*AGES, "-999", "-999"], ["-999 (2 of 8 scans)"]),
        ([*AGES, "999.0", "-1", "-9"], ["-9 (1 of 9 scans)", "-1 (1 of 9 scans)", "999 (1 of 9 scans)"]),
        ([*AGES, "99"], []),
        ([*AGES, "9"], []),
        ([*AGES, "150"], []),
        (["-2.5", "-1", "0.5", "2"], []),
        (["-2.5", "-999", "0.5", "2"], ["-999 (1 of 4 scans)"]),
        (["1", "2", "1", "9"], ["9 (1 of 4 scans)"]),
        (["-1", "0", "1", "0"], []),
        (["F", "M", "9"], []),
        (["99", "99.0", "999"], []),
    ],
)
def test_codes_for_missing_values_are_named(values: list[str], said: list[str]) -> None:
    found = [note for note in notes(values) if "far from all other values" in note]
    assert [note.removeprefix("label x: ").split(" is far")[0] for note in found] == said


def test_a_text_that_makes_classes_of_numbers_is_named() -> None:
    (note,) = [note for note in notes([*(f"{n % 30 + 50}" for n in range(99)), ">89"]) if "because" in note]
    assert "taken as 31 classes, because 1 of 100 values are not numbers ('>89' of " in note
    assert "--label x:continuous" in note
    assert not any("because" in note for note in notes(["1", "2", "3", "1", "2", "3", "unknown"]))
    assert not any("because" in note for note in notes([f"site {n}" for n in range(30)]))
