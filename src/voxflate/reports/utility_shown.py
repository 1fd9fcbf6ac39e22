"""Shows utility.json as tables and as a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json
from voxflate.drawing.charts import over_subjects
from voxflate.evaluation.utility.cells import BOTH, GENERATED, PRETRAINED, REAL
from voxflate.evaluation.utility.summary import AGREEMENT, BLIND
from voxflate.reports.parts import Table

KIND, FORMAT = "voxflate-utility", 1
CHART = "utility.png"
NAMES = {
    REAL: "real alone",
    GENERATED: "generated alone",
    BOTH: "real and generated",
    PRETRAINED: "generated, then real",
    BLIND: "no scan: most common answer",
    AGREEMENT: "generated volumes",
}
"""Arm -> its name."""

_DASH, _PLUS_MINUS, _DELTA = "\N{EN DASH}", "\N{PLUS-MINUS SIGN}", "\N{GREEK CAPITAL LETTER DELTA}"

Content = Mapping[str, Any]
Row = Mapping[str, Any]


def read_utility(path: Path) -> Content:
    """Read a utility.json.

    Raises:
        VoxflateError: If it is not one, or of another version.
    """
    content = read_json(path)
    if not isinstance(content, Mapping) or (content.get("kind"), content.get("format")) != (KIND, FORMAT):
        raise VoxflateError(f"{path}: was not written by this version; run voxflate utility again")
    return content


def tables_of(content: Content) -> list[Table]:
    """A table per task (rows are settings, columns metrics), and one for how well scans match targets."""
    found = []
    for task in content["facts"]["tasks"]:
        rows = [row for row in content["rows"] if row["task"] == task]
        measured = [row for row in rows if row["arm"] != AGREEMENT]
        found.append(_table(f"Utility: {task}", "trained on", measured, _below(content)))
        if agreement := [row for row in rows if row["arm"] == AGREEMENT]:
            note = _agreement_note(agreement[0], task)
            found.append(_table(f"Agreement: {task}", "looking at", agreement, [note]))
    return found


def draw(content: Content, path: Path) -> None:
    """Draw the main metric of every task over the number of real subjects."""
    panels = {}
    for task, metric in content["leading"].items():
        rows = [row for row in content["rows"] if row["task"] == task and row["metric"] == metric]
        curves = {
            NAMES[arm]: [
                (row["real"], row["value"], row["low"], row["high"]) for row in rows if row["arm"] == arm
            ]
            for arm in (REAL, BOTH, PRETRAINED)
        }
        levels = {
            NAMES[row["arm"]]: (row["value"], row["low"], row["high"])
            for row in rows
            if row["arm"] in (GENERATED, BLIND)
        }
        panels[metric] = (curves, levels)
    over_subjects(panels, path)


def _table(caption: str, heading: str, rows: Sequence[Row], notes: Sequence[str]) -> Table:
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    settings: dict[tuple[str, int, int], dict[str, Row]] = {}
    for row in rows:
        settings.setdefault((row["arm"], row["real"], row["generated"]), {})[row["metric"]] = row
    lines = [
        [NAMES[arm], str(real or _DASH), str(generated or _DASH), *(_cell(found[name]) for name in metrics)]
        for (arm, real, generated), found in settings.items()
    ]
    return Table(caption, [heading, "real subjects", "generated", *metrics], lines, notes)


def _cell(row: Row) -> str:
    """Value and spread over seeds; its interval; its difference to real alone."""
    text = _number(row["value"])
    if row["deviation"] is not None:
        text += f" {_PLUS_MINUS} {row['deviation']:.2g}"
    if row["low"] is not None:
        text += f"\n[{_number(row['low'])}, {_number(row['high'])}]"
    if row["difference"] is not None:
        text += f"\n{_DELTA} {row['difference']:+.3g}"
        if row["difference_low"] is not None:
            text += f" [{row['difference_low']:+.3g}, {row['difference_high']:+.3g}]"
    return text


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _below(content: Content) -> list[str]:
    """How it was measured, and warnings."""
    facts = content["facts"]
    return [
        f"{facts['seeds']} networks per row, {facts['steps']} steps of {facts['batch']} volumes each; "
        f"{facts['n-heldout']} held-out volumes of {facts['n-heldout-subjects']} subjects. HD95 is in mm. "
        f"{_PLUS_MINUS}: standard deviation over seeds. In brackets: 95% intervals over subjects and seeds. "
        f"{_DELTA}: difference to real alone, paired by subject and seed, with as many real subjects "
        "(generated alone: with the most).",
        *content["notes"],
    ]


def _agreement_note(row: Row, task: str) -> str:
    what = "the generated masks" if task == "mask" else "the requested labels, evenly distributed"
    return (
        f"Predictions of networks trained on {row['real']} real subjects for {row['generated']} generated "
        f"scans, compared with {what}. Compare with the same networks on held-out real scans, above."
    )
