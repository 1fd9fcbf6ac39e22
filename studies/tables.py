"""Tables 1 to 8 in the paper's layout, 9 and 10 of our rows: `python -m studies.tables RESULTS --out FOLDER`.

Writes tables.md, tables.tex and tables.html: mean and standard deviation over seeds of distances, KID and
recall, the floor, the paper's numbers for comparison, parameters, kimg and time in 3D and in 2D, versions;
below, the paper's claims with paired tests.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from studies.budgets import budget_columns, budget_notes
from studies.collect import Collection, Entry, collect_folder, results_of
from studies.findings import Finding, about, findings
from studies.labels import in_order, label_of, strategy_and_module
from studies.layout import PAPER, Column, Table, metric_column, names_column, plain_column
from studies.machines import made_by, trained_on
from studies.notes import bias, learning_rates, measured_on, warnings
from studies.own import OWN
from studies.pages import html, latex, markdown
from studies.settings import twin_of, with_twins
from studies.starts import tables_of_starts
from voxflate._system.errors import VoxflateError
from voxflate._system.files import whole_file
from voxflate.config.paper_rows import PaperRow
from voxflate.config.presets import PRESETS
from voxflate.evaluation.seeds import Spread, spread
from voxflate.metrics.extractors.inception import frechet_name
from voxflate.reports.results import Result
from voxflate.reports.tables import DASH, UNKNOWN

_PLANES = ("ax", "sag", "cor", "avg")
TITLES = {
    1: "Inflation strategies on the baseline",
    2: "Inflation of the generator, of the discriminator, of both",
    3: "Architectures from scratch",
    4: "Architectures with Inflate-1",
    5: "Higher resolution",
    6: "Comparison with other models, heart rows",
    7: "Comparison with other models, brain rows",
    8: "PSNR and MS-SSIM",
}
_MODELS = [
    label_of(key, 6) for key in in_order((key for key, each in PRESETS.items() if 6 in each.row.labels), 6)
]
_COHORTS = {6: ("COCA", "heart"), 7: ("ADNI", "brain")}
_ABOUT_8 = (
    "MS-SSIM as in Kwon et al., between pairs of generated volumes: best if it equals that of real ones. No "
    "PSNR is best, because blur raises it. Arrows: what is better by the paper."
)
_OTHER_SCALE = "on its own data and at its own scale: compare only orders."


@dataclass(frozen=True)
class Measure:
    """A metric of a table, with the paper's number if the paper has it.

    Attributes:
        heading: As printed.
        metric: In an evaluation.
        paper: The paper's heading, number, and decimals of it; None if it does not measure this.
        digits: Significant digits of ours.
        of_twins: Whether the metric is of the 2D runs that a row starts from.
    """

    heading: str
    metric: str
    paper: tuple[str, Callable[[PaperRow], float | None], int] | None = None
    digits: int = 3
    of_twins: bool = False

    def ours(self, entries: Sequence[Entry], twins: Mapping[str, Result], group: str = "") -> Column:
        """The column of our rows."""
        found = [
            _over_twins(each, twins, self.metric) if self.of_twins else each.spread(self.metric)
            for each in entries
        ]
        absent = [UNKNOWN if self.of_twins and _twins_of(each, twins) is None else DASH for each in entries]
        real = self._real(entries, twins)
        column = metric_column(self.heading, self.metric, real, found, self.digits, group, absent)
        return replace(column, best=None) if self.of_twins else column  # rows may share a 2D run

    def _real(self, entries: Sequence[Entry], twins: Mapping[str, Result]) -> float | None:
        """The floor, real against real volumes: the same for all rows, but older evaluations lack some."""
        runs = results_of(entries)
        if self.of_twins:
            in_2d = [twin for twin in (twin_of(each, twins) for each in runs) if twin is not None]
            found = (twin.at(f"real-{self.metric}", twin.n_images) for twin in in_2d)
        else:
            evaluated = (each.evaluations[-1].metrics.get(self.metric) for each in runs)
            found = (each.real for each in evaluated if each is not None)
        return next((real for real in found if real is not None), None)

    def printed(self, rows: Sequence[PaperRow | None], group: str = PAPER) -> list[Column]:
        """The column of the paper's numbers, if it has them."""
        if self.paper is None:
            return []
        heading, of, decimals = self.paper
        values = [None if row is None else of(row) for row in rows]
        cells = [DASH if value is None else f"{value:.{decimals}f}" for value in values]
        return [plain_column(heading, cells, group)]


