"""Which runs a study takes, and with which commands."""

from __future__ import annotations

import doctest
import re
from dataclasses import replace
from pathlib import Path

import pytest

from studies import costs
from studies.costs import describe, seconds_of
from studies.plan import Run, Study, plan_of, result_path, run_path, to_train, unfinished
from studies.scales import SCALES
from studies.stage import evaluate_commands, train_command
from tests.studies.fakes import a_result
from voxflate._system.errors import VoxflateError
from voxflate.config.presets import PRESETS, paper_row
from voxflate.config.values import flat
from voxflate.reports.results import write_result

DATA = dict.fromkeys(("coca64", "coca128", "adni64"), "/data")


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path, "bench", DATA)


def of(runs: list[Run], row: str) -> list[Run]:
    return [run for run in runs if run.row == row and run.phase == "3d"]


def test_the_bench_study_has_every_row_with_the_seeds_that_it_needs(study: Study) -> None:
    runs = plan_of(study)
    rows = {run.row for run in runs if run.phase == "3d"}
    assert rows == {name for name, preset in PRESETS.items() if preset.exact}
    for name in rows:
        labels = PRESETS[name].row.labels
        style = PRESETS[name].values["model"] == "stylegan2"
        decides = labels.keys() & {1, 3, 4} or (7 in labels and style)
        assert len(of(runs, name)) == (3 if decides else 2), name
    assert len({run.name for run in runs}) == len(runs)


@pytest.mark.parametrize("scale", SCALES)
def test_every_run_is_the_paper_s_row_at_any_scale(tmp_path: Path, scale: str) -> None:
    study = Study(tmp_path, scale, DATA, own=True)
    for run in plan_of(study):
        settings = run.settings()
        cohort = SCALES[scale].cohorts[run.cohort]
        assert settings.network.shape == cohort.shape
        if run.phase == "3d" and run.preset:
            assert paper_row(flat(settings.model_dump())) is PRESETS[run.row].row
        if run.phase == "3d":
            assert settings.training.kimg == cohort.kimg_3d


def test_inflated_rows_wait_for_a_2d_run_of_their_networks(study: Study) -> None:
    runs = plan_of(study)
    by_name = {run.name: run for run in runs}
    for run in runs:
        assert bool(run.twin) == (run.settings().start.strategy != "none")
        if run.twin:
            mine, its = run.settings().network, by_name[run.twin].settings().network
            assert (mine.architecture, mine.symmetric_d) == (its.architecture, its.symmetric_d)
            assert mine.base[1:] == its.base[1:]
            assert runs.index(by_name[run.twin]) < runs.index(run)


def test_a_part_of_the_study_and_what_is_missing(tmp_path: Path) -> None:
    part = Study(tmp_path, "toy", {"coca64": "/data"}, 2, presets=("coca64-baseline",))
    assert [run.name for run in plan_of(part)] == ["coca64-baseline-s0", "coca64-baseline-s1"]
    with pytest.raises(VoxflateError, match="is not a row of tables 1"):
        plan_of(replace(part, tables=(1,), presets=("adni64-baseline",)))
    with pytest.raises(VoxflateError, match="coca128: no data is named"):
        plan_of(replace(part, presets=()))


def test_a_study_comes_back_from_its_file(study: Study) -> None:
    wanted = replace(study, tables=(1, 7), values={"training.batch": 4})
    wanted.save()
    assert Study.load(wanted.out) == wanted


def test_a_run_with_a_result_is_done(study: Study) -> None:
    runs = plan_of(study)
    run = of(runs, "coca64-baseline")[0]
    write_result(a_result("coca64-baseline", 0, 50), result_path(study, run))
    assert run not in unfinished(study, runs)
    assert len(unfinished(study, runs)) == len(runs) - 1
    lines = describe(study, runs, cores=2)
    assert f"{len(runs)} runs, 1 of them done" in lines[0]
    assert f"{run.name}: 3d, coca64" in "".join(lines)
    # 900 s of training, and the metrics of 7 snapshots and an evaluation, as in what is expected of others.
    assert "0.27 h; done" in "".join(lines)
    other = of(runs, "coca64-baseline")[1]
    assert any(other.name in line and "0.27 h; to do" in line for line in lines)  # measured, not expected
    assert "hours on 2 cores at 2 runs at a time" in lines[-1]
    assert "runs at a time" not in describe(study, runs, cores=None)[-1]  # a cluster's cores are not known


