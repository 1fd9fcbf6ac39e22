"""Which results become the seeds of a row: the evaluation that counts, the settings that must be equal."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studies.checks import check_results
from studies.collect import collect, collect_folder
from studies.plan import Study, plan_of, result_path
from tests.studies.calls import ROOT
from tests.studies.fakes import a_result, a_start, a_twin, evaluated
from voxflate._system.errors import VoxflateError
from voxflate.evaluation import Assessment
from voxflate.reports.results import Result, read_result, write_result

STARTS = ROOT / "docs" / "benchmarks" / "starts"
NONE = "own-none"


def evaluation(result: Result, distance: float, **facts: Any) -> Assessment:
    """An evaluation of another snapshot, or one that was asked for in another way."""
    found = a_result("", result.seed, distance).evaluations[0]
    return replace(found, facts={**found.facts, **facts})


def changed(result: Result, **settings: Any) -> Result:
    names = {key.replace("__", "."): value for key, value in settings.items()}
    return replace(result, settings={**result.settings, **names})


def kept(results: list[Result], key: str = NONE) -> list[str]:
    return [each.name for each in collect(results).entries[key].results]


def test_the_newest_snapshot_counts_as_the_best_where_it_is() -> None:
    last = a_start(NONE, 1, 60, best=60_000)
    newest = evaluation(last, 60, snapshot="newest", n_images=60_000)
    extended = a_start(NONE, 2, 60)  # trained on after its best snapshot was evaluated
    earlier = evaluation(extended, 60, snapshot="newest", n_images=40_000, budget_kimg=40.0)
    results = [
        a_start(NONE, 0, 50),
        replace(last, evaluations=[newest]),
        replace(extended, evaluations=[earlier]),
    ]
    found = collect(results)
    assert found.notes == ()
    assert len(found.entries[NONE].results) == 3


def test_the_best_snapshot_s_evaluation_is_taken_wherever_it_is_in_the_list() -> None:
    result = a_start(NONE, 0, 50)
    best, last = result.evaluations[0], evaluation(result, 70, snapshot="newest", n_images=60_000)
    again = evaluation(result, 51)
    truncated = evaluation(result, 30, truncation=0.5)
    elsewhere = evaluation(result, 20, data="e" * 64)
    for evaluations, distance in (
        ([best, last], 50),
        ([last, best], 50),
        ([best, again, last], 51),  # the newest of the same snapshot
        ([best, truncated, elsewhere], 50),
    ):
        found = collect([replace(result, evaluations=evaluations)]).entries[NONE]
        assert found.by_seed(found.distance) == {0: distance}


def test_a_snapshot_that_was_the_best_is_not_the_best() -> None:
    former = a_start(NONE, 2, 60, best=60_000)  # its evaluation says "best", of 40 kimg
    found = collect([a_start(NONE, 0, 50), a_start(NONE, 1, 50), former])
    assert [each.name for each in found.entries[NONE].results] == ["own-none-s0", "own-none-s1"]
    assert "own-none-s2: left out, not comparable" in found.notes[0]


def test_seeds_of_other_settings_are_no_seeds_of_the_row() -> None:
    other = changed(a_start(NONE, 0, 50), training__lr_g=0.01, network__channels=64)
    results = [other, a_start(NONE, 1, 50), a_start(NONE, 2, 50)]
    found = collect(results)
    assert [each.name for each in found.entries[NONE].results] == ["own-none-s1", "own-none-s2"]
    assert found.notes == (
        "own-none-s0 is left out: it was trained with network.channels = 64, the other seeds with 32.",
    )


def test_folders_devices_and_what_is_kept_make_no_other_row() -> None:
    same = changed(
        a_start(NONE, 1, 50), training__threads=4, training__keep=7, evaluation__samples=9, data="elsewhere"
    )
    assert kept([a_start(NONE, 0, 50), same]) == ["own-none-s0", "own-none-s1"]


def test_a_plan_says_which_settings_are_the_row_s(tmp_path: Path) -> None:
    study = Study(tmp_path, "starts", {"coca64": "/data"}, 1, values={"training.kimg": 60.0})
    runs = plan_of(study)
    own = next(run for run in runs if run.name == "own-none-s0").settings().model_dump(mode="json")
    interval = own["training"]["snapshot_kimg"]
    planned = changed(
        a_start(NONE, 0, 50),
        training__snapshot_kimg=interval,
        network__base=own["network"]["base"],
        network__stages=own["network"]["stages"],
        network__channels=own["network"]["channels"],
        training__flip=True,
        training__reuse_fakes=True,
    )
    others = [a_start(NONE, seed, 50) for seed in (1, 2)]
    assert len(collect([planned, *others]).entries[NONE].results) == 2
    assert [each.name for each in collect([planned, *others], runs).entries[NONE].results] == ["own-none-s0"]


def test_the_settings_of_the_2d_runs_count_but_not_their_snapshots() -> None:
    key = "own-preserving"
    runs = [a_start(key, seed, 50) for seed in range(4)]
    twins = [a_twin(f"twin-{seed}") for seed in range(4)]
    twins[0] = changed(twins[0], training__batch=16)
    twins[1] = changed(twins[1], training__snapshot_kimg=1.0, training__keep=9)
    found = collect([*runs, *twins[:3]])  # that of the last seed is missing
    assert [each.seed for each in found.entries[key].results] == [1, 2, 3]
    assert (
        "own-preserving-s0 is left out: its 2D run twin-0 was trained with training.batch = 16"
        in found.notes[0]
    )


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A study with the results of docs/benchmarks/starts."""
    (tmp_path / "results").mkdir()
    for path in STARTS.glob("*.json"):
        shutil.copy(path, tmp_path / "results")
    return Study(tmp_path, "starts", {"coca64": "/data"}, 3)