def tables_of(collection: Collection) -> dict[int, Table]:
    """Every table with at least one row, by its number."""
    found = {}
    for number in range(1, 8):
        keys = [key for key, each in collection.entries.items() if _in_table(each, number)]
        if any(key in PRESETS for key in keys):
            entries = [collection.entries[key] for key in in_order(keys, number)]
            found[number] = _table(number, entries, collection.twins)
    if {6, 7} & found.keys():
        found[8] = _table_8(collection)
    return {**found, **tables_of_starts(collection)}


def _in_table(entry: Entry, number: int) -> bool:
    return number in entry.paper.labels if entry.paper else number == 4 and entry.key in OWN


def _table(number: int, entries: Sequence[Entry], twins: Mapping[str, Result]) -> Table:
    measures = _measures(number, entries[0])
    rows = [entry.paper for entry in entries]
    counts, printed = ([], []) if number <= 2 else _counts(entries)
    columns = [
        *_names(number, entries),
        plain_column("seeds", [str(len(entry.results)) for entry in entries]),
        *counts,
        *(measure.ours(entries, twins) for measure in measures),
        *printed,
        *(column for measure in measures for column in measure.printed(rows)),
        *budget_columns(entries, twins),
    ]
    notes = [
        measured_on(entries),
        *warnings(entries, [entries[0].extractor]),
        *learning_rates([(label_of(entry.key, number), entry) for entry in entries]),
        *(_heads(entries) if counts else []),
        *(_measured_before(entries, twins) if number == 4 else []),
        *budget_notes(entries, twins),
        "The paper's numbers are FIDs (Inception) at the snapshot with the best FID (decision 0010), "
        f"{_OTHER_SCALE}",
        *_made_on(entries, twins),
    ]
    return Table(number, TITLES[number], columns, bias(entries), notes)


def _names(number: int, entries: Sequence[Entry]) -> list[Column]:
    if number != 2:
        return [names_column("Model", [label_of(entry.key, number) for entry in entries])]
    strategies, modules = zip(*(strategy_and_module(entry.key) for entry in entries), strict=True)
    return [names_column("Model", strategies), names_column("Module", modules, floor=DASH)]


def _counts(entries: Sequence[Entry]) -> tuple[list[Column], list[Column]]:
    """Parameters of ours and of the paper."""
    printed = [each.paper and each.paper.millions for each in entries]
    return (
        [plain_column("#param", [f"{each.parameters / 1e6:.3f}M" for each in entries])],
        [plain_column("#param", [DASH if each is None else f"{each:.3f}M" for each in printed], PAPER)],
    )


def _table_8(collection: Collection) -> Table:
    """One row per model, those of hearts and brains side by side; Tables 6 and 7 have their costs."""
    measures = [
        Measure("PSNR (dB)", "psnr", ("PSNR (dB) \N{UPWARDS ARROW}", lambda row: row.psnr, 2), 4),
        Measure(
            "MS-SSIM", "ms-ssim-kwon2019", ("MS-SSIM \N{DOWNWARDS ARROW}", lambda row: row.ms_ssim, 4), 4
        ),
    ]
    cohorts = {
        number: [each for each in collection.entries.values() if _in_table(each, number)]
        for number in _COHORTS
    }
    names = {each.key: label_of(each.key, number) for number, part in cohorts.items() for each in part}
    models = [name for name in _MODELS if name in names.values()]
    columns, notes = [names_column("Model", models)], []
    for number, part in cohorts.items():
        if not part:
            continue
        data, organ = _COHORTS[number]
        ours, rows = f"{data} ({organ} rows)", [each.paper for each in part]
        found = [
            plain_column("seeds", [str(len(each.results)) for each in part], ours),
            *(each.ours(part, collection.twins, ours) for each in measures),
            *(column for each in measures for column in each.printed(rows, f"{data}, paper")),
        ]
        places = [models.index(names[each.key]) + 1 for each in part]
        columns += [each.at(places, len(models) + 1) for each in found]
        rates = learning_rates([(names[each.key], each) for each in part])
        # No column depends on a feature network.
        said = [measured_on(part), *warnings(part, []), *rates]
        notes += [f"Rows of {organ}: {words}" for words in said]
    notes.append(f"The paper's numbers are {_OTHER_SCALE} Images and time: Tables 6 and 7.")
    notes += _made_on([*cohorts[6], *cohorts[7]], collection.twins)
    return Table(8, TITLES[8], columns, [_ABOUT_8], notes)


