"""A study's table, column by column, before it is written as Markdown, LaTeX or HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from studies.cells import number_cell, spread_cell
from voxflate.evaluation.seeds import Spread
from voxflate.reports.tables import DASH, FLOOR_ROW, PLUS_MINUS, best_of

COSTS = "images and time"
"""Group of the columns that are a table of their own: with them, most tables would be wider than a page."""

PAPER = "paper"
"""Group of the columns with the paper's numbers."""

_BOLD = "Bold: best mean, not a test."
_SEVERAL = f"Mean {PLUS_MINUS} standard deviation over seeds."


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        heading: As printed below the group.
        cells: One per row.
        group: Printed above neighbouring columns of the same group; "" for none.
        best: Place of the best cell, which is printed bold.
        names_rows: Whether it names the rows.
    """

    heading: str
    cells: Sequence[str]
    group: str = ""
    best: int | None = None
    names_rows: bool = False

    def at(self, places: Sequence[int], rows: int) -> Column:
        """The column in a table of more rows: the first cell stays, the others are at these places."""
        cells = dict(zip((0, *places), self.cells, strict=True))
        best = None if self.best is None else places[self.best - 1]
        return replace(self, cells=[cells.get(place, DASH) for place in range(rows)], best=best)


@dataclass(frozen=True)
class Table:
    """A table with what is said about it.

    Attributes:
        number: As printed.
        title: Without the number.
        columns: From left to right.
        caption: Sentences without which no number should be quoted.
        notes: Everything else: how the rows were measured and made.
    """

    number: int
    title: str
    columns: Sequence[Column]
    caption: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def headings(self) -> list[str]:
        """Each with its group, where they stand in one line."""
        grouped = ((each.group, each.heading) for each in self.columns)
        return [f"{group}: {heading}" if group not in ("", COSTS) else heading for group, heading in grouped]

    @property
    def rows(self) -> list[list[str]]:
        """The cells of each row."""
        return [list(row) for row in zip(*(each.cells for each in self.columns), strict=True)]

    @property
    def said(self) -> list[str]:
        """The caption, with the sentences about marks that the table has."""
        several = any(PLUS_MINUS in cell for each in self.columns for cell in each.cells)
        marked = any(each.best is not None for each in self.columns)
        return [*([_SEVERAL] if several else []), *([_BOLD] if marked else []), *self.caption]

    def without_costs(self) -> Table:
        """The table without the columns of `COSTS`."""
        return replace(self, columns=[each for each in self.columns if each.group != COSTS])

    def stacked(self) -> Table:
        """The paper's numbers below ours, if each has a column of ours: half as wide, for a page of paper."""
        below = {_ours(each.heading): each.cells for each in self.columns if each.group == PAPER}
        own = [each for each in self.columns if each.group != PAPER]
        if not below or below.keys() - {_ours(each.heading) for each in own}:
            return self
        lines: list[tuple[int, bool]] = [(0, False)]  # (row, whether it is what is below it)
        for row in range(1, len(own[0].cells)):
            printed = any(cells[row] != DASH for cells in below.values())
            lines += [(row, False), (row, True)] if printed else [(row, False)]
        empty = [""] * len(own[0].cells)
        under = [below.get(_ours(each.heading), empty) for each in own]
        under[0] = ["in the paper"] * len(empty)
        columns = [
            replace(
                each,
                cells=[cells[row] if is_below else each.cells[row] for row, is_below in lines],
                best=None if each.best is None else lines.index((each.best, False)),
            )
            for each, cells in zip(own, under, strict=True)
        ]
        return replace(self, columns=columns)

    def costs(self) -> Table | None:
        """The columns of `COSTS` for the trained rows; None if there are none."""
        costs = [replace(each, group="") for each in self.columns if each.group == COSTS]
        if not costs:
            return None
        names = [each for each in self.columns if each.names_rows]
        trained = [place for place, name in enumerate(names[0].cells) if name != FLOOR_ROW]
        return replace(
            self,
            title=f"{self.title}: {COSTS}",
            columns=[
                replace(each, cells=[each.cells[place] for place in trained]) for each in (*names, *costs)
            ],
            caption=(),
            notes=(),
        )


def _ours(heading: str) -> str:
    """Our heading of a column of the paper, whose distances are FIDs."""
    return heading.replace("FID", "FD")


def names_column(heading: str, names: Sequence[str], floor: str = FLOOR_ROW) -> Column:
    """A column that names the rows; the first one is the floor."""
    return Column(heading, [floor, *names], names_rows=True)


def plain_column(heading: str, cells: Sequence[str], group: str = "") -> Column:
    """A column without a floor."""
    return Column(heading, [DASH, *cells], group)


def metric_column(
    heading: str,
    metric: str,
    real: float | None,
    found: Sequence[Spread | None],
    digits: int = 3,
    group: str = "",
    absent: Sequence[str] = (),
) -> Column:
    """A metric of every row over seeds, below that of real volumes; the best mean is marked.

    Args:
        heading: As printed.
        metric: Its name, which says what is best.
        real: That of real volumes.
        found: Of every row.
        digits: Significant digits.
        group: Group of the column.
        absent: Of every row: the cell if it has no metric; dashes by default.
    """
    cells = [
        cell if each is None else spread_cell(each, digits)
        for each, cell in zip(found, absent or [DASH] * len(found), strict=True)
    ]
    best = best_of([None if each is None else each.mean for each in found], metric, real)
    return Column(heading, [number_cell(real, digits), *cells], group, None if best is None else best + 1)
