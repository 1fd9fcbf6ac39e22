import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from voxflate._system.errors import VoxflateError
from voxflate.drawing.sheets import sample_sheet
from voxflate.reports.page import RunSummary, ordered, write_report

AVG = "frechet-random-avg"
PROVENANCE = {"n-real": 40, "n-generated": 16, "extractor": "random", "weights-sha256": "ab" * 32, "seed": 0}
PLANES = ("ax", "sag", "cor", "avg", "ax-cut", "avg-cut")
FLOOR = (
    {f"frechet-random-{plane}": 20.5 for plane in PLANES} | PROVENANCE | {"pairwise-l2": 24.0, "splits": 10}
)


class Page(HTMLParser):
    """Addresses the page would fetch, its text, and whether its tags close."""

    VOID = frozenset({"meta", "img", "source", "br"})

    def __init__(self, path):
        super().__init__()
        self.addresses, self.text, self.open, self.seen = [], "", [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        self.addresses += [value for name, value in attributes if name in {"src", "href", "srcset"}]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data if self.open and self.open[-1] not in {"style", "script"} else ""

    @property
    def words(self):
        return " ".join(self.text.split())


@pytest.fixture
def sheet(tmp_path):
    path = tmp_path / "sheet.png"
    sample_sheet(np.zeros((2, 1, 4, 8, 8), np.float32), path)
    return path


@pytest.fixture
def make_run(sheet):
    def make(label, values, **changes):
        curve = [(float(kimg), value) for kimg, value in enumerate(values)]
        metrics = {f"frechet-random-{plane}": values[-1] for plane in PLANES} | PROVENANCE
        run = RunSummary(
            label=label,
            generator_parameters=123456,
            discriminator_parameters=654321,
            kimg=len(values) - 1.0,
            seconds=75.0,
            curves={AVG: curve},
            metrics=metrics | {"pairwise-l2": 16.0},
            sheet_start=sheet,
            sheet_end=sheet,
            samples=Path("runs/demo") / label / "samples",
        )
        return replace(run, **changes)

    return make


def test_the_page_fetches_nothing(tmp_path, sheet, make_run):
    write_report(tmp_path / "report.html", "Starts", [make_run("none", [9.0, 8.0])], sheet, FLOOR)
    page = Page(tmp_path / "report.html")
    assert page.open == []
    assert "script" not in page.seen  # there is no volume to look through
    assert "link" not in page.seen
    elsewhere = [address for address in page.addresses if not address.startswith("#section-")]
    assert elsewhere
    assert all(address.startswith("data:image/") for address in elsewhere)
    assert not re.search(r"@import|url\(", (tmp_path / "report.html").read_text(encoding="utf-8"))


def test_runs_are_ordered_by_their_final_metrics_not_by_earlier_snapshots(make_run):
    early = make_run("early", [500.0, 10.0, 10.0, 60.0])
    late = make_run("late", [1.0, 90.0, 90.0, 40.0])
    assert [run.label for run in ordered([early, late], AVG)] == ["late", "early"]


def test_the_page_names_no_winner_of_single_runs_and_repeats_the_caller_s_verdict(tmp_path, sheet, make_run):
    runs = [make_run("none", [90.0, 90.0, 40.0]), make_run("inflate-1", [60.0, 60.0, 60.0])]
    write_report(tmp_path / "single.html", "Starts", runs, sheet, FLOOR)
    words = Page(tmp_path / "single.html").words
    assert "No winner is named" in words
    assert "none, 40 has the lowest mean distance, before inflate-1, 60" in words
    write_report(tmp_path / "told.html", "Starts", runs, sheet, FLOOR, verdict=["inflate-1 is nearest."])
    words = Page(tmp_path / "told.html").words
    assert "inflate-1 is nearest." in words
    assert "No winner" not in words


def test_the_page_states_what_was_measured(tmp_path, sheet, make_run):
    run = make_run("none", [90.0, 80.0, 71.25])
    write_report(
        tmp_path / "report.html",
        "Starts",
        [run],
        sheet,
        FLOOR,
        "On brains.",
        settings={"command": "voxflate demo"},
    )
    words = Page(tmp_path / "report.html").words
    for expected in ("On brains.", "71.2", "20.5", "24", "123,456", "654,321", "1 min 15 s", "ab" * 32):
        assert expected in words
    assert "16 generated with 40 real volumes" in words
    assert str(run.samples) in words
    assert "voxflate demo" in words


def test_the_page_says_how_large_the_floor_s_halves_were_if_it_knows(tmp_path, sheet, make_run):
    path, runs = tmp_path / "report.html", [make_run("none", [2.0, 1.0])]
    write_report(path, "Starts", runs, sheet, FLOOR)
    assert "16 real volumes with the 40 others, mean of 10 random halvings" in Page(path).words
    older = {key: value for key, value in FLOOR.items() if not key.startswith("n-")}
    write_report(path, "Starts", runs, sheet, older)
    assert "one half of the real volumes with the other, mean of 10 random halvings" in Page(path).words


def test_the_page_says_that_it_shows_scans_and_praises_no_distance(tmp_path, sheet, make_run):
    write_report(tmp_path / "report.html", "Starts", [make_run("none", [708.0])], sheet, FLOOR)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("Contains pictures of the real volumes") == 1
    assert page.index("Contains pictures") < page.index("708")
    (box,) = re.findall(r"\.verdict \{(.*?)\}", page)
    assert "--mark" not in box  # green
    assert "--tint" not in page


def test_every_section_is_in_the_contents_at_the_top(tmp_path, sheet, make_run):
    write_report(tmp_path / "report.html", "Starts", [make_run("none", [2.0, 1.0])], sheet, FLOOR)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    sections = re.findall(r'<h2 id="(section-\d+)">(.*?)</h2>', page)
    assert len(sections) >= 4
    assert "<h2>" not in page
    assert re.findall(r'<a href="#(section-\d+)">(.*?)</a>', page) == sections
    assert page.index("<nav") < page.index("<h2 ")


def test_text_is_escaped(tmp_path, sheet, make_run):
    run = make_run("a<b>&", [2.0, 1.0])
    write_report(tmp_path / "report.html", "<Starts>", [run], sheet, FLOOR)
    assert "b" not in Page(tmp_path / "report.html").seen
    assert "a<b>&" in Page(tmp_path / "report.html").text


def test_a_run_without_curves_counts_by_its_final_figures(tmp_path, sheet, make_run):
    run = make_run("none", [50.0], curves={})
    write_report(tmp_path / "report.html", "Starts", [run], sheet, FLOOR)
    assert "Over training" not in Page(tmp_path / "report.html").words


def test_what_cannot_be_reported_is_refused_and_nothing_is_written(tmp_path, sheet, make_run):
    good, out = make_run("none", [2.0, 1.0]), tmp_path / "report.html"
    for runs, message in (
        ([], "no run"),
        ([good, good], "same label"),
        ([replace(good, curves={}, metrics={})], f"has no {AVG}"),
        ([replace(good, sheet_end=tmp_path / "gone.png")], r"gone\.png: a picture of the report is missing"),
    ):
        with pytest.raises(VoxflateError, match=message):
            write_report(out, "Starts", runs, sheet, FLOOR)
    assert not out.exists()
