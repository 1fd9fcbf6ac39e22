"""Tables as Markdown, LaTeX and HTML: what stands in them, and that they fit."""

from __future__ import annotations

import re
from pathlib import Path

from studies.collect import collect
from studies.findings import about, findings
from studies.layout import Column, Table, names_column, plain_column
from studies.pages import html, latex, markdown
from studies.tables import tables_of, write_tables
from tests.browsers import chromium
from tests.studies.fakes import a_result, a_start, a_twin, evaluated
from voxflate.config.presets import PRESETS
from voxflate.reports.results import Result, write_result

WARNINGS = (
    "random: 148 generated and 148 real samples are fewer than its 1280 features; Frechet distances are "
    "biased upwards, compare them at equal numbers only and read the KID beside them",
    "something else",
)
TABLE = Table(
    5,
    "Title & more",
    [
        names_column("Model", ["a_b", "c"]),
        plain_column("seeds", ["3", "3"]),
        Column("FD", ["1.0", "2.0 \N{PLUS-MINUS SIGN} 0.1", "3.0"], best=1),
        plain_column("FID", ["7", "8"], "paper"),
        plain_column("FID-2D", ["7.0", "8.0"], "paper"),
        plain_column("3D time", ["1 h", "2 h"], "images and time"),
    ],
    ["Few volumes."],
    ["A note."],
)


def test_a_table_has_marks_groups_and_its_costs_apart_in_markdown() -> None:
    text = markdown({5: TABLE}, [], [], [])
    assert "## Table 5. Title & more" in text
    assert "| Model | seeds | FD | paper: FID | paper: FID-2D |\n| --- | ---: | ---: | ---: | ---: |" in text
    assert "| a_b | 3 | **2.0 \N{PLUS-MINUS SIGN} 0.1** | 7 | 7.0 |" in text
    assert "Images and time:\n\n| Model | 3D time |\n| --- | ---: |\n| a_b | 1 h |\n| c | 2 h |\n" in text
    said = "Mean \N{PLUS-MINUS SIGN} standard deviation over seeds. Bold: best mean, not a test. Few volumes."
    assert f"\n{said}\n\nA note.\n" in text


def test_a_caption_of_latex_is_short_and_the_notes_are_comments() -> None:
    text = latex({5: TABLE}, [], [], [])
    assert (
        "\\caption{Title \\& more. Mean $\\pm$ standard deviation over seeds. Bold: best mean, not a test. "
        "Few volumes.}" in text
    )
    assert text.index("% A note.\n") < text.index("\\begin{table}")
    assert "A note" not in text.partition("\\begin{table}")[2]
    heads = [
        " &  &  & \\multicolumn{2}{c}{paper}",
        "\\cmidrule(lr){4-5}",
        "Model & seeds & FD & FID & FID-2D",
    ]
    assert f"{heads[0]} \\\\\n{heads[1]}\n{heads[2]} \\\\" in text
    assert "a\\_b & 3 & \\textbf{2.0 $\\pm$ 0.1} & 7 & 7.0 \\\\" in text
    assert "\\caption{Title \\& more: images and time (rows of Table~\\ref{tab:study-5}).}" in text


def test_the_paper_s_numbers_are_below_ours_in_latex() -> None:
    """Side by side, a table of thirteen columns would be printed in letters of four points."""
    results = [a_result("coca64-baseline", 0, 50), a_result("coca64-baseline-inflate-1", 0, 40)]
    lines = latex(tables_of(collect([*results, a_twin()])), [], [], []).splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("No Inflate & 1 & 50.0"))
    ours, paper, best, below = lines[start : start + 4]
    assert lines[start - 1].startswith("real vs real & -- & 20.0")
    assert paper == "in the paper &  & 104 & 92 & 112 & 102.7 &  &  \\\\"
    assert best.startswith("Inflate-1 & 1 & \\textbf{40.0} & ")
    assert below.startswith("in the paper &  & 60 & 83 & 76 & 73.0 & ")
    assert ours.count("&") == paper.count("&") == 7