def test_the_plan_says_which_2d_runs_are_trained_again(tmp_path: Path) -> None:
    rows = ("coca64-baseline", "coca64-baseline-inflate-1")
    study = Study(tmp_path, "toy", {"coca64": "/data"}, 1, presets=rows)
    runs = plan_of(study)
    twin, none, inflated = runs

    def lines() -> list[str]:
        return describe(study, runs, cores=1)

    def marked(run: Run) -> Path:
        marker = run_path(study, run) / "trained"
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        return marker

    assert to_train(study, runs) == runs
    write_result(a_result("", 0, 5), result_path(study, twin))
    assert to_train(study, runs) == runs  # the weights of the 2D run are gone
    assert "0.25 h; to train again, because its folder is gone" in lines()[1]
    assert lines()[-1].startswith("left: 3 runs, about 0.2")
    marker = marked(twin)
    assert to_train(study, runs) == [none, inflated]
    assert "0.25 h; done" in lines()[1]
    assert lines()[-1].startswith("left: 2 runs, about 0.0")
    marked(inflated)  # only its evaluation is missing, which needs no 2D run
    marker.unlink()
    assert to_train(study, runs) == [none]
    assert lines()[3].endswith("trained, to evaluate")
    assert lines()[-1].startswith("left: 2 runs, ")


def test_the_bench_study_fits_twelve_hours_of_two_cores(study: Study) -> None:
    total = sum(seconds_of(run) for run in plan_of(study))
    assert total / 2 / 3600 < 12


def test_threads_do_not_make_a_study_longer(study: Study) -> None:
    def hours(threads: int) -> tuple[str, ...]:
        plan = replace(study, threads=threads)
        *_, last = describe(plan, plan_of(plan), cores=4)
        return re.findall(r"about (\S+) core hours, (\S+) hours", last)[0]

    assert hours(1) == hours(2) == hours(4)


def test_the_hours_of_the_paper_s_scale_are_in_full_and_in_days(tmp_path: Path) -> None:
    assert not doctest.testmod(costs).failed
    study = Study(tmp_path, "paper", DATA)
    *runs, last = describe(study, plan_of(study), cores=2)
    assert re.search(r"about \d{2,3},\d{3} core hours \(\d,\d{3} days\), \d{2,3},\d{3} hours \(\d", last)
    assert not re.search(r"\de\+\d", " ".join([*runs, last]))


def test_settings_for_every_training_win_over_the_scale_s(study: Study) -> None:
    values = {"training.reuse_fakes": False, "training.kimg": 2.0, "training.snapshot_kimg": 0.5}
    given = replace(study, own=True, values=values)
    default, changed = plan_of(replace(study, own=True)), plan_of(given)
    for run in changed:
        training = run.settings().training
        assert (training.kimg, training.snapshot_kimg, training.reuse_fakes) == (2.0, 0.5, False)
    lines = [line for line in describe(given, changed, cores=2) if "; to do" in line]
    assert all(", 2 kimg" in line for line in lines)
    assert sum(map(seconds_of, changed)) < sum(map(seconds_of, default)) / 2
    with pytest.raises(VoxflateError, match=r"--set training.seed: .*--seeds"):
        plan_of(replace(study, values={"training.seed": 3}))


def test_rows_of_ours_ask_for_one_channel_and_no_labels(study: Study) -> None:
    """A training would take both from the data, and the result would differ from the plan."""
    runs = [run for run in plan_of(replace(study, own=True)) if not run.preset]
    assert {run.phase for run in runs} == {"2d", "3d"}
    for run in runs:
        assert (run.values["network.image_channels"], run.values["network.label_width"]) == (1, 0)


def test_the_commands_of_a_run(study: Study, tmp_path: Path) -> None:
    from tests.evaluation.test_suite import a_set

    study = replace(study, data={**DATA, "coca64": str(a_set(tmp_path / "set", 16, 4).root)})
    run = of(plan_of(study), "coca64-baseline-inflate-1")[2]
    words = train_command(study, run)
    assert words[:2] == ["train", str(tmp_path / "set")]
    assert words[words.index("--start") + 1] == str(tmp_path / "runs" / "twin-coca64-baseline")
    assert "training.seed=2" in words
    assert "evaluation.samples=20" in words  # as many as real ones
    given = replace(study, values={"evaluation.samples": 5})
    named = of(plan_of(given), "coca64-baseline-inflate-1")[2]
    assert "evaluation.samples=5" in train_command(given, named)
    assert words[-2:] == ["--resume", "auto"]
    *_, last = evaluate_commands(study, run)
    assert last[0] == "result"
    assert last[-1] == "--no-pictures"  # only the first seed has them
    first = of(plan_of(study), "coca64-baseline-inflate-1")[0]
    assert evaluate_commands(study, first)[-1][-1] == "--pictures"
