"""One table of the utility of several generators, from the files that `voxflate utility` wrote for each.

    python -m benchmarks.generators docs/benchmarks/pairs/recommended-utility-*.json

Mean and standard deviation over generators, each the mean over its networks. Every generator must have been
measured in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.arguments import parser_of

from voxflate._system.files import read_json
from voxflate.evaluation.seeds import spread
from voxflate.reports.tables import PLUS_MINUS

SAME = (
    "data",
    "shape",
    "seed",
    "truncation",
    "tasks",
    "real",
    "generated",
    "seeds",
    "steps",
    "batch",
    "augment",
)
"""Facts that must agree."""


def rows_of(files: Sequence[Path]) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """Rows by task, arm, numbers of volumes and metric, one per generator."""
    contents = [read_json(path) for path in files]
    for key in SAME:
        if len({str(content["facts"][key]) for content in contents}) > 1:
            raise SystemExit(f"{key} differs between the files; they were not measured in the same way")
    if len({content["facts"]["generator_sha256"] for content in contents}) < len(files):
        raise SystemExit("two files are of one generator")
    rows: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for content in contents:
        for row in content["rows"]:
            key = tuple(row[name] for name in ("task", "arm", "real", "generated", "metric"))
            rows.setdefault(key, []).append(row)
    return rows


def cell(values: Sequence[float], digits: int = 3) -> str:
    """Mean and standard deviation."""
    found = spread(values)
    mean = f"{found.mean:.{digits}f}"
    return mean if found.deviation is None else f"{mean} {PLUS_MINUS} {found.deviation:.{digits}f}"


def main() -> None:
    """Print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("files", type=Path, nargs="+", help="utility.json of each generator")
    parser.add_argument("--metric", nargs="+", default=["dice", "hd95", "agreement-dice"])
    given = parser.parse_args()
    rows = rows_of(given.files)
    print(f"{len(given.files)} generators\n")
    print("| metric | trained on | real | generated | value | less that of real alone | of real alone |")
    print("|---|---|---|---|---|---|---|")
    for (task, arm, real, generated, metric), found in rows.items():
        if metric not in given.metric:
            continue
        values = [row["value"] for row in found]
        differences = [row["difference"] for row in found]
        less = share = ""
        if None not in differences:
            less = cell(differences, 4)
            share = cell([100 * v / (v - d) for v, d in zip(values, differences, strict=True)], 1) + " %"
        print(f"| {task} {metric} | {arm} | {real} | {generated} | {cell(values)} | {less} | {share} |")


if __name__ == "__main__":
    main()