def test_the_results_so_far_are_of_the_plan_and_all_in_their_rows(study: Study) -> None:
    check_results(study, plan_of(study))
    study.save()
    found = collect_folder(study.out / "results")
    assert found.notes == ()
    assert len(found.entries["own-preserving-slices"].results) == 3


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("training.batch", 16, "made with training.batch = 8, this study says 16"),
        ("network.channels", 64, "made with network.channels = 32, this study says 64"),
        (
            "slice_discriminator.lr_s",
            0.01,
            "made with slice_discriminator.lr_s = 0.001, this study says 0.01",
        ),
    ],
)
def test_results_of_other_settings_are_refused(study: Study, key: str, value: float, words: str) -> None:
    other = replace(study, values={key: value})
    with pytest.raises(VoxflateError, match=words) as refused:
        check_results(other, plan_of(other))
    assert "give the study another --out, or remove the file" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_settings_that_make_no_other_row_are_accepted(study: Study) -> None:
    same = replace(study, threads=2, values={"training.keep": 5, "evaluation.every": 2})
    check_results(same, plan_of(same))
    interval = replace(
        study, values={"training.snapshot_kimg": 5.0}
    )  # the best is chosen among other snapshots
    with pytest.raises(VoxflateError, match=r"-s0.json: was made with training.snapshot_kimg = 2.5"):
        check_results(interval, plan_of(interval))


def test_results_measured_by_an_earlier_version_are_refused(study: Study) -> None:
    run = next(run for run in plan_of(study) if run.name == "own-preserving-slices-s2")
    path = result_path(study, run)
    write_result(evaluated(read_result(path), measurement=None), path)
    with pytest.raises(VoxflateError, match=r"measured by version 1, this study takes version 2, .* remove"):
        check_results(study, plan_of(study))


def test_snapshots_measured_by_an_earlier_version_are_refused_in_3d_only(study: Study) -> None:
    runs = {run.name: run for run in plan_of(study)}
    for name in ("twin-own-plain-s2", "own-preserving-slices-s2"):
        path = result_path(study, runs[name])
        result = read_result(path)
        versions = [None, *[2] * (len(result.snapshots["n_images"]) - 1)]
        write_result(replace(result, snapshots={**result.snapshots, "measurement": versions}), path)
        if name.startswith("twin"):
            check_results(study, [*runs.values()])
    with pytest.raises(VoxflateError, match=r"slices-s2.json: its metrics at snapshots were .* version 1"):
        check_results(study, [*runs.values()])


