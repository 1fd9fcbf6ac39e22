"""Which runs share a row, which rows share a table, and when a winner is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.exports import export_generator
from tests.reports.test_evaluations import voxflate
from tests.strategies import run_config, write_prepared
from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json
from voxflate.config.identity import setting_key
from voxflate.config.schema import RunConfig
from voxflate.config.toml import from_values, save_config, with_values
from voxflate.config.values import flat
from voxflate.evaluation import Assessment, Metric
from voxflate.evaluation.assessment import MEASUREMENT
from voxflate.reports.copying import highest, may_copy
from voxflate.reports.evaluations import setting_of
from voxflate.reports.latex import latex
from voxflate.reports.markdown import markdown
from voxflate.reports.next_step import how_to_compare
from voxflate.reports.notes import notes, why_separate
from voxflate.reports.rows import EvaluatedRun, difference, grouped, separated
from voxflate.reports.tables import beside, table
from voxflate.reports.verdict import verdict
from voxflate.runs.log import METRICS_NAME
from voxflate.runs.snapshots import snapshot_path
from voxflate.training.run import train_run

AVG = "frechet-random-avg"
FACTS: dict[str, Any] = {
    "n-generated": 100, "n-real": 40, "data": "d" * 64, "shape": [8, 8, 8], "slices": 1, "seed": 0,
    "replicates": 10, "n_images": 8000, "snapshot": "newest", "training_seconds": 60.0, "truncation": 1.0,
    "budget_kimg": 8.0, "measurement": MEASUREMENT,
    "extractors": [{"name": "random", "weights-sha256": "a" * 64, "features": 5}],
}  # fmt: skip


def a_run(label: str, value: float, seed: int | None = 0, setting: str = "", **facts: Any) -> EvaluatedRun:
    metrics = {AVG: Metric(value, value - 5, value + 5, 2.0, 20.0, 15.0, 25.0), "psnr": Metric(value / 10)}
    assessment = Assessment(metrics, FACTS | facts)
    return EvaluatedRun(label, 1_500_000, assessment, setting=setting or label, seed=seed)


def three(name: str, *values: float, **facts: Any) -> list[EvaluatedRun]:
    return [a_run(f"{name}-s{seed}", value, seed, name, **facts) for seed, value in enumerate(values)]


def test_seeds_of_a_setting_are_one_row_with_mean_deviation_and_number() -> None:
    rows = grouped([*three("inflate-1", 70, 80, 90), *three("none", 100, 110)])
    assert [(row.label, len(row.runs)) for row in rows] == [("inflate-1", 3), ("none", 2)]
    found = rows[0].spread(AVG)
    assert found is not None
    assert (found.mean, found.deviation, found.n) == (80, 10, 3)
    headings, lines = table(rows)
    cell = lines[1][headings.index("Frechet-avg")]
    assert lines[1][:2] == ["inflate-1", "3"]
    assert cell == "80.0 \N{PLUS-MINUS SIGN} 10.0"
    assert "over 2 seeds" in " ".join(notes(rows))


def test_one_generator_is_one_seed_whatever_seed_its_evaluations_name() -> None:
    again = three("plain", 70, 70, generator_sha256="a" * 64)
    assert [len(row.runs) for row in grouped(again)] == [1, 1]
    with pytest.raises(VoxflateError, match="--group mine: two of its runs have the same weights"):
        grouped([], {"mine": again})


def test_a_table_names_the_truncation_and_what_is_unknown_of_foreign_volumes() -> None:
    cut = grouped([a_run("cut", 50, truncation=0.7)])
    for text in (" ".join(notes(cut)), markdown([cut]), latex([cut])[latex([cut]).index("\\caption") :]):
        assert "8x8x8, truncation 0.7" in text or "voxels, truncation 0.7;" in text
    assert "truncation 1," in notes(grouped([a_run("whole", 50)]))[0]
    facts = {key: value for key, value in FACTS.items() if key != "truncation"}
    volumes = a_run("theirs", 50, None, source="volumes", n_images=None, snapshot="")
    volumes = replace(volumes, assessment=replace(volumes.assessment, facts=facts | {"source": "volumes"}))
    assert "truncation" not in notes(grouped([volumes]))[0]
    # Volumes have no truncation: they may be compared with whatever the rows of a table use.
    assert [[row.label for row in each] for each in separated(grouped([volumes]) + cut)] == [
        ["cut", "theirs"]
    ]
    whole = grouped([a_run("whole", 50)])
    assert difference(whole, cut) == "other truncation (1 and 0.7)"


def test_a_table_without_intervals_says_so() -> None:
    none = notes(grouped([a_run("a", 50, replicates=0)]))[0]
    assert "No bootstrap intervals (--replicates 0); in brackets in the first row: range" in none
    assert "95%" not in none
    assert "(10 draws)" in notes(grouped([a_run("a", 50)]))[0]
    run = a_run("a", 50, replicates=0)
    halves = Metric(50, None, None, None, 20.0, 15.0, 25.0)
    metrics = {AVG: halves, "psnr": Metric(9.0, real=8.0, real_low=8.0, real_high=8.0)}
    headings, lines = table(grouped([replace(run, assessment=replace(run.assessment, metrics=metrics))]))
    assert lines[0][headings.index("PSNR")] == "8.000"
    assert lines[0][headings.index("Frechet-avg")] == "20.0\n[15.0, 25.0]"
    mixed = notes(grouped([run, a_run("b", 60)]))[0]
    assert "of one run (10 draws; none of a); in the first row, for" in mixed
    assert "over seeds" not in mixed  # there are none


def test_what_to_publish_with_a_distance_is_beside_it() -> None:
    names = {"precision-random-avg": 0.9, "recall-random-avg": 0.4, "kid-random-heldout-avg": 0.02}
    facts = {"twin_n_images": 30_000, "twin_seconds": 50.0, "slice_discriminator_parameters": 590_985}

    def audited(run: EvaluatedRun, flagged: int) -> EvaluatedRun:
        metrics = run.assessment.metrics | {name: Metric(value) for name, value in names.items()}
        assessment = replace(run.assessment, metrics=metrics)
        audit = {"n-generated": 100, "flagged": dict.fromkeys(range(flagged)), "false-alarms": 0.02}
        return replace(run, assessment=assessment, audit=audit)

    seeds = [audited(run, count) for run, count in zip(three("ours", 50, 60, **facts), (1, 3), strict=True)]
    rows = grouped([*seeds, a_run("other", 70)])
    headings, lines = beside(rows)
    floor, ours, other = (dict(zip(headings, line, strict=True)) for line in lines)
    assert floor["flagged"] == "2.0%"  # false alarms
    assert (ours["precision"], ours["recall"], ours["KID-heldout"]) == (
        "0.900 \N{PLUS-MINUS SIGN} 0.0", "0.400 \N{PLUS-MINUS SIGN} 0.0", "0.0200 \N{PLUS-MINUS SIGN} 0.0",
    )  # fmt: skip
    assert ours["flagged"] == "2.0% \N{PLUS-MINUS SIGN} 1.4%"
    assert [ours[name] for name in ("2D kimg", "3D kimg", "2D time", "3D time")] == [
        "30",
        "8",
        "50 s",
        "60 s",
    ]
    assert [other[name] for name in ("precision", "flagged", "2D kimg")] == [
        "\N{EN DASH}",
        "\N{EN DASH}",
        "?",
    ]
    none = beside(grouped([a_run("none", 50, twin_n_images=0)]))[1][1]
    assert none[headings.index("2D kimg") :] == ["\N{EN DASH}", "8", "\N{EN DASH}", "60 s"]
    text = " ".join(notes(rows))
    assert "#param leaves out the slice discriminator, which only training needs: 0.591M." in text
    second = latex([rows]).split("\\begin{table}")[2]
    assert "KID-heldout" in second
    assert "2.0\\% $\\pm$ 1.4\\%" in second


def near(run: EvaluatedRun, value: float, real: float = 24.9, half: float | None = 0.16) -> EvaluatedRun:
    """With a PSNR to the nearest real volume; `half` of the interval of that of people, 40 of them."""
    ends = (None, None) if half is None else (real - half, real + half)
    metrics = {**run.assessment.metrics, "psnr-nearest": Metric(value, None, None, None, real, *ends)}
    return replace(run, assessment=replace(run.assessment, metrics=metrics))


def test_a_row_nearer_to_real_volumes_than_people_are_does_not_win_without_a_warning() -> None:
    rows = grouped([near(a_run("honest", 60), 25.9)], {"copied": [near(a_run("volumes", 20), 34.7)]})
    found = verdict(rows, AVG)
    assert found.sentences[0].startswith(f"copied is closest to the real volumes by {AVG}, 20 (against")
    assert found.sentences[0].endswith("; copied may copy real volumes.")
    (warning,) = [each for each in notes(rows) if "voxflate audit" in each]
    assert warning in found.sentences
    assert warning.startswith("Warning: copied may copy real volumes")
    assert "34.7 dB, between people 24.9 dB" in warning
    assert latex([rows]).count("Caution: ``copied'' may consist of copies of real volumes.") == 2
    alone = grouped([near(a_run("copied", 20), 34.7)])
    assert any("may copy" in each for each in notes(alone))
    audit = {"n-generated": 8, "flagged": dict.fromkeys(range(6)), "verdict": "more"}
    (warning,) = verdict(grouped([replace(a_run("audited", 20), audit=audit)]), AVG).sentences
    assert "audited may copy real volumes: the audit flags 75.0% of its volumes, clearly more" in warning
    clean = replace(a_run("clean", 20), audit={**audit, "verdict": "unclear"})
    assert verdict(grouped([clean]), AVG).sentences == ()


@pytest.mark.parametrize(
    ("value", "half", "suspicious"),
    [
        (27.5, None, False),  # the mean volume of a set is up to 2.6 dB nearer than people
        (28.0, None, True),
        (28.0, 0.16, True),  # a standard deviation of 0.5 dB
        (28.0, 0.5, False),  # of 1.6 dB
        (30.0, 0.5, True),
    ],
)
def test_how_near_is_suspicious_depends_on_the_spread_of_people(
    value: float, half: float | None, suspicious: bool
) -> None:
    rows = grouped([near(a_run("a", 50), value, half=half)])
    assert any("may copy" in each for each in notes(rows)) == suspicious
    seeds = [near(run, each) for run, each in zip(three("b", 50, 60), (24.0, value), strict=True)]
    assert may_copy(grouped(seeds)[0]) == (value > 27.9)  # one seed is enough


def test_the_spread_of_many_people_is_that_of_the_pairs_that_are_compared() -> None:
    metric = Metric(30.0, None, None, None, 24.9, 24.8, 25.0)
    assert highest(metric, 40) == pytest.approx(27.9)  # 3 dB
    assert highest(metric, 5000) == highest(metric, 500) == pytest.approx(28.32, abs=0.01)


def test_several_scans_of_a_person_do_not_widen_the_spread_of_people() -> None:
    """The floor's interval is over people: 40 volumes of 10 people have half of the deviation."""
    run = near(a_run("a", 50), 28.5, half=0.5)
    assert not may_copy(grouped([run])[0])
    people = replace(run, assessment=replace(run.assessment, facts={**run.facts, "n-real-subjects": 10}))
    assert may_copy(grouped([people])[0])


