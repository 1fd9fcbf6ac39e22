"""Writes tables as LaTeX: caption, label, units, bold best values, never wider than the text."""

from __future__ import annotations

from collections.abc import Sequence

from voxflate.config.paper_rows import PaperRow
from voxflate.reports.rows import Row
from voxflate.reports.tables import DASH, FLOOR_ROW, PLUS_MINUS, columns_of, notes, table

_BOLD = "\x00"  # a placeholder until the text is escaped
_SPECIAL = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", DASH: "--", PLUS_MINUS: r"$\pm$"}


def latex(tables: Sequence[Sequence[Row]], wanted: Sequence[PaperRow] = ()) -> str:
    """The tables as LaTeX floats, their notes as comments; arguments as for `tables.table`."""
    head = "% \\usepackage{booktabs,adjustbox}"
    return "\n".join([head, *(_one(rows, wanted, number) for number, rows in enumerate(tables, start=1))])


def _one(rows: Sequence[Row], wanted: Sequence[PaperRow], number: int) -> str:
    headings, lines = table(rows, wanted, _BOLD)
    # The budget is in the notes, the time in table.md; an interval would make the table wider than a page.
    shown = [_line([cell.split("\n")[0] for cell in line[:-2]]) for line in lines]
    units = {column.heading: column.unit for column in columns_of(rows)}
    head = [f"{text} ({units[text]})" if units.get(text) else text for text in headings[:-2]]
    return float_of(head, shown, caption(rows), f"tab:comparison-{number}", notes(rows, wanted))


def caption(rows: Sequence[Row]) -> str:
    """A caption of one or two sentences, escaped."""
    facts = rows[0].first.facts
    features = escaped(facts["extractors"][0]["name"])
    shape = "$\\times$".join(map(str, facts["shape"]))
    text = (
        f"{facts['n-generated']} generated and {facts['n-real']} real volumes of "
        f"{shape} voxels; features of {features}. "
        f"The row ``{FLOOR_ROW}'' compares half of the real volumes with the other half (PSNR and MS-SSIM: "
        "pairs of real subjects). Lower is better for distances; MS-SSIM is best where it equals that of "
        "real volumes; PSNR does not rank generators, because blur raises it. Bold: best value."
    )
    if any(len(row.runs) > 1 for row in rows):
        text += " Mean $\\pm$ standard deviation over seeds."
    return text


def float_of(
    headings: Sequence[str], lines: Sequence[str], caption: str, label: str, comments: Sequence[str] = ()
) -> str:
    """A table float.

    Args:
        headings: Plain text; the first column is left-aligned.
        lines: Rows, escaped and joined.
        caption: The caption, escaped.
        label: LaTeX label.
        comments: Written above the table as LaTeX comments.
    """
    parts = [
        *(f"% {note}" for note in comments),
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{caption}}}",
        f"\\label{{{label}}}",
        "\\begin{adjustbox}{max width=\\textwidth}",
        f"\\begin{{tabular}}{{l{'r' * (len(headings) - 1)}}}",
        "\\toprule",
        f"{' & '.join(map(escaped, headings))} \\\\",
        "\\midrule",
        *(f"{line} \\\\" for line in lines),
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{adjustbox}",
        "\\end{table}",
        "",
    ]
    return "\n".join(parts)


def escaped(text: str) -> str:
    """Escape plain text for LaTeX."""
    for character, written in _SPECIAL.items():
        text = text.replace(character, written)
    return text


def _line(cells: Sequence[str]) -> str:
    return " & ".join(_bold(escaped(cell)) for cell in cells)


def _bold(cell: str) -> str:
    return f"\\textbf{{{cell.strip(_BOLD)}}}" if cell.startswith(_BOLD) else cell
