"""Tables and claims of a study as Markdown, LaTeX and HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jinja2 import Environment, StrictUndefined

from studies.claims import Finding
from voxflate.reports.latex import escaped, float_of
from voxflate.reports.parts import Table

_HEADINGS = ("Claim", "here", "comparisons: distances, paired t-test over seeds")
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
<tr><td>{{ each.claim }}</td><td>{{ each.verdict }}</td><td>{{ each.detail }}</td></tr>
{% endfor %}
</tbody></table>
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
    rows = [[each.claim, each.verdict, each.detail] for each in claims]
    parts += [
        "## Claims of the paper, and questions of ours",
        "",
        *_grid(_HEADINGS, rows),
        "",
        *(f"{note}\n" for note in notes),
    ]
    return "\n".join(parts)


def _grid(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def latex(tables: Mapping[int, Table], claims: Sequence[Finding], notes: Sequence[str]) -> str:
    """Every table as a float with caption, then the claims."""
    parts = ["% \\usepackage{booktabs,adjustbox}"]
    for number, table in tables.items():
        rows = [" & ".join(map(escaped, row)) for row in table.rows]
        text = escaped(" ".join([f"{table.caption.partition('. ')[2]}.", *table.notes]))
        parts.append(float_of(table.headings, rows, text, f"tab:study-{number}"))
    rows = [" & ".join([escaped(each.claim), escaped(each.verdict)]) for each in claims]
    parts.append(
        float_of(
            _HEADINGS[:2],
            rows,
            "Claims of the paper, and questions of ours.",
            "tab:claims",
            [*(each.detail for each in claims), *notes],
        )
    )
    return "\n".join(parts)


def html(tables: Mapping[int, Table], claims: Sequence[Finding], notes: Sequence[str]) -> str:
    """One page without external content."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    values = {"tables": list(tables.values()), "claims": claims, "notes": notes, "headings": _HEADINGS}
    return environment.from_string(_PAGE).render(**values)
