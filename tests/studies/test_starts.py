"""Our own rows: their plan, and Tables 9 and 10 with the questions they answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studies.claims import QUESTIONS
from studies.collect import collect
from studies.costs import seconds_of
from studies.findings import findings
from studies.own import OWN, STARTS
from studies.plan import Study, plan_of
from studies.stage import evaluate_commands
from studies.starts import EQUAL_IMAGES, EQUAL_SECONDS, _columns, tables_of_starts
from studies.tables import tables_of
from tests.studies.fakes import a_result, a_start, a_twin, evaluated
from voxflate._system.errors import VoxflateError
from voxflate.evaluation import Assessment, Metric
from voxflate.reports.measure import CHOSEN_BY_KID
from voxflate.reports.results import Result
from voxflate.training.recorder import FLOOR_METRICS


def test_the_starts_have_all_rows_of_ours_and_none_of_the_paper(tmp_path: Path) -> None:
    study = Study(tmp_path, "starts", {"coca64": "/data"})
    runs = plan_of(study)
    by_name = {run.name: run for run in runs}
    assert {run.row for run in runs if run.phase == "3d"} == set(OWN)
    assert all(sum(run.row == key and run.phase == "3d" for run in runs) == 3 for key in OWN)
    assert sum(run.phase == "2d" for run in runs) == 6
    for run in runs:
        settings = run.settings()
        assert settings.training.seed == run.seed
        if run.twin:
            twin = by_name[run.twin].settings()
            assert twin.training.seed == run.seed
            assert twin.training.twin == OWN[run.row].twin
            assert twin.network.position == settings.network.position
        if run.phase == "3d":
            assert bool(settings.slice_discriminator.weight) == run.row.endswith("-slices")
            assert settings.start.strategy in run.row
            audit = evaluate_commands(study, run)[1]
            assert audit[:2] == ["audit", str(tmp_path / "runs" / run.name)]
            assert audit[-2:] == ["--allow", "1"]  # it must not end the job before the result
    assert sum(seconds_of(run) for run in runs) > 3600


def test_rows_of_ours_are_chosen_by_name(tmp_path: Path) -> None:
    study = Study(tmp_path, "starts", {"coca64": "/data"}, 1, presets=("own-planar-slices", "own-none"))
    names = [run.name for run in plan_of(study)]
    assert names == ["twin-own-planar-s0", "own-none-s0", "own-planar-slices-s0"]
    with pytest.raises(VoxflateError, match="own-plane: is not a row of own-none, own-inflate-1"):
        plan_of(replace(study, presets=("own-plane",)))
    both = replace(study, scale="toy", presets=("coca64-baseline",), own=True)
    named = ["coca64-baseline", "own-preserving", "own-preserving-slices"]
    assert [run.row for run in plan_of(both) if run.phase == "3d"] == named
    with pytest.raises(VoxflateError, match="own-none: is not a row of tables 1"):
        plan_of(replace(both, presets=("own-none",)))


def test_equal_images_are_means_of_the_last_three_snapshots_over_seeds() -> None:
    results = [a_start("own-none", seed, distance) for seed, distance in enumerate((50, 60, 70))]
    other = {"n_images": 60_000, "flagged": 1, "n-generated": 148}
    elsewhere = {"n_images": 40_000, "flagged": 1, "n-generated": 148, "data": "of other people"}
    results += [a_start("own-none-slices", 0, 40, audits=[other, elsewhere])]
    tables = tables_of(collect(results))
    assert list(tables) == [EQUAL_IMAGES, EQUAL_SECONDS]
    table = tables[EQUAL_IMAGES]
    floor, plain, slices = (dict(zip(table.headings, row, strict=True)) for row in table.rows)
    assert (floor["FD-avg"], floor["KID-avg"], floor["MS-SSIM"]) == ("20.0", "0.00200", "0.700")
    assert plain["KID-avg"] == "0.200 \N{PLUS-MINUS SIGN} 0"
    assert plain["FD-avg"] == "60 \N{PLUS-MINUS SIGN} 10"
    assert plain["pairwise L2"] == "19.0 \N{PLUS-MINUS SIGN} 0"
    assert (plain["Start"], plain["seeds"], plain["copies"]) == ("none", "3", "3 of 444")
    assert (slices["Start"], slices["FD-avg"]) == ("none, slice discriminator", "40.0")
    assert slices["copies"] == "\N{EN DASH}"  # another snapshot was audited, and other data
    assert any(note.endswith("not audited on the training data: own-none-slices-s0.") for note in table.notes)
    table = tables_of(collect([*results[:3], a_start("own-none", 3, 80, audits=[other])]))[EQUAL_IMAGES]
    assert dict(zip(table.headings, table.rows[1], strict=True))["copies"] == "3 of 444"
    assert any(note.endswith("not audited on the training data: own-none-s3.") for note in table.notes)


def test_equal_seconds_count_the_2d_run() -> None:
    twin = a_twin("twin-0")
    results = [a_start("own-none", 0, 50), a_start("own-preserving", 0, 40)]
    collection = collect([*results, twin])
    assert twin.seconds == 900
    table = tables_of_starts(collection)[EQUAL_SECONDS]
    rows = {row[0]: dict(zip(table.headings, row, strict=True)) for row in table.rows}
    # From scratch ends after 600 s; by then the other run's 2D training had not ended.
    assert (rows["none"]["3D kimg"], rows["none"]["FD-avg"], rows["none"]["KID-avg"]) == (
        "60",
        "53.0",
        "0.300",
    )
    assert (rows["preserving"]["3D kimg"], rows["preserving"]["FD-avg"]) == ("0", "360")
    assert (rows["none"]["2D kimg"], rows["preserving"]["2D kimg"]) == ("\N{EN DASH}", "200")


def test_the_quickest_row_has_its_last_snapshot_though_seconds_are_rounded() -> None:
    twin = replace(a_twin("twin-0"), seconds=411.93)
    quick = a_start("own-preserving", 0, 40, seconds=600.07)
    quick = replace(quick, snapshots={**quick.snapshots, "seconds": [0.0, 200.0, 400.0, 600.07]})
    assert 411.93 + 600.07 - 411.93 < 600.07
    table = tables_of_starts(collect([quick, a_start("own-none", 0, 50, seconds=2000.0), twin]))[
        EQUAL_SECONDS
    ]
    rows = {row[0]: dict(zip(table.headings, row, strict=True)) for row in table.rows}
    assert (rows["preserving"]["3D kimg"], rows["preserving"]["FD-avg"]) == ("60", "43.0")


def test_other_work_on_the_machine_costs_a_row_nothing() -> None:
    slowed = {"n_images": 60_000, "seconds": 1200.0}
    twins = [replace(a_twin(f"twin-{seed}"), seconds=seconds) for seed, seconds in enumerate((300.0, 800.0))]
    results = [a_start("own-none", 0, 50, seconds=900.0)]
    results += [a_start("own-preserving", 0, 40), a_start("own-preserving", 1, 40, **slowed), *twins]
    table = tables_of_starts(collect(results))[EQUAL_SECONDS]
    rows = {row[0]: dict(zip(table.headings, row, strict=True)) for row in table.rows}
    found = [[rows[name][each] for each in ("images/s", "3D kimg")] for name in ("none", "preserving")]
    assert found == [["66.7", "60"], ["50.0 to 100", "60"]]
    assert any("only adds time" in note for note in table.notes)


def test_both_tables_say_how_rows_and_measurements_differ() -> None:
    settings = a_start("own-preserving", 0, 40).settings
    rates = {"training.lr_g": 0.002, "training.lr_d": 0.002}
    columns = {
        "n-generated": [148] * 4, "n-real": [148] * 4, "extractor": ["random"] * 4, "sample-seed": [1] * 4,
        "weights-sha256": ["c" * 64] * 4,
    }  # fmt: skip
    results = [a_start("own-none", 0, 50), a_start("own-preserving", 0, 40, settings={**settings, **rates})]
    results = [replace(each, snapshots={**each.snapshots, **columns}) for each in results]
    results = [evaluated(each, ("random: few volumes", "deepbet: few", CHOSEN_BY_KID)) for each in results]
    tables = tables_of_starts(collect([*results, a_twin("twin-0")]))
    said = "Metrics at snapshots: 148 generated and 148 real volumes, seed 1, features of random, "
    for table in tables.values():
        assert f"{said}weights (SHA-256) cccccccccccc." in table.notes
        assert "Warning: random: few volumes." in table.notes
        assert not any(CHOSEN_BY_KID in note for note in table.notes)  # it did not choose these snapshots
        assert any(
            note.startswith("Learning rates were tried with one of these rows") for note in table.notes
        )
        assert any(
            note.startswith("Learning rates differ. Generator ")
            and note.endswith("Generator 0.002, discriminator 0.002: preserving.")
            for note in table.notes
        )
    nine = tables[EQUAL_IMAGES]
    rows = {row[0]: dict(zip(nine.headings, row, strict=True)) for row in nine.rows}
    costs = [
        [rows[name][each] for each in ("2D kimg", "3D time", "2D + 3D time")]
        for name in ("none", "preserving")
    ]
    assert costs == [["\N{EN DASH}", "0.17 h", "0.17 h"], ["200", "0.17 h", "0.42 h"]]
    assert any("weights (SHA-256) aaaaaaaaaaaa" in note for note in nine.notes)


def test_how_rates_were_chosen_is_said_of_these_rates_only() -> None:
    def said(*results: Result) -> list[str]:
        notes = tables_of_starts(collect([*results, a_twin("twin-0")]))[EQUAL_IMAGES].notes
        return [note for note in notes if note.startswith("Learning rates were tried")]

    (note,) = said(a_start("own-none", 0, 50))
    assert note.endswith("decision 0202).")
    (note,) = said(a_start("own-none", 0, 50), a_start("own-planar", 0, 50))
    assert note.endswith("decision 0202). Planar keeps 0.001.")
    old = a_start("own-none", 0, 50)
    assert said(replace(old, settings={**old.settings, "training.lr_g": 0.002})) == []


def test_copies_are_counted_without_truncation() -> None:
    audit = {"n_images": 40_000, "flagged": 1, "n-generated": 148, "truncation": 1.0}
    truncated = {**audit, "flagged": 90, "truncation": 0.5}
    table = tables_of_starts(collect([a_start("own-none", 0, 50, audits=[audit, truncated])]))[EQUAL_IMAGES]
    assert dict(zip(table.headings, table.rows[1], strict=True))["copies"] == "1 of 148"
    table = tables_of_starts(collect([a_start("own-none", 0, 50, audits=[truncated])]))[EQUAL_IMAGES]
    assert dict(zip(table.headings, table.rows[1], strict=True))["copies"] == "\N{EN DASH}"


def test_table_10_has_no_metric_of_another_version_of_the_measurement() -> None:
    results = [evaluated(a_start(key, 0, 50), measurement=2) for key in ("own-none", "own-none-slices")]
    results[1] = replace(results[1], snapshots={**results[1].snapshots, "measurement": [2, 2, 2, 2]})
    results[0] = replace(results[0], snapshots={**results[0].snapshots, "measurement": [1, 2, 2, 2]})
    tables = tables_of_starts(collect(results))
    assert [row[-6] for row in tables[EQUAL_SECONDS].rows[1:]] == ["53.0", "53.0"]
    results[0] = replace(results[0], snapshots={**results[0].snapshots, "measurement": [1, 1, 1, 1]})
    assert list(tables_of_starts(collect(results))) == [EQUAL_IMAGES]


def test_times_of_two_machines_are_in_no_table() -> None:
    results = [a_start("own-none", 0, 50)]
    results.append(a_start("own-preserving", 0, 50, machine={"processor": "another", "threads": 1}))
    tables = tables_of_starts(collect(results))
    assert list(tables) == [EQUAL_IMAGES]
    said = "Trained on: a CPU, 1 thread(s): own-none-s0; another, 1 thread(s): own-preserving-s0."
    assert said in tables[EQUAL_IMAGES].notes


MACHINE = {
    "processor": "a CPU",
    "machine": "Linux AVX512",
    "threads": 1,
    "precision": "bf16",
    "kernels": "compiled",
}
VERSIONS = {"voxflate": "0.1.0", "torch": "2.13.0", "source": "aaaa"}


def timed(key: str, seed: int, distance: float = 50, **changes: Any) -> Result:
    return a_start(key, seed, distance, **({"machine": MACHINE, "versions": VERSIONS} | changes))


def seconds_notes(results: list[Result]) -> tuple[list[str], str]:
    """Rows of Table 10 with their seeds, and its notes; of Table 9 if there is none."""
    tables = tables_of_starts(collect(results))
    table = tables.get(EQUAL_SECONDS)
    rows = [] if table is None else [f"{row[0]}: {row[1]}" for row in table.rows[1:]]
    return rows, " ".join((table or tables[EQUAL_IMAGES]).notes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"machine": {**MACHINE, "machine": "Linux AVX2"}}, "machine Linux AVX2, most have Linux AVX512"),
        ({"machine": {**MACHINE, "threads": 2}}, "threads 2, most have 1"),
        ({"machine": {**MACHINE, "precision": "fp32"}}, "precision fp32, most have bf16"),
        ({"machine": {**MACHINE, "kernels": "plain"}}, "kernels plain, most have compiled"),
        ({"versions": {**VERSIONS, "torch": "2.14.1"}}, "PyTorch 2.14.1, most have 2.13.0"),
    ],
)
def test_seconds_of_another_machine_or_pytorch_are_left_out(changes: dict[str, Any], words: str) -> None:
    twins = [replace(a_twin(f"twin-{seed}"), machine=MACHINE, versions=VERSIONS) for seed in (0, 1)]
    results = [timed("own-none", 0), timed("own-none", 1), timed("own-preserving", 0), *twins]
    rows, notes = seconds_notes([*results, timed("own-preserving", 1, **changes)])
    assert rows == ["none: 2", "preserving: 1"]
    assert f"Not at equal seconds: own-preserving-s1 ({words})." in notes
    other_twin = replace(twins[1], **changes)
    rows, notes = seconds_notes([*results[:-1], other_twin, timed("own-preserving", 1)])
    assert rows == ["none: 2", "preserving: 1"]
    assert f"Not at equal seconds: own-preserving-s1 (its 2D run: {words})." in notes


def test_seconds_without_the_result_of_the_2d_run_are_left_out() -> None:
    results = [timed("own-none", 0), timed("own-none-slices", 0), timed("own-preserving", 0)]
    rows, notes = seconds_notes(results)
    assert rows == ["none: 1", "none, slice discriminator: 1"]
    assert "own-preserving-s0 (the result of its 2D run twin-0 is missing)" in notes


def test_other_sources_are_named_and_not_left_out() -> None:
    other = timed("own-none-slices", 0, versions={**VERSIONS, "source": "bbbb"})
    rows, notes = seconds_notes([timed("own-none", 0), timed("own-none", 1), other])
    assert rows == ["none: 2", "none, slice discriminator: 1"]
    assert "voxflate 0.1.0, source aaaa: own-none-s0, own-none-s1; PyTorch" in notes
    assert "source bbbb: own-none-slices-s0." in notes


def test_a_process_that_found_the_run_finished_trained_nothing() -> None:
    first = {**MACHINE, "from_images": 0, "versions": VERSIONS}
    late = {**first, "threads": 2, "versions": {**VERSIONS, "torch": "2.14.1"}}
    results = [timed("own-none", 0), timed("own-none-slices", 0)]
    for begins, rows in ((60_000, 2), (20_000, 0)):
        sessions = [first, {**late, "from_images": begins}]
        machine = {**MACHINE, "threads": 2, "sessions": sessions}
        changed = replace(results[1], machine=machine, versions=late["versions"])
        found, notes = seconds_notes([results[0], changed])
        assert len(found) == rows
        assert ("threads 1 then 2" in notes) == (not rows)


def test_runs_without_metrics_at_snapshots_have_no_table_at_equal_seconds() -> None:
    empty = {"n_images": [], "seconds": [], "sample-sha256": []}
    results = [timed(key, 0, snapshots=empty, best=None) for key in ("own-none", "own-none-slices")]
    rows, notes = seconds_notes(results)
    assert rows == []
    assert "There is no table at equal seconds: fewer than two rows have comparable seconds." in notes
    assert "own-none-s0, own-none-slices-s0 (no metrics at snapshots)" in notes


def test_every_column_has_its_floor_at_the_snapshots_or_else_in_an_evaluation() -> None:
    assert all(FLOOR_METRICS.search(column.metric) for column in _columns("mobilenetv2"))
    old = a_start("own-none", 0, 50)  # its snapshots have no floor of the voxels
    evaluation = old.evaluations[0]
    metrics = {**evaluation.metrics, "frechet-voxels-3d": Metric(40, real=33.0)}
    old = replace(old, evaluations=[Assessment(metrics, evaluation.facts)])
    new = a_start("own-none-slices", 0, 50)
    new = replace(new, snapshots={**new.snapshots, "real-frechet-voxels-3d": [32.0] * 4})
    for results, floor in (([old], "33.0"), ([old, new], "32.0")):
        table = tables_of_starts(collect(results))[EQUAL_IMAGES]
        assert dict(zip(table.headings, table.rows[0], strict=True))["FD-voxels"] == floor


@pytest.mark.parametrize(
    ("with_slices", "verdict"), [(30, "holds"), (50, "not settled"), (70, "does not hold")]
)
def test_the_questions_are_settled_by_paired_tests(with_slices: float, verdict: str) -> None:
    results = []
    for start in STARTS:
        for seed, noise in enumerate((-1.0, 0.0, 1.2)):
            results.append(a_start(f"own-{start}", seed, 50 + noise))
            results.append(a_start(f"own-{start}-slices", seed, with_slices + 0.9 * noise))
    found = findings(collect(results).entries)
    assert [each.claim for each in found] == [question.text for question in QUESTIONS]
    assert all(each.verdict.startswith(verdict) for each in found[:4])
    assert all(each.verdict == "not settled, not measured" for each in found[4:8])  # the voxels
    assert findings(collect([a_result("coca64-baseline", 0, 50)]).entries)[0].claim != QUESTIONS[0].text
