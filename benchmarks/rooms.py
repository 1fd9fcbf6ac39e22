"""Draws the package's rooms and the imports between them.

    python -m benchmarks.rooms [--out docs/images/rooms.png]

Rooms are in the order of the import contract in pyproject.toml: each may import only from those below it.
The width of a line is the number of imports; those of `_system` are left out. The command fails if there is a
cycle between modules, including imports inside functions.
"""

from __future__ import annotations

import sys
import tomllib
from collections import Counter
from pathlib import Path

import grimp
from benchmarks.arguments import parser_of
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

ROOT = Path(__file__).parents[1]
PACKAGE = "voxflate"
CONTRACT = "Rooms import only from the rooms below them"
GROUND = "_system"
"""Every room may use it; its lines would hide the others."""

OUT = ROOT / "docs" / "images" / "rooms.png"


def layers() -> list[list[str]]:
    """Names of the rooms, the uppermost layer first."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (found,) = (contract["layers"] for contract in contracts if contract["name"] == CONTRACT)
    rows = [[name.strip() for name in row.split("|")] for row in found]
    return [[name for name in row if not name.startswith("(")] for row in rows if row != ["(__main__)"]]


def imports() -> tuple[Counter[tuple[str, str]], Counter[str], list[list[str]]]:
    """Imports between rooms, modules per room, and cycles between modules."""
    graph = grimp.build_graph(PACKAGE, exclude_type_checking_imports=True)
    between: Counter[tuple[str, str]] = Counter()
    modules: Counter[str] = Counter()
    for module in graph.modules - {f"{PACKAGE}.__main__"}:
        parts = module.split(".")
        if len(parts) > 1:
            modules[parts[1]] += 1
        for other in graph.find_modules_directly_imported_by(module):
            theirs = other.split(".")
            if len(parts) > 1 and len(theirs) > 1 and parts[1] != theirs[1]:
                between[parts[1], theirs[1]] += 1
    edges = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    return between, modules, cycles(edges)


def cycles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, directly or through others (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(edges.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def draw(rows: list[list[str]], between: Counter[tuple[str, str]], modules: Counter[str], out: Path) -> None:
    """Write the picture."""
    figure = Figure(figsize=(11, 0.85 * len(rows) + 0.5), layout="constrained")
    axes = figure.subplots()
    width = max(map(len, rows))
    places = {
        name: ((i - (len(row) - 1) / 2) * 1.6, -1.0 * level)
        for level, row in enumerate(rows)
        for i, name in enumerate(row)
    }
    for level, row in enumerate(rows):
        if len(row) == 1:  # rooms alone in their layer are shifted, so that lines do not hide each other
            places[row[0]] = ((0.9, -0.9)[level % 2], -1.0 * level)
    shown = {pair: count for pair, count in between.items() if pair[1] != GROUND}
    most = max(shown.values())
    for (above, below), count in sorted(shown.items(), key=lambda item: item[1]):
        axes.add_patch(
            FancyArrowPatch(
                places[above],
                places[below],
                arrowstyle="-|>",
                mutation_scale=9,
                shrinkA=14,
                shrinkB=14,
                linewidth=0.5 + 2.5 * count / most,
                color="0.55",
                connectionstyle="arc3,rad=0.12",
                zorder=1,
            )
        )
    for name, (x, y) in places.items():
        box = {"boxstyle": "round,pad=0.35", "facecolor": "#eef3fb", "edgecolor": "#35578c"}
        label = f"{name}\n{modules[name]} modules"
        axes.text(x, y, label, ha="center", va="center", fontsize=9, bbox=box, zorder=2)
    axes.set_xlim(-0.8 * width - 0.6, 0.8 * width + 0.6)
    axes.set_ylim(-len(rows) + 0.4, 0.6)
    axes.axis("off")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)


def main() -> None:
    """Draw, print the counts, fail on a cycle."""
    parser = parser_of(__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    between, modules, circular = imports()
    draw(layers(), between, modules, options.out)
    print(
        f"{sum(modules.values())} modules in {len(modules)} rooms, "
        f"{sum(between.values())} imports between them"
    )
    print(f"{len(circular)} cycles; drawn to {options.out}")
    if circular:
        sys.exit("\n".join("cycle: " + " -> ".join(group) for group in circular))


if __name__ == "__main__":
    main()
