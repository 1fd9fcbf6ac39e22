"""Tables 1 to 8 in the paper's layout, 9 and 10 of our rows: `python -m studies.tables RESULTS --out FOLDER`.

Writes tables.md, tables.tex and tables.html: mean and standard deviation over seeds of distances, KID and
recall, the floor, the paper's numbers for comparison, parameters, kimg and time in 3D and in 2D, versions;
below, the paper's claims with paired tests.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from studies.budgets import BUDGET, budget, budget_notes
from studies.cells import number_cell, spread_cell
from studies.collect import Collection, Entry, collect_folder, results_of
from studies.findings import Finding, about, findings
from studies.machines import made_by, trained_on
from studies.notes import learning_rates, measured_on, warnings
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
from voxflate.reports.parts import Table
from voxflate.reports.results import Result
from voxflate.reports.tables import DASH, FLOOR_ROW, UNKNOWN

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


@dataclass(frozen=True)
class Column:
    """One of our columns, with the paper's beside it if the paper has it.

    Attributes:
        heading: As printed; the paper's has the prefix "paper: ".
        metric: In an evaluation.
        paper: The paper's number; None if it does not measure this.
        digits: Significant digits.
        of_twins: Whether the metric is of the 2D runs that a row starts from.
    """

    heading: str
    metric: str
    paper: Callable[[PaperRow], float | None] | None = None
    digits: int = 3
    of_twins: bool = False

    def ours(self, entry: Entry, twins: Mapping[str, Result]) -> Spread | None:
        """A row's metric over seeds."""
        return _over_twins(entry, twins, self.metric) if self.of_twins else entry.spread(self.metric)

    def cell(self, entry: Entry, twins: Mapping[str, Result]) -> str:
        """The same as printed."""
        if self.of_twins and _twins_of(entry, twins) is None:
            return UNKNOWN
        return spread_cell(self.ours(entry, twins), self.digits)


_MODULES = ("G", "D", "G&D")


def _in_order(entries: Sequence[Entry], number: int) -> list[Entry]:
    """Rows in the paper's order: Table 2 strategy by strategy, Tables 6 to 8 with ours last."""

    def place(entry: Entry) -> tuple[int, str, int]:
        if entry.paper is None:
            return (2, "", 0)
        label = entry.paper.labels[number]
        if number == 2:
            strategy, _, module = label.partition(", ")
            return (0, strategy, _MODULES.index(module))
        if number in (6, 7):
            return (int(PRESETS[entry.key].values["model"] == "stylegan2"), "", 0)
        return (0, "", 0)

    return sorted(entries, key=place)


def tables_of(collection: Collection) -> dict[int, Table]:
    """Every table with at least one row, by its number."""
    found = {}
    for number in range(1, 8):
        entries = [each for each in collection.entries.values() if _in_table(each, number)]
        if any(each.paper for each in entries):
            found[number] = _table(number, _in_order(entries, number), collection)
    if {6, 7} & found.keys():
        found[8] = _table_8(collection)
    return {**found, **tables_of_starts(collection)}


def _in_table(entry: Entry, number: int) -> bool:
    return number in entry.paper.labels if entry.paper else number == 4 and entry.key in OWN


def _table(number: int, entries: Sequence[Entry], collection: Collection) -> Table:
    columns = _columns(number, entries[0])
    counted = number > 2
    rows = [_floor(entries, columns, counted, collection.twins)]
    rows += [_row(number, entry, columns, counted, collection.twins) for entry in entries]
    notes = [
        measured_on(entries),
        *warnings(entries, [entries[0].extractor]),
        *learning_rates([(_label(entry, number), entry) for entry in entries]),
        *(_heads(entries) if counted else []),
        *(_measured_before(entries, collection.twins) if number == 4 else []),
        *_made_on(entries, collection.twins),
    ]
    return Table(f"Table {number}. {TITLES[number]}", _headings(columns, counted), rows, notes)