def in_folder(run: EvaluatedRun) -> EvaluatedRun:
    """With snapshots after 4 and 8 kimg, of which the first one is the best, and the evaluated one."""
    folder = Path("runs", run.label)
    rows = [
        {"n_images": images, "extractor": "random", "kid-random-heldout-avg": images / 1}
        for images in (4000, 8000)
    ]
    for images in (4000, 8000, run.facts["n_images"]):
        path = snapshot_path(folder, images)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (folder / METRICS_NAME).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return replace(run, run=folder)


def command(*runs: EvaluatedRun) -> list[str]:
    return how_to_compare(separated(grouped(runs)))


def test_no_command_is_named_that_fails_or_repeats_an_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    many = in_folder(a_run("many", 50))
    without = in_folder(a_run("without", 60, n_images=16_000))
    snapshot_path(Path("runs/without"), 8000).unlink()
    assert command(many, without) == []
    cut = replace(many, label="cut", assessment=a_run("cut", 50, truncation=0.7).assessment)
    assert command(many, cut) == []  # of one run
    lone = in_folder(a_run("lone", 60, truncation=0.7))
    (said,) = command(many, lone, in_folder(a_run("third", 60, truncation=0.5)))
    assert "voxflate evaluate runs/lone --set evaluation.samples=100 --extractor" in said
    assert command(many, replace(lone, other_data="is other data")) != []  # measures many again
    assert command(replace(many, other_data="a"), replace(lone, other_data="a")) == []
    old = in_folder(a_run("old", 60, measurement=1))
    for runs in ((many, old), (old, many)):
        (said,) = command(*runs)
        assert "voxflate evaluate runs/old" in said
    earlier = in_folder(a_run("earlier", 60, n_images=4000, truncation=0.7))
    (said,) = command(earlier, in_folder(a_run("small", 60, n_images=4000)))
    assert "runs/small --snapshot 4 " in said  # its newest one is after 8


