"""Writes tables of evaluated runs as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from voxflate.config.paper_rows import PaperRow
from voxflate.reports.notes import notes, why_separate
from voxflate.reports.rows import Row
from voxflate.reports.tables import beside, table


def markdown(tables: Sequence[Sequence[Row]], wanted: Sequence[PaperRow] = ()) -> str:
    """The tables and their notes as Markdown; arguments as for `table`."""
    parts = []
    for number, rows in enumerate(tables, start=1):
        parts += [f"**Table {number}**\n"] if len(tables) > 1 else []
        parts.append(_markdown(rows, wanted, explained=number == len(tables)))
    return "\n".join([*parts, *why_separate(tables)])


def _markdown(rows: Sequence[Row], wanted: Sequence[PaperRow], *, explained: bool) -> str:
    text = []
    for headings, lines in (table(rows, wanted, "**"), beside(rows, "**")):
        text += [f"| {' | '.join(headings)} |", f"|---|{'---:|' * (len(headings) - 1)}"]
        text += [f"| {' | '.join(map(_cell, line))} |" for line in lines]
        text.append("")
    below = notes(rows, wanted, explained=explained, shared=True)
    return "\n".join([*text, *(f"{note}\n" for note in below)])


def _cell(text: str) -> str:
    return text.replace("\n", " ").replace("|", r"\|")
