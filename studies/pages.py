"""Tables and claims of a study as Markdown, LaTeX and HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby

from jinja2 import Environment, StrictUndefined

from studies.collect import LAST
from studies.findings import Finding
from studies.layout import COSTS, Table
from voxflate.reports.latex import bold, escaped, float_of

_CLAIMS = "Claims of the paper, and questions of ours"
_HEADINGS = ("Claim", "by Frechet distance", "largest p", "by KID", "least clear pair, or the one against it")
_COLUMNS = (
    "Largest p: of the tests by the Frechet distance. By KID: disagrees where it shows the opposite, differs "
    "where only one of the two is settled. The numbers of a pair are means over the seeds that both rows "
    f"have: of the evaluated snapshots for rows of the paper, of the last {LAST} snapshots for ours, as in "
    "Table 9; p is of the paired t-test."
)
_PAGE = """{% macro grid(table) %}
<div class="scroll"><table>
<thead>
{% if table.columns | map(attribute="group") | select | list %}
<tr class="group">{% for name, width in groups(table) %}<th{% if width > 1 %} colspan="{{ width }}"{% endif %}{% if name %} scope="colgroup"{% endif %}><span>{{ name }}</span></th>{% endfor %}</tr>
{% endif %}
<tr>{% for column in table.columns %}<th scope="col"{% if column.names_rows %} class="name"{% endif %}>{{ column.heading }}</th>{% endfor %}</tr>
</thead>
<tbody>
{% for cells in table.rows %}{% set place = loop.index0 %}
<tr>{% for cell in cells %}{% set column = table.columns[loop.index0] %}{% if column.names_rows %}<th scope="row" class="name">{{ cell }}</th>{% elif column.best == place %}<td><b>{{ cell }}</b></td>{% else %}<td>{{ cell }}</td>{% endif %}{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
{% endmacro %}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Tables of the study</title>
<style>
body { margin: 0 auto; padding: 2rem 1rem; max-width: 84rem; font: 15px/1.5 system-ui, sans-serif; color: #1b2129; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .8rem; }
th, td { padding: .35rem .28rem; text-align: right; border-bottom: 1px solid #dfe2e1; }
td { white-space: nowrap; }
thead th { vertical-align: bottom; }
.group th { text-align: center; padding-bottom: 0; border-bottom: 0; }
.group th[scope] span { display: block; border-bottom: 1px solid #5b6672; }
th.name, .claims th, .claims td { text-align: left; }
th.name { padding-right: 1rem; }
th.name:first-child { min-width: 12em; }
.claims td { white-space: normal; vertical-align: top; }
.soft { color: #5b6672; max-width: 60rem; }
.said { max-width: 60rem; }
</style>
</head>
<body>
<h1>Tables of the study</h1>
{% for table in tables %}
<h2>Table {{ table.number }}. {{ table.title }}</h2>
{{ grid(table.without_costs()) }}
{% if table.costs() %}<h3>{{ costs }}</h3>
{{ grid(table.costs()) }}
{% endif %}
<p class="said">{{ table.said | join(" ") }}</p>
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
    for number, table in tables.items():
        parts += [f"## Table {number}. {table.title}", "", *_table(table.without_costs()), ""]
        if costs := table.costs():
            parts += [f"{COSTS.capitalize()}:", "", *_table(costs), ""]
        parts += [f"{note}\n" for note in (" ".join(table.said), *table.notes) if note]
    parts += [f"## {_CLAIMS}", "", *_grid(_HEADINGS, map(_cells, claims), left=len(_HEADINGS)), ""]
    parts += [f"{note}\n" for note in (*about, _COLUMNS)]
    for each in claims:
        if each.pairs:
            parts += [f"**{each.claim}**", "", *(f"- {pair}" for pair in each.pairs), ""]
    parts += [f"{note}\n" for note in notes]
    return "\n".join(parts)


def _table(table: Table) -> list[str]:
    rows = _marked(table, lambda cell: cell, lambda cell: f"**{cell}**")
    return _grid(table.headings, rows, sum(each.names_rows for each in table.columns))


def _marked(table: Table, plain: Callable[[str], str], best: Callable[[str], str]) -> list[list[str]]:
    """The rows of a table with its best cells marked."""
    return [
        [
            best(cell) if column.best == place else plain(cell)
            for cell, column in zip(row, table.columns, strict=True)
        ]
        for place, row in enumerate(table.rows)
    ]


def _cells(claim: Finding) -> list[str]:
    return [claim.claim, claim.verdict, claim.p, claim.kid, claim.detail]


def _grid(headings: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> list[str]:
    """A table of Markdown; so many columns are left-aligned."""
    lines = [headings, ["---"] * left + ["---:"] * (len(headings) - left), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def latex(
    tables: Mapping[int, Table], claims: Sequence[Finding], about: Sequence[str], notes: Sequence[str]
) -> str:
    """The same as floats, the paper's numbers below ours; the pairs of the claims are comments."""
    parts = ["% \\usepackage{booktabs,adjustbox}"]
    for number, table in tables.items():
        label = f"tab:study-{number}"
        caption = escaped(" ".join([f"{table.title}.", *table.said]))
        parts.append(_float(table.without_costs().stacked(), caption, label))
        if costs := table.costs():
            caption = f"{escaped(costs.title)} (rows of Table~\\ref{{{label}}})."
            parts.append(_float(costs, caption, f"{label}-budget"))
    rows = [" & ".join(map(escaped, _cells(each)[:4])) for each in claims]
    pairs = [f"{each.claim}: {pair}" for each in claims for pair in each.pairs or [each.detail]]
    caption = escaped(" ".join([f"{_CLAIMS}.", *about]))
    parts.append(float_of(_HEADINGS[:4], rows, caption, "tab:claims", [_COLUMNS, *pairs, *notes], left=4))
    return "\n".join(parts)


def _float(table: Table, caption: str, label: str) -> str:
    rows = _marked(table, escaped, lambda cell: bold(escaped(cell)))
    return float_of(
        [each.heading for each in table.columns],
        [" & ".join(row) for row in rows],
        caption,
        label,
        table.notes,
        left=sum(each.names_rows for each in table.columns),
        groups=[each.group for each in table.columns],
    )


def _groups(table: Table) -> list[tuple[str, int]]:
    """Names of the groups of columns, and the number of columns of each."""
    return [(name, len(list(same))) for name, same in groupby(each.group for each in table.columns)]


def html(
    tables: Mapping[int, Table], claims: Sequence[Finding], about: Sequence[str], notes: Sequence[str]
) -> str:
    """The same as one page without external content."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    values = {
        "tables": list(tables.values()),
        "costs": COSTS.capitalize(),
        "title": _CLAIMS,
        "headings": _HEADINGS,
        "claims": claims,
    }
    return environment.from_string(_PAGE).render(
        **values, groups=_groups, cells=_cells, about=[*about, _COLUMNS], notes=notes
    )