def test_separate_tables_name_the_command_that_joins_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    many = in_folder(a_run("many", 50, truncation=0.7))
    few = a_run("few", 60, None, source="volumes", n_images=None, snapshot="", **{"n-generated": 60})
    (said,) = command(many, few)
    start = "To put tables 1 and 2 together: "
    asked = "--set evaluation.samples=60 --truncation 0.7 --extractor random"
    assert said == f"{start}voxflate evaluate runs/many {asked}"
    fewer = in_folder(a_run("fewer", 60, **{"n-generated": 40, "n-real": 40}))
    (said,) = command(many, fewer)  # the one with fewer volumes is measured again
    asked = "--set evaluation.samples=100 --truncation 0.7 --extractor random"
    assert said == f"{start}voxflate evaluate runs/fewer {asked}"
    best = in_folder(a_run("best", 60, snapshot="best", truncation=0.7))
    (said,) = command(best, many)
    assert said.startswith(f"{start}voxflate evaluate runs/many --snapshot best")
    longer = in_folder(a_run("longer", 60, truncation=0.7, n_images=16_000))
    (said,) = command(many, longer)
    assert said.startswith(f"{start}voxflate evaluate runs/longer --snapshot 8 ")
    assert command(many, a_run("others", 60, data="e" * 64)) == []
    export = a_run("an-export", 60)
    (said,) = command(many, export)
    assert said.startswith(f"{start}evaluate an-export again, with --set evaluation.samples=100 --truncation")