def test_unfinished_results_are_refused_with_a_next_step(study: Study) -> None:
    runs = {run.name: run for run in plan_of(study)}
    unfinished = {
        "twin-own-plain-s2": (
            {"n_images": 20_000},
            "stopped after 20 of 30 kimg; remove the file, and the study",
        ),
        "own-none-s1": (
            {"evaluations": []},
            "was not evaluated; remove the file, and the study evaluates it",
        ),
    }
    for name, (changes, words) in unfinished.items():
        path = result_path(study, runs[name])
        before = read_result(path)
        write_result(replace(before, **changes), path)
        with pytest.raises(VoxflateError, match=words):
            check_results(study, [*runs.values()])
        write_result(before, path)
    check_results(study, [*runs.values()])


CHANGES = [{"n_images": 9000, "key": "training.lr_g", "before": 0.002, "after": 0.004}]
SAID = "changes half-way = training.lr_g 0.002 -> 0.004 from 9000 images"


def test_a_run_that_was_changed_half_way_is_refused(study: Study) -> None:
    for name in ("own-preserving-slices-s2", "twin-own-plain-s2"):
        path = result_path(study, next(run for run in plan_of(study) if run.name == name))
        before = read_result(path)
        write_result(replace(before, changes=CHANGES), path)
        with pytest.raises(
            VoxflateError, match=f"was made with {SAID}, this study says none; give the study"
        ):
            check_results(study, plan_of(study))
        write_result(before, path)


def test_a_run_that_was_changed_half_way_is_no_seed_of_the_row() -> None:
    changed_run = replace(a_start(NONE, 0, 50), changes=CHANGES)
    found = collect([changed_run, a_start(NONE, 1, 50), a_start(NONE, 2, 50)])
    assert [each.seed for each in found.entries[NONE].results] == [1, 2]
    assert found.notes == (
        f"own-none-s0 is left out: it was trained with {SAID}, the other seeds with none.",
    )
    key = "own-preserving"
    intervals = [{"n_images": 9000, "key": "training.snapshot_kimg", "before": 1.0, "after": 2.0}]
    twins = [a_twin(f"twin-{seed}") for seed in range(3)]
    twins = [replace(twins[0], changes=CHANGES), replace(twins[1], changes=intervals), twins[2]]
    found = collect([*(a_start(key, seed, 50) for seed in range(3)), *twins])
    assert [each.seed for each in found.entries[key].results] == [1, 2]
    assert f"its 2D run twin-0 was trained with {SAID}" in found.notes[0]


def test_snapshots_of_another_version_than_the_evaluation_are_left_out_and_told() -> None:
    new = evaluated(a_start(NONE, 0, 50), measurement=2)
    mixed = replace(new, snapshots={**new.snapshots, "measurement": [1, 1, 2, 2]})
    found = collect([mixed])
    entry = found.entries[NONE]
    assert entry.results[0].curve(entry.distance) == [(40, 50), (60, 53)]
    assert entry.last_by_seed(entry.distance) == {}
    assert found.notes == (
        "own-none-s0: 2 of 4 snapshots are left out, because they were measured by another version than its "
        "evaluation (2).",
    )


def test_a_mean_of_the_last_snapshots_has_none_before_training() -> None:
    entry = collect([a_start(NONE, 0, 50)]).entries[NONE]
    assert entry.last_by_seed(entry.distance) == {0: 50}
    short = a_start(NONE, 0, 50)
    columns = {name: column[:3] for name, column in short.snapshots.items()}
    entry = collect([replace(short, snapshots=columns)]).entries[NONE]
    assert entry.last_by_seed(entry.distance) == {}


def test_one_seed_trained_otherwise_is_refused(study: Study) -> None:
    run = next(run for run in plan_of(study) if run.name == "own-preserving-slices-s2")
    path = result_path(study, run)
    write_result(changed(read_result(path), training__lr_g=0.01), path)
    with pytest.raises(VoxflateError, match=r"slices-s2.json: was made with training.lr_g = 0.01"):
        check_results(study, plan_of(study))
