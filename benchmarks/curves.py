"""Draws the distances of several runs over kimg and prints them as a Markdown table.

    python -m benchmarks.curves RUN RUN ... --out docs/images/curves.png [--figure frechet-mobilenetv2-avg]

The real-vs-real floor is from the last row; runs are cut at the kimg that all of them have reached.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.arguments import parser_of

from voxflate.drawing.sheets import curves
from voxflate.runs.log import METRICS_NAME, read_rows


def main() -> None:
    """Draw the picture and print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--figure", default="frechet-mobilenetv2-avg")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--every", type=float, default=1.0, help="kimg between the table's columns")
    arguments = parser.parse_args()
    rows = {run: read_rows(run / METRICS_NAME) for run in arguments.runs}
    end = min(points[-1]["n_images"] for points in rows.values())
    series = {
        run.name: [
            (row["n_images"] / 1000, row[arguments.figure]) for row in points if row["n_images"] <= end
        ]
        for run, points in rows.items()
    }
    floor = next(iter(rows.values()))[-1].get(f"real-{arguments.figure}")
    curves(series, arguments.out, f"{arguments.figure}", floor=floor, log="frechet" in arguments.figure)
    columns = [kimg for kimg, _ in next(iter(series.values())) if kimg % arguments.every == 0]
    print(f"| {arguments.figure}, kimg | " + " | ".join(f"{kimg:g}" for kimg in columns) + " |")
    print("|---|" + "---|" * len(columns))
    for name, points in series.items():
        values = dict(points)
        print(f"| {name} | " + " | ".join(f"{values[kimg]:.0f}" for kimg in columns) + " |")
    if floor is not None:
        print(f"\nReal against real: {floor:.1f}")


if __name__ == "__main__":
    main()