def test_other_data_of_any_seed_is_said_below_the_table() -> None:
    runs = three("inflate-1", 70, 80, 90)
    said = "data: is not the data that run was trained on"
    rows = grouped([*runs[:2], replace(runs[2], other_data=said)])
    assert len(rows) == 1
    assert f"Warning: {said}." in notes(rows)
    assert said in markdown([rows])
    assert f"% Warning: {said}." in latex([rows])


def test_the_seed_alone_does_not_make_a_setting() -> None:
    first, second = (RunConfig(training={"seed": seed, "threads": seed}, data=str(seed)) for seed in (0, 1))
    other = RunConfig(training={"kimg": 7.0})
    key = [setting_key(flat(each.model_dump(mode="json"))) for each in (first, second, other)]
    assert key[0] == key[1] != key[2]
    twins = [{"training.kimg": 1, "training.seed": 0}, {"training.kimg": 1, "training.seed": 5}]
    values = flat(first.model_dump(mode="json"))
    assert setting_key(values, twins[0]) == setting_key(values, twins[1]) != key[0]


def test_runs_of_other_2d_runs_stay_apart_when_these_are_moved(tmp_path: Path) -> None:
    config = RunConfig(start={"strategy": "preserving"})
    for name, kimg in (("short", 5), ("long", 100)):
        save_config(from_values({"training.phase": "2d", "training.kimg": kimg}), tmp_path / "2d" / name)
    runs = [with_values(config, {"start.twin": str(tmp_path / "2d" / name)}) for name in ("short", "long")]
    assert len(set(map(setting_of, runs))) == 2
    (tmp_path / "2d").rename(tmp_path / "elsewhere")
    assert len({setting_of(config), *map(setting_of, runs)}) == 3


