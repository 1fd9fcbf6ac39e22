"""The paper's claims about distances, table by table, and questions about our rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from studies.own import STARTS, own_key
from voxflate.config.paper_rows import PAPER_ROWS

_STRATEGIES = ("inflate-1", "inflate-2", "inflate-3", "inflate-asc", "inflate-nwi")
_ARCHITECTURES = ("baseline", "group-d", "depthwise-d", "split-shuffle-d", "split", "split-shuffle")
_ROWS_OF_1 = ("coca64-baseline", *(f"coca64-baseline-{name}" for name in _STRATEGIES))
_OURS = "coca64-split-shuffle-inflate-1"

Pair = tuple[str, str]
"""A row that should be nearer to the real volumes, and one that should be farther, by key."""


@dataclass(frozen=True)
class Claim:
    """A statement about distances.

    Attributes:
        text: The claim in words.
        pairs: Its comparisons.
        strict: Whether the first row must be nearer; otherwise it may be as good (`findings.MARGIN`).
        metric: The distance to compare; "" for that of the leading feature network.
        tables: The paper's tables that it is about.
    """

    text: str
    pairs: Sequence[Pair]
    strict: bool = True
    metric: str = ""
    tables: Sequence[int] = ()

    @property
    def title(self) -> str:
        """The claim with its tables."""
        if not self.tables:
            return self.text
        *first, last = map(str, self.tables)
        named = f"Tables {', '.join(first)} and {last}" if first else f"Table {last}"
        return f"{self.text} ({named})"


def _against(best: str, others: Sequence[str]) -> list[Pair]:
    return [(best, other) for other in others if other != best]


def _worst(worst: str, others: Sequence[str]) -> list[Pair]:
    return [(other, worst) for other in others if other != worst]


_SCRATCH = [f"coca64-{name}" for name in _ARCHITECTURES]
_INFLATED = [f"coca64-{name}-inflate-1" for name in _ARCHITECTURES]
_BY_MODULE = ("inflate-1", "inflate-asc", "inflate-nwi")
_BY_START = (("from scratch", _SCRATCH, 3), ("with Inflate-1", _INFLATED, 4))

CLAIMS: Sequence[Claim] = (
    Claim("Inflation helps: Inflate-1 against no inflation", [(_ROWS_OF_1[1], _ROWS_OF_1[0])], tables=(1,)),
    Claim(
        "Inflate-ASC and Inflate-NWI help too", [(row, _ROWS_OF_1[0]) for row in _ROWS_OF_1[4:]], tables=(1,)
    ),
    Claim(
        "Inflate-1 is the best of the five strategies", _against(_ROWS_OF_1[1], _ROWS_OF_1[1:]), tables=(1,)
    ),
    Claim(
        "The more weights come from 2D, the worse: Inflate-1, Inflate-2, Inflate-3",
        [*pairwise(_ROWS_OF_1[1:4])],
        tables=(1,),
    ),
    Claim(
        "Inflating G and D is better than either alone",
        [
            (f"coca64-baseline-{name}", f"coca64-baseline-{name}-{module}")
            for name in _BY_MODULE
            for module in ("g", "d")
        ],
        tables=(2,),
    ),
    Claim(
        "Inflating G matters more than inflating D",
        [(f"coca64-baseline-{name}-g", f"coca64-baseline-{name}-d") for name in _BY_MODULE],
        tables=(2,),
    ),
    *(
        Claim(
            f"Split&Shuffle, with half the parameters, is better than the baseline, {start}",
            [(rows[-1], rows[0])],
            tables=(number,),
        )
        for start, rows, number in _BY_START
    ),
    *(
        Claim(
            f"It maintains the quality (abstract): as good as the baseline or better, {start}",
            [(rows[-1], rows[0])],
            strict=False,
            tables=(number,),
        )
        for start, rows, number in _BY_START
    ),
    *(
        Claim(
            f"Split without shuffle is the worst architecture, {start}",
            _worst(rows[4], rows),
            tables=(number,),
        )
        for start, rows, number in _BY_START
    ),
    Claim(
        "With Inflate-1, other discriminators alone are worse than the baseline",
        [(_INFLATED[0], row) for row in _INFLATED[1:4]],
        tables=(4,),
    ),
    Claim(
        "Split&Shuffle and Inflate-1 together are better than either alone",
        [(_OURS, _SCRATCH[-1]), (_OURS, _ROWS_OF_1[1])],
        tables=(1, 3, 4),
    ),
    Claim(
        "Split&Shuffle with Inflate-1 is the best of all",
        _against(_OURS, [*dict.fromkeys([*_ROWS_OF_1, *_SCRATCH, *_INFLATED])]),
        tables=(1, 3, 4),
    ),
    Claim(
        "Split&Shuffle is better than the baseline at 128x128",
        [("coca128-split-shuffle-inflate-1", "coca128-baseline")],
        tables=(5,),
    ),
    *(
        Claim(
            f"Split&Shuffle is better than every comparison model on {organ}",
            _against(ours, [key for key, row in PAPER_ROWS.items() if number in row.labels]),
            tables=(number,),
        )
        for organ, number, ours in (("hearts", 6, _OURS), ("brains", 7, "adni64-split-shuffle-inflate-1"))
    ),
)

_WITH = {False: "without the slice discriminator", True: "with the slice discriminator"}
_SLICES_HELP = {start: [(own_key(start, slices=True), own_key(start, slices=False))] for start in STARTS}

QUESTIONS: Sequence[Claim] = (
    *(
        Claim(f"Ours: the slice discriminator helps, start {start}", pairs)
        for start, pairs in _SLICES_HELP.items()
    ),
    *(
        Claim(
            f"Ours: the slice discriminator helps by the voxels, which no network has seen, start {start}",
            pairs,
            metric="frechet-voxels-3d",
        )
        for start, pairs in _SLICES_HELP.items()
    ),
    *(
        Claim(
            f"Ours: {start} is better than none, {words}", [(own_key(start, slices), own_key("none", slices))]
        )
        for slices, words in _WITH.items()
        for start in STARTS
        if start != "none"
    ),
    *(
        Claim(
            f"Ours: preserving is better than inflate-1, {words}",
            [(own_key("preserving", slices), own_key("inflate-1", slices))],
        )
        for slices, words in _WITH.items()
    ),
)
"""About our own rows (Tables 9 and 10): one comparison each, because starts differ in their answers."""
