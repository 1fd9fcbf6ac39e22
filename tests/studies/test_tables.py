"""From results to the paper's tables, claims and figures, without any run."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from studies.claims import CLAIMS, Claim
from studies.collect import collect
from studies.findings import findings, judge
from studies.tables import tables_of, write_tables
from tests.studies.fakes import a_result, a_start, a_twin, evaluated
from voxflate._system.errors import VoxflateError
from voxflate.config.paper_rows import PAPER_ROWS
from voxflate.config.presets import PRESETS
from voxflate.evaluation import Metric
from voxflate.reports.results import Result, read_results, write_result

DASH = "\N{EN DASH}"
NONE, ONE, TWO = "coca64-baseline", "coca64-baseline-inflate-1", "coca64-baseline-inflate-2"


def seeds(preset: str, *distances: float) -> list[Result]:
    return [a_result(preset, seed, distance) for seed, distance in enumerate(distances)]


def written(folder: Path, results: list[Result]) -> Path:
    for result in results:
        write_result(result, folder / f"{result.name}.json")
    return folder


def test_a_row_has_mean_deviation_the_paper_s_numbers_and_the_version() -> None:
    found = collect([*seeds(NONE, 100, 110), *seeds(ONE, 70, 80, 90)])
    table = tables_of(found)[1]
    rows = {row[0]: dict(zip(table.headings, row, strict=True)) for row in table.rows}
    assert list(rows) == ["real vs real", "No Inflate", "Inflate-1"]
    row = rows["Inflate-1"]
    assert row["FD-avg"] == "80 \N{PLUS-MINUS SIGN} 10"
    assert (row["seeds"], row["paper: FID-avg"], row["paper: FID-ax"]) == ("3", "73.0", "60")
    assert (row["best kimg"], row["3D kimg"], row["3D time"]) == ("40", "60", "0.25 h")
    assert rows["real vs real"]["FD-avg"] == "20.0"
    assert "Trained with voxflate 0.1.0." in table.notes


def test_no_distance_is_without_kid_and_recall() -> None:
    results = [a_result(name, 0, 50 + number) for number, name in enumerate(PRESETS) if PRESETS[name].exact]
    tables = tables_of(collect([*results, a_twin()]))
    for number in range(1, 8):
        headings = list(tables[number].headings)
        place = headings.index("FD-avg")
        assert headings[place + 1 : place + 3] == ["KID-avg", "recall"]
        assert not {"paper: KID-avg", "paper: recall"} & {*headings}
        rows = [dict(zip(headings, row, strict=True)) for row in tables[number].rows]
        assert (rows[0]["KID-avg"], rows[0]["recall"]) == ("-1.0e-05", "0.900")
        assert all(row["recall"] == "0.400" for row in rows[1:])
    three = tables_of(collect(seeds(NONE, 100, 110)))[3]
    assert (
        dict(zip(three.headings, three.rows[1], strict=True))["KID-avg"]
        == "0.1050 \N{PLUS-MINUS SIGN} 0.0071"
    )


def test_results_without_kid_and_recall_still_have_tables() -> None:
    absent = {"kid-random-avg": None, "recall-random-avg": None}
    old, new = (evaluated(a_result(NONE, 0, 100), metrics=absent), a_result(ONE, 0, 80))
    table = tables_of(collect([old, new]))[1]
    rows = [dict(zip(table.headings, row, strict=True)) for row in table.rows]
    assert [(row["KID-avg"], row["recall"]) for row in rows] == [
        ("-1.0e-05", "0.900"), (DASH, DASH), ("0.0800", "0.400")
    ]  # fmt: skip


def test_a_row_says_which_code_made_it() -> None:
    result = a_result(NONE, 0, 50, versions={"voxflate": "0.1.0", "source": "0123456789ab"})
    assert "Trained with voxflate 0.1.0, source 0123456789ab." in tables_of(collect([result]))[1].notes
    other = a_result(ONE, 0, 50, versions={"voxflate": "0.1.0", "source": "ffff"})
    said = (
        f"Trained with voxflate 0.1.0, source 0123456789ab: {NONE}-s0; voxflate 0.1.0, source ffff: {ONE}-s0."
    )
    assert said in tables_of(collect([result, other]))[1].notes


def test_a_row_says_which_machine_trained_it() -> None:
    other = a_result(ONE, 0, 50, machine={"processor": "another", "threads": 2})
    notes = tables_of(collect([a_result(NONE, 0, 50), other]))[1].notes
    assert f"Trained on: a CPU, 1 thread(s): {NONE}-s0; another, 2 thread(s): {ONE}-s0." in notes


def test_every_table_of_the_paper_has_its_rows_in_its_layout() -> None:
    results = [a_result(name, 0, 50 + number) for number, name in enumerate(PRESETS) if PRESETS[name].exact]
    tables = tables_of(collect([*results, a_twin()]))
    assert list(tables) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert {number: len(table.rows) - 1 for number, table in tables.items() if number < 8} == {
        1: 6, 2: 9, 3: 6, 4: 6, 5: 2, 6: 6, 7: 6,
    }  # fmt: skip
    for table in tables.values():
        assert {len(row) for row in table.rows} == {len(table.headings)}
    assert "#param" not in tables[1].headings
    assert "#param" in tables[3].headings
    four = dict(zip(tables[4].headings, tables[4].rows[1], strict=True))
    assert (four["FD-2D"], four["paper: FID-2D"]) == ("12.0", "7.7")
    assert tables[2].headings[:3] == ["Model", "Module", "seeds"]
    assert [row[:2] for row in tables[2].rows[:5]] == [
        ["real vs real", DASH], ["Inflate-1", "G"], ["Inflate-1", "D"], ["Inflate-1", "G&D"],
        ["Inflate-ASC", "G"],
    ]  # fmt: skip
    for number in (6, 7):
        assert [row[0] for row in tables[number].rows[1:]] == MODELS


MODELS = [
    "3D-WGAN-GP", "3D-VAE-GAN", "3D-\N{GREEK SMALL LETTER ALPHA}-GAN",
    "3D-\N{GREEK SMALL LETTER ALPHA}-WGAN-GP", "3D-StyleGAN2", "Split&Shuffle (Ours)",
]  # fmt: skip


def test_table_8_has_hearts_and_brains_side_by_side() -> None:
    results = [a_result(name, 0, 50 + number) for number, name in enumerate(PRESETS) if PRESETS[name].exact]
    table = tables_of(collect([*results, a_twin()]))[8]
    assert [row[0] for row in table.rows] == ["real vs real", *MODELS]
    assert [(each.group, each.heading) for each in table.columns[1:6]] == [
        ("COCA (heart rows)", "seeds"), ("COCA (heart rows)", "PSNR (dB)"), ("COCA (heart rows)", "MS-SSIM"),
        ("COCA, paper", "PSNR (dB) \N{UPWARDS ARROW}"), ("COCA, paper", "MS-SSIM \N{DOWNWARDS ARROW}"),
    ]  # fmt: skip
    rows = {row[0]: dict(zip(table.headings, row, strict=True)) for row in table.rows}
    found = [
        rows["3D-StyleGAN2"][f"{data}: PSNR (dB)"] for data in ("COCA (heart rows)", "ADNI (brain rows)")
    ]
    baselines = [list(PRESETS).index(f"{data}-baseline") for data in ("coca64", "adni64")]
    assert found == [f"{20 - (50 + number) / 100:.2f}" for number in baselines]
    ours = rows["Split&Shuffle (Ours)"]
    assert ours["ADNI, paper: PSNR (dB) \N{UPWARDS ARROW}"] == "28.57"
    # As printed, with zeros at the end.
    assert rows[MODELS[2]]["ADNI, paper: MS-SSIM \N{DOWNWARDS ARROW}"] == "0.8750"
    assert rows["3D-StyleGAN2"]["ADNI, paper: PSNR (dB) \N{UPWARDS ARROW}"] == "27.80"


def test_a_model_of_one_cohort_has_dashes_in_the_other() -> None:
    results = [a_result("coca64-wgan-gp", 0, 50), a_result("coca64-baseline", 0, 60)]
    results += [a_result("adni64-baseline", seed, 70) for seed in range(2)]
    table = tables_of(collect(results))[8]
    assert [row[0] for row in table.rows[1:]] == ["3D-WGAN-GP", "3D-StyleGAN2"]
    seeds = [each.cells for each in table.columns if each.heading == "seeds"]
    assert seeds == [[DASH, "1", "1"], [DASH, DASH, "2"]]
    only = tables_of(collect(results[2:]))[8]
    assert [row[0] for row in only.rows[1:]] == ["3D-StyleGAN2"]
    assert {each.group.partition(" ")[0].strip(",") for each in only.columns[1:]} == {"ADNI"}


@pytest.mark.parametrize("row", PAPER_ROWS)
def test_the_paper_s_numbers_have_its_decimals(row: str) -> None:
    printed = PAPER_ROWS[row]
    table = tables_of(collect([a_result(row, 0, 50)]))[min(printed.labels)]
    cells = dict(zip(table.headings, table.rows[1], strict=True))
    *planes, mean = printed.fid
    assert [cells[f"paper: FID-{plane}"] for plane in ("ax", "sag", "cor")] == [
        f"{each:.0f}" for each in planes
    ]
    assert cells["paper: FID-avg"] == f"{mean:.1f}"


def test_the_best_mean_of_our_rows_is_marked() -> None:
    table = tables_of(collect([*seeds(NONE, 100, 110), *seeds(ONE, 70, 80), *seeds(TWO, 90, 85)]))[1]
    marked = {each.heading: each.best for each in table.columns if each.best is not None}
    # Row 2, after the floor and No Inflate; all rows have the same recall, so that none is best.
    assert marked == dict.fromkeys(("FD-ax", "FD-sag", "FD-cor", "FD-avg", "KID-avg"), 2)
    assert "Bold: best mean, not a test." in table.said
    alone = tables_of(collect(seeds(NONE, 100, 110)))[1]
    assert all(each.best is None for each in alone.columns)
    assert "Bold: best mean, not a test." not in alone.said
    values = {"wgan-gp": (0.3, 0.6, 19.0), "baseline": (0.2, 0.75, 20.0), "vae-gan": (0.1, 0.5, 18.0)}
    better = []
    for name, (recall, similar, psnr) in values.items():
        metrics = {
            "recall-random-avg": Metric(recall, real=0.9),
            "ms-ssim-kwon2019": Metric(similar, real=0.7),
            "psnr": Metric(psnr, real=21.0),
        }
        better.append(evaluated(a_result(f"coca64-{name}", 0, 50), metrics=metrics))
    tables = tables_of(collect(better))
    found = [
        (each.heading, tables[number].rows[each.best][0])
        for number in (6, 8)
        for each in tables[number].columns
        if each.best is not None
    ]
    assert found == [("recall", "3D-WGAN-GP"), ("MS-SSIM", "3D-StyleGAN2")]


def test_the_distance_of_the_2d_runs_is_that_of_every_seed() -> None:
    own = [a_start("own-preserving", seed, 50) for seed in range(3)]
    twins = [a_twin(f"twin-{seed}", distance) for seed, distance in enumerate((10, 30, 80))]
    shared = seeds(ONE, 70, 80)

    def cells(results: list[Result]) -> list[str]:
        table = tables_of(collect(results))[4]
        return [row[table.headings.index("FD-2D")] for row in table.rows]

    assert cells([*own, *shared, *twins, a_twin()]) == [
        "3.00", "12.0", "40 \N{PLUS-MINUS SIGN} 36"
    ]  # fmt: skip
    assert cells([*own, *shared, *twins[:2], a_twin()])[-1] == "?"


def test_a_2d_run_that_was_trained_again_is_not_that_of_the_row() -> None:
    own = [a_start("own-preserving", seed, 50) for seed in range(2)]
    again = replace(a_twin("twin-1"), weights_sha256="another")
    table = tables_of(collect([*own, a_result(ONE, 0, 70), a_twin("twin-0"), again, a_twin()]))[4]
    paper, ours = (dict(zip(table.headings, row, strict=True)) for row in table.rows[1:])
    headings = ("FD-2D", "2D kimg", "2D + 3D time")
    assert [paper[each] for each in headings] == ["12.0", "200", "0.50 h"]
    assert [ours[each] for each in headings] == ["?", "?", "?"]
    said = "?: the result of the 2D run has other weights than this run started from (own-preserving-s1)."
    assert said in table.notes
    assert not any("by name" in note for note in table.notes)


def test_a_2d_run_without_a_hash_is_joined_by_its_name_and_the_table_says_so() -> None:
    unknown = replace(a_twin(), weights_sha256=None)
    for results in (
        [a_result(ONE, 0, 70), unknown],
        [a_result(ONE, 0, 70, twin={"name": "twin-x"}), a_twin()],
    ):
        table = tables_of(collect(results))[4]
        row = dict(zip(table.headings, table.rows[1], strict=True))
        assert (row["FD-2D"], row["2D + 3D time"]) == ("12.0", "0.50 h")
        assert any(note.endswith(f"the weights is not on record: {ONE}-s0.") for note in table.notes)


def test_a_2d_run_that_was_measured_by_another_version_has_a_time_but_no_distance() -> None:
    new = evaluated(a_result(ONE, 0, 70), measurement=2)
    table = tables_of(collect([new, a_twin()]))[4]
    row = dict(zip(table.headings, table.rows[1], strict=True))
    assert (row["FD-2D"], row["2D + 3D time"]) == ("?", "0.50 h")
    assert f"? in 2D: measured by another version than in 3D ({ONE}-s0)." in table.notes


def test_seeds_of_a_row_of_the_paper_from_several_2d_runs_are_told() -> None:
    other = a_result(ONE, 1, 80, twin={"name": "twin-x", "weights_sha256": "another"})
    assert collect([*seeds(ONE, 70, 80), *seeds(NONE, 100), a_twin()]).notes == ()
    (note,) = collect([a_result(ONE, 0, 70), other, *seeds(NONE, 100), a_twin()]).notes
    assert note.startswith(f"{ONE}: its seeds started from 2 2D runs with different weights")


def test_the_parameters_leave_out_the_slice_discriminator() -> None:
    networks = {"generator": 217_000, "slice_discriminator": 591_000}
    table = tables_of(
        collect([*seeds(ONE, 70), a_start("own-preserving-slices", 0, 50, parameters=networks)])
    )[4]
    assert [row[2] for row in table.rows] == ["\N{EN DASH}", "0.291M", "0.217M"]
    assert "#param leaves out the slice discriminator, which only training needs: 0.591M." in table.notes


def test_table_8_says_how_each_cohort_was_measured() -> None:
    brain = a_result("adni64-baseline", 0, 50, data="b" * 64)
    brain = evaluated(brain, data="b" * 64, shape=[32, 32, 32], **{"n-real": 991})
    notes = tables_of(collect([*seeds(NONE, 100), brain]))[8].notes
    hearts, brains = (next(n for n in notes if n.startswith(f"Rows of {c}: ")) for c in ("heart", "brain"))
    assert "148 real volumes of 16x32x32" in hearts
    assert "dddddddddddd" in hearts
    assert "991 real volumes of 32x32x32" in brains
    assert "bbbbbbbbbbbb" in brains


def test_what_does_not_compare_is_left_out_and_said() -> None:
    other = a_result(TWO, 0, 5)
    facts = {**other.evaluations[0].facts, "n-generated": 10}
    odd = a_result(TWO, 0, 5, evaluations=[type(other.evaluations[0])(other.evaluations[0].metrics, facts)])
    short = a_result("coca64-baseline-inflate-3", 0, 5, n_images=7000)
    foreign = a_result("", 0, 5, name="something")
    elsewhere = a_result("coca64-baseline-inflate-asc", 0, 5, data="e" * 64)
    found = collect([*seeds(NONE, 100, 110), *seeds(ONE, 70, 80), odd, short, foreign, elsewhere])
    assert set(found.entries) == {NONE, ONE}
    notes = " ".join(found.notes)
    assert "other number of generated volumes (148 and 10)" in notes
    assert "stopped after 7 of 60 kimg" in notes
    assert "coca64-baseline-inflate-asc-s0 is left out: it was evaluated with other data" in notes
    assert "something is left out: its settings match no row" in notes


def test_a_preset_that_was_changed_into_another_start_is_no_row() -> None:
    changed = a_result(ONE, 0, 5)
    settings = {**changed.settings, "start.strategy": "preserving"}
    found = collect([a_result(ONE, 0, 5, settings=settings), *seeds(NONE, 1)])
    assert set(found.entries) == {NONE}


@pytest.mark.parametrize(
    ("near", "far", "strict", "verdict"),
    [
        ([50, 61, 70], [80, 90, 101], True, "holds"),
        ([80, 90, 101], [50, 61, 70], True, "does not hold"),
        ([50, 90, 70], [80, 60, 101], True, "not settled, in its order"),
        ([50], [90], True, "not settled, in its order"),
        # Its mean is smaller by chance, and it might be much worse.
        ([50, 90, 70], [80, 60, 101], False, "not settled, in the margin"),
        ([81, 89, 102], [80, 90, 101], False, "holds"),  # worse by 0.3, at most by 3.2
        ([81, 89, 116], [80, 90, 101], False, "not settled, in the margin"),  # worse by 5, or by 27
        ([80, 90, 101], [50, 61, 70], False, "does not hold"),
        ([101, 111, 121.2], [100, 110, 120], False, "holds"),  # worse by 1.1, which is significant and small
        ([112, 121, 133], [100, 110, 120], False, "not settled, beyond it"),  # by 9.5 to 14.5
        ([80, 60, 101], [50, 90, 70], False, "not settled, beyond it"),
        ([], [90, 91], True, "not tested"),
    ],
)
def test_a_claim_takes_a_paired_test(near: list[float], far: list[float], strict: bool, verdict: str) -> None:
    found = collect([*seeds(ONE, *near), *seeds(NONE, *far)])
    assert judge(Claim("text", [(ONE, NONE)], strict, tables=(1,)), found.entries).verdict == verdict


def test_claims_name_rows_that_exist() -> None:
    named = {name for claim in CLAIMS for pair in claim.pairs for name in pair}
    assert named <= set(PRESETS)
    assert all(near != far for claim in CLAIMS for near, far in claim.pairs)
    assert {number for claim in CLAIMS for number in claim.tables} == {*range(1, 8)}
    for claim in CLAIMS:
        assert {*re.findall(r"\d", claim.title.partition("(Table")[2])} == {*map(str, claim.tables)}
        # Every row is in one of them: a claim names it as printed there.
        rows = [PAPER_ROWS[name] for pair in claim.pairs for name in pair]
        assert all({*row.labels} & {*claim.tables} for row in rows), claim.title
    assert [len(claim.pairs) for claim in CLAIMS[-3:]] == [1, 5, 5]  # Tables 5, 6 and 7


def test_a_claim_is_about_one_table_if_it_can_be() -> None:
    """Tables may have different numbers of seeds; the one with fewer would keep both from being settled."""
    several = [claim.title for claim in CLAIMS if len(claim.tables) > 1]
    assert [title.partition(" (")[0] for title in several] == [
        "Split&Shuffle and Inflate-1 together are better than either alone",
        "Split&Shuffle with Inflate-1 is the best of all",
    ]
    for words in ("with half the parameters", "maintains the quality", "Split without shuffle"):
        found = [claim.tables for claim in CLAIMS if words in claim.text]
        assert found == [(3,), (4,)]


def test_the_paper_s_own_numbers_satisfy_its_claims() -> None:
    for claim in CLAIMS:
        for near, far in claim.pairs:
            assert PAPER_ROWS[near].fid[3] < PAPER_ROWS[far].fid[3], claim.text


def test_files_are_made_from_the_folder_alone(tmp_path: Path) -> None:
    results = [*seeds(NONE, 100, 112, 120), *seeds(ONE, 70, 80, 90), a_twin()]
    folder = written(tmp_path / "results", results)
    tables, claims = write_tables(folder, tmp_path / "tables")
    assert list(tables) == [1, 2, 3, 4, 6, 8]
    assert claims[0].verdict == "holds"
    text = (tmp_path / "tables" / "tables.md").read_text()
    assert "| Inflate-1 | 3 |" in text
    assert "| Inflation helps: Inflate-1 against no inflation (Table 1) | holds |" in text
    tex = (tmp_path / "tables" / "tables.tex").read_text()
    assert tex.count("\\begin{table}") == 12  # six tables, five of them with their budget, and the claims
    assert tex.count("{") == tex.count("}")
    first, budget = (part.partition("\\end{tabular}")[0] for part in tex.split("\\begin{tabular}")[1:3])
    assert "KID-avg & recall \\\\" in first  # no columns of the paper: its numbers are below ours
    assert "in the paper &  & 60 & 83" in first
    assert "kimg" not in first
    assert "Model & best kimg & 3D kimg & 2D kimg & 3D time & 2D + 3D time" in budget
    assert "Inflate-1 & 40 & 60 & 200 & 0.25 h & 0.50 h" in budget
    assert "real vs real" not in budget
    page = (tmp_path / "tables" / "tables.html").read_text()
    assert "Split&amp;Shuffle" in page
    first = [path.read_bytes() for path in sorted((tmp_path / "tables").iterdir())]
    assert findings(collect(read_results(folder)).entries) == claims
    write_tables(folder, tmp_path / "again")
    assert [path.read_bytes() for path in sorted((tmp_path / "again").iterdir())] == first


def test_no_results_and_no_rows_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(VoxflateError, match="has no results"):
        write_tables(tmp_path, tmp_path / "out")
    with pytest.raises(VoxflateError, match="no finished row"):
        write_tables(written(tmp_path / "results", [a_twin()]), tmp_path / "out")


def test_the_page_of_the_study_has_the_tables_of_its_results(tmp_path: Path) -> None:
    docs = Path(__file__).parents[2] / "docs"
    write_tables(docs / "benchmarks" / "study", tmp_path)
    made = set((tmp_path / "tables.md").read_text().splitlines())
    page = (docs / "measurements" / "study.md").read_text().splitlines()
    rows = [line for line in page if line.startswith("| ")]
    assert len(rows) > 10
    assert [line for line in rows if line not in made] == []