def test_a_run_remembers_the_settings_of_its_2d_run(tmp_path: Path) -> None:
    """Its evaluations before and after the 2D run was trained further, or moved, are of one setting."""
    data = write_prepared(tmp_path / "data")
    twin, run = tmp_path / "2d", tmp_path / "3d"
    train_run(run_config(data, training__phase="2d", training__kimg=0.004), twin)
    config = run_config(data, start__strategy="preserving", start__twin=str(twin), training__kimg=0.008)
    train_run(config, run, stop_at=4)
    before = setting_of(config, run)
    assert before == setting_of(config)
    train_run(run_config(data, training__phase="2d", training__kimg=0.008), twin, resume=True)
    assert setting_of(config, run) == before != setting_of(config)
    twin.rename(tmp_path / "elsewhere")
    assert setting_of(config, run) == before
    train_run(config, run, resume=True)
    assert setting_of(config, run) == before
    export_generator(run, tmp_path / "export")
    for source, words in ((run, ()), (tmp_path / "export", ("--data", data.root, "--out", tmp_path / "out"))):
        voxflate("evaluate", source, *words, "--replicates", 0, "--volume-extractor", "none", "--no-tsne")
    for folder in (run / "evaluation" / "001-newest", tmp_path / "out"):
        assert read_json(folder / "metrics.json")["facts"]["setting"] == before


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"training__lr_g": 0.001}, False),
        ({"training__kimg": 0.012}, True),
        ({"evaluation__samples": 6, "training__kernels": "plain"}, True),
    ],
)
def test_a_setting_that_changed_half_way_makes_another_row(
    change: dict[str, Any], same: bool, tmp_path: Path
) -> None:
    data = write_prepared(tmp_path / "data")
    config = run_config(data, training__kimg=0.008)
    train_run(config, tmp_path / "changed", stop_at=4)
    config = run_config(data, **{"training__kimg": 0.008, **change})
    train_run(config, tmp_path / "changed", resume=True)
    train_run(config, tmp_path / "plain")
    assert (setting_of(config, tmp_path / "changed") == setting_of(config, tmp_path / "plain")) == same


def test_a_repeated_seed_is_no_second_seed() -> None:
    rows = grouped([a_run("a", 1, 0, "same"), a_run("b", 2, 0, "same"), a_run("c", 3, 1, "same")])
    assert [len(row.runs) for row in rows] == [2, 1]


@pytest.mark.parametrize(
    "facts",
    [
        {"n-generated": 10},
        {"data": "e" * 64},
        {"n_images": 4000},
        {"snapshot": "best"},
        {"slices": 3},
        {"truncation": 0.7},
        {"extractors": [{"name": "random", "weights-sha256": "b" * 64, "features": 5}]},
    ],
)
def test_rows_that_do_not_compare_are_in_tables_of_their_own(facts: dict[str, Any]) -> None:
    """A run of 10 samples must not come "nearest" before one of 100."""
    rows = grouped([a_run("many", 50), a_run("lone", 10, **facts), *three("few", 11, 12, **facts)])
    tables = separated(rows)
    assert [[row.label for row in each] for each in tables] == [["many"], ["lone", "few"]]
    assert verdict(tables[0], AVG).sentences == ()
    assert len(why_separate(tables)) == 1
    assert difference(tables[0], tables[1])
    assert "**Table 2**" in markdown(tables)
    assert markdown(tables).count("PSNR-nearest: of a volume") == 1
    assert "**Table" not in markdown(tables[:1])
    text = markdown(tables)
    assert text.count("| Model | seeds | #param |") == text.count("| Model | precision | recall |") == 2
    assert "separate from table 1" in text


def test_best_snapshots_compare_at_equal_budgets_only() -> None:
    runs = [a_run("a", 1, snapshot="best", n_images=3000), a_run("b", 2, snapshot="best", n_images=5000)]
    assert len(separated(grouped(runs))) == 1
    runs.append(a_run("c", 2, snapshot="best", n_images=5000, budget_kimg=99.0))
    assert len(separated(grouped(runs))) == 2


