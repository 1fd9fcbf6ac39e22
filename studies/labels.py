"""Names and order of rows in tables, figures and claims: as the paper prints them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from studies.own import OWN
from voxflate.config.presets import PRESETS

_MODULES = ("G", "D", "G&D")


def label_of(key: str, number: int) -> str:
    """A row's name in one of the paper's tables; rows of ours have one name."""
    if key in OWN:
        return OWN[key].label
    # The presets and their commands are in ASCII.
    return PRESETS[key].row.labels[number].replace("alpha", "\N{GREEK SMALL LETTER ALPHA}")


def name_among(key: str, numbers: Sequence[int]) -> str:
    """A row's name in the first of several tables that has it; with the table, unless there is only one."""
    if key in OWN:
        return OWN[key].label.removeprefix("ours: ")
    number = next(each for each in numbers if each in PRESETS[key].row.labels)
    label = label_of(key, number)
    return label if len(numbers) == 1 else f"{label} (Table {number})"


def in_order(keys: Iterable[str], number: int) -> list[str]:
    """Rows in the paper's order: Table 2 strategy by strategy, Tables 6 and 7 with ours last."""

    def place(key: str) -> tuple[int, str, int]:
        if key in OWN:
            return (2, "", 0)
        if number == 2:
            strategy, module = strategy_and_module(key)
            return (0, strategy, _MODULES.index(module))
        if number in (6, 7):
            return (int(PRESETS[key].values["model"] == "stylegan2"), "", 0)
        return (0, "", 0)

    return sorted(keys, key=place)


def strategy_and_module(key: str) -> tuple[str, str]:
    """The two names of a row in Table 2."""
    strategy, _, module = label_of(key, 2).partition(", ")
    return strategy, module
