"""The HTML report of one or more runs: one file without external content.

Pictures and volumes are embedded, style and script are inline, and the page's content security policy forbids
any request. It states what was measured and against what. The caller, who knows the seeds and the intervals
(`reports.verdict`), decides which run is best; the page only orders single runs by their final metrics.
"""

from __future__ import annotations

import base64
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from voxflate._system.errors import VoxflateError
from voxflate._system.files import whole_file
from voxflate.drawing.sheets import curves, for_dark_pages
from voxflate.evaluation.evaluator import DIVERSITY
from voxflate.metrics.extractors.inception import frechet_name
from voxflate.reports.parts import Extras
from voxflate.reports.tables import significant

Figures = Mapping[str, float | int | str]
Curve = Sequence[tuple[float, float]]

_PLANES = {"ax": "axial", "sag": "sagittal", "cor": "coronal"}
_MEDIA_TYPES = {".png": "image/png", ".svg": "image/svg+xml", ".jpg": "image/jpeg"}


@dataclass(frozen=True)
class RunSummary:
    """One run in the report.

    Attributes:
        label: Short name, unique in the report.
        generator_parameters: Trainable parameters of G; None if unknown.
        discriminator_parameters: Trainable parameters of D; None if unknown.
        kimg: Thousands of real images shown; None for a folder of volumes.
        seconds: Training time without the evaluations at snapshots; None if unknown.
        curves: Metric name (as in `Evaluator.measure`) -> points (kimg, value).
        metrics: `Evaluator.measure` at the end.
        sheet_start: Sample sheet at kimg 0, PNG; None for an export.
        sheet_end: Sample sheet at the end, PNG.
        samples: Folder of the generated volumes; None if they were not written.
        description: A sentence on how this run differs from the others.
        end_caption: Caption of the second sheet; by default the state at the end.
    """

    label: str
    generator_parameters: int | None
    discriminator_parameters: int | None
    kimg: float | None
    seconds: float | None
    curves: Mapping[str, Curve]
    metrics: Figures
    sheet_start: Path | None
    sheet_end: Path
    samples: Path | None = None
    description: str = ""
    end_caption: str = ""


def ordered(runs: Sequence[RunSummary], metric: str) -> list[RunSummary]:
    """Runs by a metric of their final snapshots, lowest first.

    Args:
        runs: The runs.
        metric: Name of the metric, such as "frechet-mobilenetv2-avg".

    Raises:
        VoxflateError: If a run does not have the metric.
    """
    for run in runs:
        if metric not in run.metrics:
            raise VoxflateError(f"run {run.label}: has no {metric}; evaluate it first")
    return sorted(runs, key=lambda run: float(run.metrics[metric]))


def _single_runs(runs: Sequence[RunSummary], metric: str) -> list[str]:
    """The verdict on single runs without intervals: their order, which is not conclusive."""
    if len(runs) < 2:
        return []
    first, second = (f"{run.label}, {number_text(float(run.metrics[metric]))}" for run in runs[:2])
    return [
        f"No winner is named. At the final snapshot, {first} has the lowest mean distance, before {second}.",
        "There is one seed each and no intervals: another seed can reverse the order.",
    ]