def _table_8(collection: Collection) -> Table:
    entries = [e for e in collection.entries.values() if _in_table(e, 6) or _in_table(e, 7)]
    columns = [
        Column("PSNR (dB)", "psnr", lambda row: row.psnr, 4),
        Column("MS-SSIM", "ms-ssim-kwon2019", lambda row: row.ms_ssim, 4),
    ]
    notes = [
        "MS-SSIM as in Kwon et al., between pairs of generated volumes: best if it equals that of real ones."
    ]
    rows = []
    for number, cohort in ((6, "heart"), (7, "brain")):
        part = _in_order([entry for entry in entries if _in_table(entry, number)], number)
        if part:
            rows.append([cohort, *_floor(part, columns, False, collection.twins)])
            rates = learning_rates([(_label(entry, number), entry) for entry in part])
            # No column depends on a feature network.
            said = [measured_on(part), *warnings(part, []), *rates]
            notes += [f"Rows of {cohort}: {words}" for words in said]
        rows += [[cohort, *_row(number, entry, columns, False, collection.twins)] for entry in part]
    notes += _made_on(entries, collection.twins)
    return Table(f"Table 8. {TITLES[8]}", ["rows", *_headings(columns, False)], rows, notes)


def _columns(number: int, entry: Entry) -> list[Column]:
    """The paper's distances, and beside them what no distance should be shown without."""
    stem = frechet_name(entry.extractor)
    title = "FID" if stem == "fid" else "FD"

    def column(place: int, plane: str) -> Column:
        return Column(f"{title}-{plane}", f"{stem}-{plane}", lambda row: row.fid[place])

    # Of the 2D runs that a row starts from.
    first = [Column(f"{title}-2D", f"{stem}-2d", lambda row: row.fid_2d, of_twins=True)]
    return [
        *(first if number == 4 else []),
        *(column(place, plane) for place, plane in enumerate(_PLANES)),
        Column("KID-avg", entry.kid),
        Column("recall", entry.recall),
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


def _headings(columns: Sequence[Column], counted: bool) -> list[str]:
    count = ["#param"] if counted else []
    printed = [*count, *(each.heading for each in columns if each.paper)]
    ours = ["Model", "seeds", *count, *(each.heading for each in columns), *BUDGET]
    return [*ours, *(f"paper: {heading}" for heading in printed)]


def _row(
    number: int, entry: Entry, columns: Sequence[Column], counted: bool, twins: Mapping[str, Result]
) -> list[str]:
    count = [f"{entry.parameters / 1e6:.3f}M"] if counted else []
    cells = [each.cell(entry, twins) for each in columns]
    head = [_label(entry, number), str(len(entry.results)), *count]
    return [*head, *cells, *budget(entry, twins), *_paper(entry, columns, counted)]


def _label(entry: Entry, number: int) -> str:
    return entry.paper.labels[number] if entry.paper else OWN[entry.key].label


def _heads(entries: Sequence[Entry]) -> list[str]:
    counts = sorted({entry.heads for entry in entries if entry.heads})
    said = ", ".join(f"{count / 1e6:.3f}M" for count in counts)
    if not counts:
        return []
    return [f"#param leaves out the slice discriminator, which only training needs: {said}."]


def _floor(
    entries: Sequence[Entry], columns: Sequence[Column], counted: bool, twins: Mapping[str, Result]
) -> list[str]:
    """The floor, real against real volumes: the same for all rows, but older evaluations lack some."""
    runs = results_of(entries)
    evaluated = [each.evaluations[-1].metrics for each in runs]
    in_2d = [twin for twin in (twin_of(each, twins) for each in runs) if twin is not None]
    cells = []
    for column in columns:
        if column.of_twins:
            found = (twin.at(f"real-{column.metric}", twin.n_images) for twin in in_2d)
        else:
            found = (metrics[column.metric].real for metrics in evaluated if column.metric in metrics)
        cells.append(number_cell(next((real for real in found if real is not None), None), column.digits))
    dashes = [DASH] * (len(_headings(columns, counted)) - 2 - counted - len(cells))
    return [FLOOR_ROW, DASH, *([DASH] if counted else []), *cells, *dashes]


def _paper(entry: Entry, columns: Sequence[Column], counted: bool) -> list[str]:
    row = entry.paper
    printed = [each.paper for each in columns if each.paper]
    if row is None:
        return [DASH] * (len(printed) + counted)
    count = [DASH if row.millions is None else f"{row.millions:.3f}M"] if counted else []
    values = [of(row) for of in printed]
    return [*count, *(DASH if value is None else f"{value:g}" for value in values)]


def _made_on(entries: Sequence[Entry], twins: Mapping[str, Result]) -> list[str]:
    """What the rows cost, what the paper's numbers are, and the machines and versions of ours."""
    runs = with_twins(results_of(entries), twins)
    return [
        *budget_notes(entries, twins),
        "The paper's numbers are FIDs (Inception) at the snapshot with the best FID (decision 0010), on its "
        "own data and at its own scale: compare only orders.",
        trained_on(runs),
        made_by(runs),
    ]


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
