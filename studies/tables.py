"""Tables 1 to 8 in the paper's layout, 9 and 10 of our rows: `python -m studies.tables RESULTS --out FOLDER`.

Writes tables.md, tables.tex and tables.html: mean and standard deviation over seeds, the floor, the paper's
numbers for comparison, parameters, kimg, seconds, versions; below, the paper's claims with paired tests.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from studies.cells import number_cell, spread_cell
from studies.claims import Finding, findings
from studies.collect import Collection, Entry, collect_folder
from studies.machines import machine_of
from studies.own import OWN
from studies.pages import html, latex, markdown
from studies.starts import tables_of_starts
from voxflate._system.errors import VoxflateError
from voxflate._system.files import whole_file
from voxflate.config.paper_rows import PaperRow
from voxflate.config.presets import PRESETS
from voxflate.evaluation.seeds import Spread, spread
from voxflate.metrics.extractors.inception import frechet_name
from voxflate.reports.parts import Table
from voxflate.reports.tables import DASH, FLOOR_ROW, PLUS_MINUS, duration

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
    """One of our columns, with the paper's beside it.

    Attributes:
        heading: As printed; the paper's has the prefix "paper: ".
        ours: A row's metric over seeds.
        paper: The paper's number.
        digits: Significant digits.
    """

    heading: str
    ours: Callable[[Entry], Spread | None]
    paper: Callable[[PaperRow], float | None]
    digits: int = 3


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
    columns = _distances(entries[0].extractor)
    if number == 4:
        columns = [_fid_2d(collection), *columns]
    counted = number > 2
    headings = ["Model", "seeds", *(["#param"] if counted else []), *(each.heading for each in columns)]
    headings += ["best kimg", "kimg", "time", "version"]
    headings += [*(["paper: #param"] if counted else []), *(f"paper: {each.heading}" for each in columns)]
    rows = [_floor(entries[0], columns, counted)]
    for entry in entries:
        label = entry.paper.labels[number] if entry.paper else OWN[entry.key].label
        count = [f"{entry.parameters / 1e6:.3f}M"] if counted else []
        cells = [spread_cell(each.ours(entry), each.digits) for each in columns]
        rows.append(
            [
                label,
                str(len(entry.results)),
                *count,
                *cells,
                *_budget(entry),
                *_paper(entry, columns, counted),
            ]
        )
    return Table(f"Table {number}. {TITLES[number]}", headings, rows, _notes(entries))


def _table_8(collection: Collection) -> Table:
    entries = [e for e in collection.entries.values() if _in_table(e, 6) or _in_table(e, 7)]
    columns = [
        Column("PSNR (dB)", lambda entry: entry.spread("psnr"), lambda row: row.psnr, 4),
        Column("MS-SSIM", lambda entry: entry.spread("ms-ssim-kwon"), lambda row: row.ms_ssim, 4),
    ]
    notes = [
        "MS-SSIM as in Kwon et al., between pairs of generated volumes: best if it equals that of real ones."
    ]
    rows = []
    for number, cohort in ((6, "heart"), (7, "brain")):
        part = _in_order([entry for entry in entries if _in_table(entry, number)], number)
        if part:
            rows.append([cohort, *_floor(part[0], columns, False)])
            notes.append(f"Rows of {cohort}: {_measured_on(part)}")
        for entry in part:
            assert entry.paper is not None  # our own rows are in Table 4
            cells = [spread_cell(each.ours(entry), each.digits) for each in columns]
            printed = _paper(entry, columns, False)
            rows.append(
                [
                    cohort,
                    entry.paper.labels[number],
                    str(len(entry.results)),
                    *cells,
                    *_budget(entry),
                    *printed,
                ]
            )
    headings = [
        "rows",
        "Model",
        "seeds",
        *(each.heading for each in columns),
        "best kimg",
        "kimg",
        "time",
        "version",
    ]
    headings += [f"paper: {each.heading}" for each in columns]
    return Table(f"Table 8. {TITLES[8]}", headings, rows, [*notes, *_made_on(entries)])


def _distances(extractor: str) -> list[Column]:
    stem = frechet_name(extractor)
    title = "FID" if stem == "fid" else "FD"

    def column(place: int, plane: str) -> Column:
        return Column(f"{title}-{plane}", lambda e: e.spread(f"{stem}-{plane}"), lambda row: row.fid[place])

    return [column(place, plane) for place, plane in enumerate(_PLANES)]


def _fid_2d(collection: Collection) -> Column:
    """The final distance of the 2D runs that a row starts from: over seeds, if each has one of its own."""

    def ours(entry: Entry) -> Spread | None:
        names = dict.fromkeys(str(each.twin["name"]) for each in entry.results if each.twin)
        twins = [collection.twins.get(name) for name in names]
        metric = f"{frechet_name(entry.extractor)}-2d"
        values = [None if twin is None else twin.at(metric, twin.n_images) for twin in twins]
        known = [value for value in values if value is not None]
        return spread(known) if known and len(known) == len(values) else None

    return Column("FID-2D" if "inception" in collection.extractors else "FD-2D", ours, lambda row: row.fid_2d)


def _floor(entry: Entry, columns: Sequence[Column], counted: bool) -> list[str]:
    """The floor: real against real volumes."""
    metrics = entry.results[0].evaluations[-1].metrics
    stem = frechet_name(entry.extractor)
    names = {"PSNR (dB)": "psnr", "MS-SSIM": "ms-ssim-kwon"}
    cells = []
    for column in columns:
        metric = metrics.get(names.get(column.heading, f"{stem}-{column.heading.rpartition('-')[2]}"))
        cells.append(number_cell(None if metric is None else metric.real, column.digits))
    dashes = [DASH] * (4 + len(columns) + (1 if counted else 0))
    return [FLOOR_ROW, DASH, *([DASH] if counted else []), *cells, *dashes]


def _budget(entry: Entry) -> list[str]:
    """Kimg of the measured snapshots, of the training, its time, and the version that trained it."""
    kimg = [each.evaluations[-1].facts["n_images"] / 1000 for each in entry.results]
    seconds = statistics.fmean(each.seconds for each in entry.results)
    versions = sorted({_version(each.versions) for each in entry.results})
    total = entry.results[0].settings["training.kimg"]
    return [f"{statistics.fmean(kimg):.3g}", f"{total:g}", duration(seconds), ", ".join(versions)]


def _version(versions: Mapping[str, str]) -> str:
    """The release, and which code it was if the result says so."""
    source = versions.get("source")
    return f"{versions['voxflate']} ({source})" if source else versions["voxflate"]


def _paper(entry: Entry, columns: Sequence[Column], counted: bool) -> list[str]:
    row = entry.paper
    if row is None:
        return [DASH] * (len(columns) + (1 if counted else 0))
    count = [DASH if row.millions is None else f"{row.millions:.3f}M"] if counted else []
    values = [each.paper(row) for each in columns]
    return [*count, *(DASH if value is None else f"{value:g}" for value in values)]


def _notes(entries: Sequence[Entry]) -> list[str]:
    """Facts that the numbers depend on, for rows of one cohort."""
    return [_measured_on(entries), *_made_on(entries)]


def _measured_on(entries: Sequence[Entry]) -> str:
    """How the rows of one cohort were measured."""
    facts = entries[0].results[0].evaluations[-1].facts
    chosen = (
        "the snapshot with the smallest KID to held-out volumes"
        if facts.get("snapshot") == "best"
        else "the last snapshot"
    )
    return (
        f"{facts['n-generated']} generated and {facts['n-real']} real volumes of "
        f"{'x'.join(map(str, facts['shape']))}; features of {facts['extractors'][0]['name']}; {chosen}; "
        f"mean {PLUS_MINUS} standard deviation over seeds. Data (SHA-256) {str(facts['data'])[:12]}."
    )


def _made_on(entries: Sequence[Entry]) -> list[str]:
    """What the paper's numbers are, and the machines of ours."""
    machines = sorted({machine_of(each) for entry in entries for each in entry.results})
    return [
        "The paper's numbers are FIDs (Inception) on its own data and at its own scale: compare only orders.",
        f"Trained on: {'; '.join(machines)}.",
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
            temporary.write_text(write(tables, claims, collection.notes), encoding="utf-8")
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
        print(f"{each.verdict}: {each.claim}")


if __name__ == "__main__":
    main()