def test_a_table_has_marks_and_groups_in_html() -> None:
    page = html({5: TABLE}, [], [], [])
    assert (
        '<th colspan="3"><span></span></th><th colspan="2" scope="colgroup"><span>paper</span></th>' in page
    )
    assert "<td><b>2.0 \N{PLUS-MINUS SIGN} 0.1</b></td><td>7</td>" in page
    main, costs = re.findall(r"<table>.*?</table>", page, re.DOTALL)
    assert "3D time" not in main
    assert '<th scope="row" class="name">c</th><td>2 h</td>' in costs
    assert "real vs real" not in costs
    assert 'class="group"' not in costs


def test_greek_letters_and_arrows_are_latex() -> None:
    results = [a_result("coca64-alpha-gan", 0, 50), a_result("coca64-baseline", 0, 60)]
    text = latex(tables_of(collect(results)), [], [], [])
    assert "3D-$\\alpha$-GAN & 1 & " in text
    assert "PSNR (dB) $\\uparrow$ & MS-SSIM $\\downarrow$" in text
    assert "alpha-GAN" not in text.replace("$\\alpha$", "")


def test_the_bias_of_distances_is_in_the_caption_and_other_warnings_are_not() -> None:
    results = [evaluated(a_result("coca64-baseline", 0, 50), WARNINGS)]
    results += [evaluated(a_start("own-none", 0, 50), WARNINGS)]
    tables = tables_of(collect(results))
    assert {1, 3, 6, 9} <= tables.keys()
    for number, table in tables.items():
        assert (f"{WARNINGS[0]}." in table.said) == (number != 8), number  # no distance
        assert "Warning: something else." in " ".join(table.notes)
        assert not any("biased upwards" in note for note in table.notes)


def a_study() -> list[Result]:
    """Every row of the paper with two seeds, and two of ours."""
    keys = [name for name in PRESETS if PRESETS[name].exact]
    results = [
        a_result(key, seed, 103.5 + place + 7.3 * seed) for place, key in enumerate(keys) for seed in range(2)
    ]
    own = [
        a_start(key, seed, 100 + 8.1 * seed)
        for key in ("own-preserving", "own-preserving-slices")
        for seed in range(2)
    ]
    twins = [a_twin(), *(a_twin(f"twin-{seed}", 12.3 + seed) for seed in range(2))]
    return [evaluated(each, WARNINGS) for each in (*results, *own)] + twins


def test_no_caption_of_a_whole_study_is_long() -> None:
    collection = collect(a_study())
    entries = collection.entries
    text = latex(tables_of(collection), findings(entries), about(entries), ["a note"])
    captions = re.findall(r"\\caption\{(.*)\}\n", text)
    assert len(captions) == 10 + 8 + 1  # Tables 8 and 10 have no budget of their own
    assert all(len(caption) < 500 for caption in captions[:-1])
    assert len(captions[-1]) < 900  # the rule of the claims
    for caption in captions:
        assert not re.search(r"SHA|-s0|source|thread", caption)


def test_a_whole_study_fits_the_page(tmp_path: Path) -> None:
    for result in a_study():
        write_result(result, tmp_path / "results" / f"{result.name}.json")
    write_tables(tmp_path / "results", tmp_path)
    with chromium("--hide-scrollbars") as browser:
        browser.get((tmp_path / "tables.html").as_uri())
        assert browser.execute_script("return window.innerWidth") == 1300
        assert browser.execute_script("return document.documentElement.scrollWidth") == 1300
        hidden = browser.execute_script(
            "return [...document.querySelectorAll('.scroll')].map(e => e.scrollWidth - e.clientWidth)"
        )
        assert set(hidden) == {0}
        names = browser.execute_script(
            "return [...document.querySelectorAll('tbody th')].map(e => [e.innerText, e.offsetHeight])"
        )
        assert all(height < 35 for name, height in names if len(name) < 24), "a name is not on one line"