def test_a_folder_of_volumes_stands_beside_runs_of_equal_number_and_data() -> None:
    volumes = a_run("other method", 30, None, source="volumes", n_images=None, snapshot="")
    runs = [a_run("ours", 50), a_run("best", 40, snapshot="best")]
    labels = [[row.label for row in each] for each in separated(grouped([*runs, volumes]))]
    assert labels == [["ours", "other method"], ["best", "other method"]]
    few = a_run("few", 30, None, source="volumes", n_images=None, snapshot="", **{"n-generated": 7})
    tables = separated(grouped([*runs, few]))
    assert len(tables) == 3
    assert difference(tables[0], tables[2]) == "other number of generated volumes (100 and 7)"


def test_a_winner_takes_a_paired_test_against_every_other_row() -> None:
    clear = [*three("good", 50, 61, 70), *three("bad", 80, 90, 101), *three("worse", 180, 190, 201)]
    found = verdict(grouped(clear), AVG)
    assert found.winner == "good"
    assert "paired test over 3 seeds" in found.sentences[0]
    close = [*three("good", 50, 90, 70), *three("bad", 80, 60, 101), *three("worse", 180, 190, 201)]
    found = verdict(grouped(close), AVG)
    assert found.winner is None
    assert found.sentences[0].startswith("No winner: good has the lowest")


def test_single_runs_are_told_apart_by_their_intervals_alone() -> None:
    assert verdict(grouped([a_run("a", 50), a_run("b", 61)]), AVG).winner == "a"  # 45 to 55 and 56 to 66
    found = verdict(grouped([a_run("a", 50), a_run("b", 59)]), AVG)
    assert found.winner is None
    assert "overlap" in found.sentences[0]
    assert "one seed says nothing" in found.sentences[1]


def test_a_named_group_takes_runs_of_any_setting_but_not_those_that_do_not_compare() -> None:
    runs = [a_run("a", 1, 0), a_run("b", 2, 1)]
    (row,) = grouped([], {"both": runs})
    assert (row.label, len(row.runs)) == ("both", 2)
    with pytest.raises(VoxflateError, match="same seed"):
        grouped([], {"both": [runs[0], a_run("c", 1, 0)]})
    with pytest.raises(VoxflateError, match=r"other number of generated volumes \(100 and 10\)"):
        grouped([], {"both": [runs[0], a_run("c", 1, 1, **{"n-generated": 10})]})


def test_latex_has_caption_units_bold_best_and_fits_the_page() -> None:
    rows = grouped([*three("split&shuffle_d", 50, 60, 70), a_run("none", 90)])
    text = latex([rows])
    assert "\\caption{100 generated and 40 real volumes" in text
    assert "max width=\\textwidth" in text
    assert "PSNR (dB)" in text
    body = text[text.index("\\midrule") :]
    assert "split\\&shuffle\\_d & 3 & 1.500M" in body
    assert "\\textbf{60.0 $\\pm$ 10.0}" in body  # the lowest distance
    assert "9.000" in body
    assert "\\textbf{9.000}" not in body  # the highest PSNR, which ranks nothing
    assert "[" not in body  # intervals are for the screen
    assert "\x00" not in text
    assert text.count("{") == text.count("}")
    assert "time" not in text[text.index("\\toprule") :]
    assert "\\textbf" not in latex([rows[:1]])  # nothing to choose
    assert "**" not in markdown([rows[:1]])
    assert "**60.0" in markdown([rows])


def test_names_with_signs_of_latex_or_markdown_are_printed_as_they_are() -> None:
    rows = grouped([a_run(r"a|b^2~{c}\d$<1", 50)])
    assert r"a|b\textasciicircum{}2\textasciitilde{}\{c\}\textbackslash{}d\$$<$1 & 1 & 1.500M" in latex(
        [rows]
    )
    (line,) = (line for line in markdown([rows]).splitlines() if "1.500M" in line)
    assert line.startswith(r"| a\|b^2~{c}\d$<1 | 1 | 1.500M |")