def _measures(number: int, entry: Entry) -> list[Measure]:
    """The paper's distances, and beside them what no distance should be shown without."""
    stem = frechet_name(entry.extractor)
    title = "FID" if stem == "fid" else "FD"

    def distance(place: int, plane: str) -> Measure:
        decimals = 1 if plane == "avg" else 0
        return Measure(
            f"{title}-{plane}", f"{stem}-{plane}", (f"FID-{plane}", lambda row: row.fid[place], decimals)
        )

    # Of the 2D runs that a row starts from.
    first = [Measure(f"{title}-2D", f"{stem}-2d", ("FID-2D", lambda row: row.fid_2d, 1), of_twins=True)]
    return [
        *(first if number == 4 else []),
        *(distance(place, plane) for place, plane in enumerate(_PLANES)),
        Measure("KID-avg", entry.kid),
        Measure("recall", entry.recall),
    ]


def _over_twins(entry: Entry, twins: Mapping[str, Result], metric: str) -> Spread | None:
    """The final metric of the 2D runs that a row starts from: over seeds, if each has one of its own."""
    found = [twin.at(metric, twin.n_images) for twin in _twins_of(entry, twins) or ()]
    known = [value for value in found if value is not None]
    return spread(known) if known and len(known) == len(found) else None


def _twins_of(entry: Entry, twins: Mapping[str, Result]) -> list[Result] | None:
    """The 2D runs of a row, each once; None if one is not known, or was measured by another version."""
    found = {}
    for run in entry.results:
        if run.twin:
            twin = twin_of(run, twins)
            if twin is None or twin.measurement != run.measurement:
                return None
            found[twin.name] = twin
    return list(found.values())


def _measured_before(entries: Sequence[Entry], twins: Mapping[str, Result]) -> list[str]:
    """Rows whose 2D metrics are of another version of the measurement."""
    pairs = [(run, twin_of(run, twins)) for run in results_of(entries)]
    names = [run.name for run, twin in pairs if twin is not None and twin.measurement != run.measurement]
    return [f"{UNKNOWN} in 2D: measured by another version than in 3D ({', '.join(names)})."] if names else []


def _heads(entries: Sequence[Entry]) -> list[str]:
    counts = sorted({entry.heads for entry in entries if entry.heads})
    said = ", ".join(f"{count / 1e6:.3f}M" for count in counts)
    if not counts:
        return []
    return [f"#param leaves out the slice discriminator, which only training needs: {said}."]


def _made_on(entries: Sequence[Entry], twins: Mapping[str, Result]) -> list[str]:
    """The machines and versions of our rows."""
    runs = with_twins(results_of(entries), twins)
    return [trained_on(runs), made_by(runs)]


def write_tables(results: Path, out: Path) -> tuple[dict[int, Table], list[Finding]]:
    """Make every table and write the three files.

    Raises:
        VoxflateError: If the folder has no results, or none for a row of the tables.
    """
    collection = collect_folder(results)
    tables, claims = tables_of(collection), findings(collection.entries)
    if not tables:
        raise VoxflateError(f"{results}: has no finished row of the tables; {' '.join(collection.notes)}")
    for name, write in (("tables.md", markdown), ("tables.tex", latex), ("tables.html", html)):
        with whole_file(out / name) as temporary:
            temporary.write_text(
                write(tables, claims, about(collection.entries), collection.notes), encoding="utf-8"
            )
    return tables, claims


def main() -> None:
    """Make the tables of a folder of results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        tables, claims = write_tables(arguments.results, arguments.out)
    except VoxflateError as error:
        sys.exit(f"voxflate: {error}")
    print(f"{len(tables)} tables written to {arguments.out}")
    for each in claims:
        by_kid = "" if each.kid == each.verdict else f" (KID {each.kid})"
        print(f"{each.verdict}: {each.claim}{by_kid}")


if __name__ == "__main__":
    main()
