"""Writes tables as LaTeX: caption, label, units, bold best values, never wider than the text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from voxflate.config.paper_rows import PaperRow
from voxflate.reports.copying import may_copy
from voxflate.reports.notes import notes
from voxflate.reports.rows import EvaluatedRun, Row
from voxflate.reports.tables import (
    BUDGET,
    DASH,
    FLOOR_ROW,
    PLUS_MINUS,
    beside,
    columns_beside,
    columns_of,
    table,
)

_BOLD = "\x00"  # a placeholder until the text is escaped
_SPECIAL = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%_#${}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": "$<$",
        ">": "$>$",
        DASH: "--",
        PLUS_MINUS: r"$\pm$",
        "\N{GREEK SMALL LETTER ALPHA}": r"$\alpha$",
        "\N{UPWARDS ARROW}": r"$\uparrow$",
        "\N{DOWNWARDS ARROW}": r"$\downarrow$",
    }
)


def latex(tables: Sequence[Sequence[Row]], wanted: Sequence[PaperRow] = ()) -> str:
    """The tables as LaTeX floats, their notes as comments; arguments as for `tables.table`."""
    head = "% \\usepackage{booktabs,adjustbox}"
    return "\n".join([head, *(_one(rows, wanted, number) for number, rows in enumerate(tables, start=1))])


def _one(rows: Sequence[Row], wanted: Sequence[PaperRow], number: int) -> str:
    """Two floats, because one would be wider than a page."""
    label = f"tab:comparison-{number}"
    units = {column.heading: column.unit for column in (*columns_of(rows), *columns_beside(rows))}

    def written(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> tuple[list[str], list[str]]:
        # Intervals are in table.md: with them, the table would be wider than a page.
        head = [f"{text} ({units[text]})" if units.get(text) else text for text in headings]
        return head, [_line([cell.split("\n")[0] for cell in line]) for line in lines]

    headings, lines = beside(rows, _BOLD)
    kept = len(headings) - len(BUDGET)  # the budgets are in table.md
    more = written(headings[:kept], [line[:kept] for line in lines])
    below = notes(rows, wanted, shared=True)
    first = float_of(*written(*table(rows, wanted, _BOLD)), caption(rows), label, below)
    return first + "\n" + float_of(*more, _caption_beside(rows, label), f"{label}-beside")


def caption(rows: Sequence[Row]) -> str:
    """A caption of one or two sentences, escaped."""
    facts = rows[0].first.facts
    features = escaped(facts["extractors"][0]["name"])
    shape = "$\\times$".join(map(str, facts["shape"]))
    cut = {f", truncation {run.facts.get('truncation', 1.0):g}" for run in _runs(rows) if not run.is_foreign}
    text = (
        f"{facts['n-generated']} generated and {facts['n-real']} real volumes of "
        f"{shape} voxels{''.join(cut)}; features of {features}. "
        f"The row ``{FLOOR_ROW}'' compares half of the real volumes with the other half (PSNR and MS-SSIM: "
        "pairs of real subjects). Lower is better for distances; MS-SSIM is best where it equals that of "
        "real volumes; PSNR does not rank generators, because blur raises it. Bold: best value."
    )
    if any(len(row.runs) > 1 for row in rows):
        text += " Mean $\\pm$ standard deviation over seeds."
    return text + _caution(rows)


def _caption_beside(rows: Sequence[Row], label: str) -> str:
    text = (
        f"The rows of Table~\\ref{{{label}}}. Precision and recall: higher is better. KID-heldout: the "
        "kernel distance to people who were not trained on. PSNR-nearest: of a volume and the real one "
        f"nearest to it, best where it equals that of real people. Flagged: possible copies of training "
        f"volumes; in the row ``{FLOOR_ROW}'', real people whom the audit has not seen. Bold: best value."
    )
    return text + _caution(rows)


def _caution(rows: Sequence[Row]) -> str:
    names = ", ".join(f"``{escaped(row.label)}''" for row in rows if may_copy(row))
    return f" Caution: {names} may consist of copies of real volumes." if names else ""


def _runs(rows: Sequence[Row]) -> list[EvaluatedRun]:
    return [run for row in rows for run in row.runs]


def float_of(
    headings: Sequence[str],
    lines: Sequence[str],
    caption: str,
    label: str,
    comments: Sequence[str] = (),
    *,
    left: int = 1,
    groups: Sequence[str] = (),
) -> str:
    """A table float.

    Args:
        headings: Plain text.
        lines: Rows, escaped and joined.
        caption: The caption, escaped.
        label: LaTeX label.
        comments: Written above the table as LaTeX comments.
        left: Number of left-aligned columns.
        groups: A heading above every column, plain text, printed once above neighbours with the same; "" for
            none.
    """
    parts = [
        *(f"% {note}" for note in comments),
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{caption}}}",
        f"\\label{{{label}}}",
        "\\begin{adjustbox}{max width=\\textwidth}",
        f"\\begin{{tabular}}{{{'l' * left}{'r' * (len(headings) - left)}}}",
        "\\toprule",
        *_heads(groups),
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


def _heads(groups: Sequence[str]) -> list[str]:
    """A line of headings that span their columns, and the rules below; nothing without groups."""
    cells, rules, start = [], "", 1
    for name, same in groupby(groups):
        width = len(list(same))
        cells += [f"\\multicolumn{{{width}}}{{c}}{{{escaped(name)}}}"] if name else [""] * width
        rules += f"\\cmidrule(lr){{{start}-{start + width - 1}}}" if name else ""
        start += width
    return [f"{' & '.join(cells)} \\\\", rules] if rules else []


def bold(text: str) -> str:
    """Escaped text in bold."""
    return f"\\textbf{{{text}}}"


def escaped(text: str) -> str:
    """Escape plain text for LaTeX."""
    return text.translate(_SPECIAL)


def _line(cells: Sequence[str]) -> str:
    return " & ".join(_bold(escaped(cell)) for cell in cells)


def _bold(cell: str) -> str:
    return bold(cell.strip(_BOLD)) if cell.startswith(_BOLD) else cell
