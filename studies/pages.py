"""Tables and claims of a study as Markdown, LaTeX and HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from jinja2 import Environment, StrictUndefined

from studies.budgets import BUDGET
from studies.claims import Finding
from studies.collect import LAST
from voxflate.reports.latex import escaped, float_of
from voxflate.reports.parts import Table
from voxflate.reports.tables import DASH

_HEADINGS = (
    "Claim",
    "by Frechet distance",
    "by KID",
    "comparisons: distances, KID, paired t-tests over seeds",
)
_ABOUT_CLAIMS = (
    "The verdict is that by the Frechet distance, the paper's metric. Few volumes bias it, but not the KID, "
    "which takes the same tests. Its column says disagrees where it shows the opposite, and differs where "
    "only one of the two is settled. Numbers are means over the seeds that both rows have: of the evaluated "
    f"snapshots for rows of the paper, of the last {LAST} snapshots for ours, as in Table 9."
)
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Tables of the study</title>
<style>
body { margin: 0 auto; padding: 2rem 1.5rem; max-width: 84rem; font: 15px/1.5 system-ui, sans-serif; color: #1b2129; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .8rem; }
th, td { padding: .35rem .4rem; text-align: right; border-bottom: 1px solid #dfe2e1; }
td { white-space: nowrap; }
th:first-child, .claims td { text-align: left; white-space: normal; vertical-align: top; }
.soft { color: #5b6672; max-width: 60rem; }
</style>
</head>
<body>
<h1>Tables of the study</h1>
{% for table in tables %}
<h2>{{ table.caption }}</h2>
<div class="scroll"><table>
<thead><tr>{% for text in table.headings %}<th scope="col">{{ text }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in table.rows %}
<tr>{% for cell in row %}{% if loop.first %}<th scope="row">{{ cell }}</th>{% else %}<td>{{ cell }}</td>{% endif %}{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
{% for note in table.notes %}<p class="soft">{{ note }}</p>
{% endfor %}
{% endfor %}
<h2>Claims of the paper, and questions of ours</h2>
<table class="claims">
<thead><tr>{% for text in headings %}<th scope="col">{{ text }}</th>{% endfor %}</tr></thead>
<tbody>
{% for each in claims %}
<tr><td>{{ each.claim }}</td><td>{{ each.verdict }}</td><td>{{ each.kid }}</td><td>{{ each.detail }}</td></tr>
{% endfor %}
</tbody></table>
<p class="soft">{{ about }}</p>
{% for note in notes %}<p class="soft">{{ note }}</p>
{% endfor %}
</body>
</html>
"""


def markdown(tables: Mapping[int, Table], claims: Sequence[Finding], notes: Sequence[str]) -> str:
    """Every table, then the claims, then the results left out."""
    parts = []
    for table in tables.values():
        parts += [f"## {table.caption}", "", *_grid(table.headings, table.rows), ""]
        parts += [f"{note}\n" for note in table.notes]
    rows = [[each.claim, each.verdict, each.kid, each.detail] for each in claims]
    parts += [
        "## Claims of the paper, and questions of ours",
        "",
        *_grid(_HEADINGS, rows),
        "",
        f"{_ABOUT_CLAIMS}\n",
        *(f"{note}\n" for note in notes),
    ]
    return "\n".join(parts)


def _grid(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def latex(tables: Mapping[int, Table], claims: Sequence[Finding], notes: Sequence[str]) -> str:
    """Every table as a float with caption, images and time as one of their own; then the claims."""
    parts = ["% \\usepackage{booktabs,adjustbox}"]
    for number, table in tables.items():
        label, title = f"tab:study-{number}", table.caption.partition(". ")[2]
        kept, costs = _apart(table)
        text = escaped(" ".join([f"{title}.", *table.notes]))
        parts.append(float_of(kept.headings, _lines(kept), text, label))
        if costs.rows:
            text = f"{escaped(title)}: images and time. Notes: Table~\\ref{{{label}}}."
            parts.append(float_of(costs.headings, _lines(costs), text, f"{label}-budget"))
    rows = [" & ".join(map(escaped, (each.claim, each.verdict, each.kid))) for each in claims]
    parts.append(
        float_of(
            _HEADINGS[:3],
            rows,
            f"Claims of the paper, and questions of ours. {escaped(_ABOUT_CLAIMS)}",
            "tab:claims",
            [*(each.detail for each in claims), *notes],
        )
    )
    return "\n".join(parts)


def _apart(table: Table) -> tuple[Table, Table]:
    """A table without its columns of `BUDGET`, and these alone: together they would not be readable.

    The second has no rows if there are not three such columns.
    """
    costs = [place for place, heading in enumerate(table.headings) if heading in BUDGET]
    if len(costs) < 3:
        return table, replace(table, rows=[])
    names = range(table.headings.index("seeds"))
    apart = _of_columns(table, [*names, *costs])
    trained = [row for row in apart.rows if set(row[len(names) :]) != {DASH}]
    others = [place for place in range(len(table.headings)) if place not in costs]
    return _of_columns(table, others), replace(apart, rows=trained)


def _of_columns(table: Table, places: Sequence[int]) -> Table:
    headings, *rows = ([row[place] for place in places] for row in (table.headings, *table.rows))
    return replace(table, headings=headings, rows=rows)


def _lines(table: Table) -> list[str]:
    return [" & ".join(map(escaped, row)) for row in table.rows]


def html(tables: Mapping[int, Table], claims: Sequence[Finding], notes: Sequence[str]) -> str:
    """One page without external content."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    values = {"tables": list(tables.values()), "claims": claims, "notes": notes, "headings": _HEADINGS}
    return environment.from_string(_PAGE).render(**values, about=_ABOUT_CLAIMS)