def write_report(
    path: str | Path,
    title: str,
    runs: Sequence[RunSummary],
    real_sheet: str | Path,
    floor: Figures,
    introduction: str = "",
    settings: Mapping[str, str] | None = None,
    extras: Extras | None = None,
    verdict: Sequence[str] | None = None,
    curve_floor: Figures | None = None,
) -> None:
    """Write the report.

    Args:
        path: HTML file to write.
        title: Its heading.
        runs: At least one; shown in this order, which also sets their colours.
        real_sheet: Sample sheet of real volumes, PNG.
        floor: `Evaluator.real_floor` of the extractor that measured the runs.
        introduction: A paragraph below the heading: what was trained, on which volumes.
        settings: Name -> value, listed at the end, such as data, budget and command.
        extras: Tables, pictures, volumes to look through, the audit.
        verdict: The verdict on the runs' order, one sentence each; None if their metrics come from single
            runs without intervals.
        curve_floor: The floor to draw in the charts, if snapshots are measured in another way; None for
            `floor`.

    Raises:
        VoxflateError: If there are no runs, two have the same label, or a picture or metric is missing.
    """
    if not runs:
        raise VoxflateError(f"{path}: there are no runs to report; train one first")
    if len({run.label for run in runs}) < len(runs):
        raise VoxflateError(f"{path}: two runs have the same label; give each a unique one")
    prefix = frechet_name(str(floor["extractor"]))
    environment = Environment(
        loader=PackageLoader("voxflate.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    order = ordered(runs, f"{prefix}-avg")
    environment.filters.update(number=number_text, duration=_duration, embedded=_embedded)
    page = environment.get_template("report.html").render(
        title=title,
        introduction=introduction,
        runs=runs,
        order=order,
        verdict=_single_runs(order, f"{prefix}-avg") if verdict is None else verdict,
        real_sheet=Path(real_sheet),
        floor=floor,
        prefix=prefix,
        planes=_PLANES,
        charts=_charts(runs, floor if curve_floor is None else curve_floor, prefix),
        settings=settings or {},
        extras=extras or Extras(),
    )
    with whole_file(path) as temporary:
        temporary.write_text(with_contents(page), encoding="utf-8")


def with_contents(page: str) -> str:
    """Add a list of the sections below the page's header."""
    titles: list[str] = []

    def numbered(found: re.Match[str]) -> str:
        titles.append(found[1])
        return f'<h2 id="section-{len(titles)}">{found[1]}</h2>'

    page = re.sub(r"<h2>(.*?)</h2>", numbered, page)
    links = (f'<a href="#section-{number}">{title}</a>' for number, title in enumerate(titles, 1))
    return page.replace("</header>", f'</header>\n<nav class="contents">{" ".join(links)}</nav>', 1)


def _charts(runs: Sequence[RunSummary], floor: Figures, prefix: str) -> list[dict[str, str]]:
    """The curves of all runs, each drawn for a light and a dark page."""
    names = {f"{prefix}-avg": "Mean distance over the three planes"}
    names |= {f"{prefix}-{short}": f"Distance, {plane} plane" for short, plane in _PLANES.items()}
    names |= {f"{prefix}-avg-cut": "Mean distance after the background cut", DIVERSITY: "Diversity"}
    charts = []
    with tempfile.TemporaryDirectory() as folder:
        for metric, caption in names.items():
            series = {run.label: run.curves.get(metric, ()) for run in runs}
            if not any(series.values()):
                continue
            is_distance = metric != DIVERSITY
            light, dark = (Path(folder, f"{theme}.svg") for theme in ("light", "dark"))
            curves(
                series,
                light,
                "Frechet distance (log scale)" if is_distance else "mean L2 distance of pairs",
                floor=float(floor[metric]) if metric in floor else None,
                log=is_distance,
            )
            dark.write_text(for_dark_pages(light.read_text(encoding="utf-8")), encoding="utf-8")
            drawn = {"light": _embedded(light), "dark": _embedded(dark)}
            charts.append({"caption": caption, "metric": metric, **drawn})
    return charts


def _embedded(path: Path) -> str:
    """A picture as a data URL."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise VoxflateError(
            f"{path}: a picture of the report is missing ({error.strerror}); run the evaluation again"
        ) from error
    return f"data:{_MEDIA_TYPES[path.suffix.lower()]};base64,{base64.b64encode(content).decode('ascii')}"


def number_text(value: float | int | str | None) -> str:
    """Three significant digits; whole numbers and those from 100 without decimals; a dash if not measured.

    >>> number_text(99.97), number_text(0.000042), number_text(2.0)
    ('100', '4.20e-05', '2')
    """
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or value.is_integer() or abs(value) >= 100:
        return f"{value:,.0f}"
    return significant(value, 3)


def _duration(seconds: float | None) -> str:
    """Minutes and seconds, or hours and minutes; a dash if unknown."""
    if seconds is None:
        return "\N{EN DASH}"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
