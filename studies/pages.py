"""Tables and claims of a study as Markdown, LaTeX and HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from jinja2 import Environment, StrictUndefined

from studies.budgets import BUDGET
from studies.collect import LAST
from studies.findings import Finding
from voxflate.reports.latex import escaped, float_of
from voxflate.reports.parts import Table
from voxflate.reports.tables import DASH

_CLAIMS = "Claims of the paper, and questions of ours"
_HEADINGS = ("Claim", "by Frechet distance", "largest p", "by KID", "least clear pair, or the one against it")
_COLUMNS = (
    "Largest p: of the tests by the Frechet distance. By KID: disagrees where it shows the opposite, differs "
    "where only one of the two is settled. The numbers of a pair are means over the seeds that both rows "
    f"have: of the evaluated snapshots for rows of the paper, of the last {LAST} snapshots for ours, as in "
    "Table 9; p is of the paired t-test."
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
<h2>{{ title }}</h2>
<table class="claims">
<thead><tr>{% for text in headings %}<th scope="col">{{ text }}</th>{% endfor %}</tr></thead>
<tbody>
{% for each in claims %}
<tr>{% for cell in cells(each) %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table>
{% for note in about %}<p class="soft">{{ note }}</p>
{% endfor %}
{% for each in claims if each.pairs %}
<p><b>{{ each.claim }}</b></p>
<ul>{% for pair in each.pairs %}<li>{{ pair }}</li>{% endfor %}</ul>
{% endfor %}
{% for note in notes %}<p class="soft">{{ note }}</p>
{% endfor %}
</body>
</html>
"""


def markdown(
    tables: Mapping[int, Table], claims: Sequence[Finding], about: Sequence[str], notes: Sequence[str]
) -> str:
    """Every table, then the claims with all their pairs.

    Args:
        tables: By number.
        claims: The findings.
        about: What the findings mean.
        notes: About results left out.
    """
    parts = []
    for table in tables.values():
        parts += [f"## {table.caption}", "", *_grid(table.headings, table.rows), ""]
        parts += [f"{note}\n" for note in table.notes]
    parts += [f"## {_CLAIMS}", "", *_grid(_HEADINGS, map(_cells, claims), left=len(_HEADINGS)), ""]
    parts += [f"{note}\n" for note in (*about, _COLUMNS)]
    for each in claims:
        if each.pairs:
            parts += [f"**{each.claim}**", "", *(f"- {pair}" for pair in each.pairs), ""]
    parts += [f"{note}\n" for note in notes]
    return "\n".join(parts)


def _cells(claim: Finding) -> list[str]:
    return [claim.claim, claim.verdict, claim.p, claim.kid, claim.detail]


def _grid(headings: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> list[str]:
    """A table of Markdown; so many columns are left-aligned."""
    lines = [headings, ["---"] * left + ["---:"] * (len(headings) - left), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def latex(
    tables: Mapping[int, Table], claims: Sequence[Finding], about: Sequence[str], notes: Sequence[str]
) -> str:
    """The same as floats, images and time as one of their own; the pairs of the claims are comments."""
    parts = ["% \\usepackage{booktabs,adjustbox}"]
    for number, table in tables.items():
        label, title = f"tab:study-{number}", table.caption.partition(". ")[2]
        kept, costs = _apart(table)
        text = escaped(" ".join([f"{title}.", *table.notes]))
        parts.append(float_of(kept.headings, _lines(kept), text, label))
        if costs.rows:
            text = f"{escaped(title)}: images and time. Notes: Table~\\ref{{{label}}}."
            parts.append(float_of(costs.headings, _lines(costs), text, f"{label}-budget"))
    rows = [" & ".join(map(escaped, _cells(each)[:4])) for each in claims]
    pairs = [f"{each.claim}: {pair}" for each in claims for pair in each.pairs or [each.detail]]
    caption = escaped(" ".join([f"{_CLAIMS}.", *about]))
    parts.append(float_of(_HEADINGS[:4], rows, caption, "tab:claims", [_COLUMNS, *pairs, *notes], left=4))
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


def html(
    tables: Mapping[int, Table], claims: Sequence[Finding], about: Sequence[str], notes: Sequence[str]
) -> str:
    """The same as one page without external content."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    values = {"tables": list(tables.values()), "title": _CLAIMS, "headings": _HEADINGS, "claims": claims}
    return environment.from_string(_PAGE).render(
        **values, cells=_cells, about=[*about, _COLUMNS], notes=notes
    )
