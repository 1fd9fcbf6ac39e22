"""Our own rows: their plan, and Tables 9 and 10 with the questions they answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from studies.claims import QUESTIONS, findings
from studies.collect import collect
from studies.costs import seconds_of
from studies.own import OWN, STARTS
from studies.plan import Study, plan_of
from studies.stage import evaluate_commands
from studies.starts import EQUAL_IMAGES, EQUAL_SECONDS, tables_of_starts
from studies.tables import tables_of
from tests.studies.fakes import a_result, a_twin
from voxflate.config.toml import from_values
from voxflate.config.values import flat
from voxflate.reports.results import Result


def a_start(key: str, seed: int, distance: float, **changes: Any) -> Result:
    """A run of one of our rows: snapshots every 200 s, the last three around the distance."""
    settings = flat(
        from_values({**OWN[key].values, "training.seed": seed, "training.kimg": 60.0}).model_dump(mode="json")
    )
    snapshots = {
        "n_images": [0, 20_000, 40_000, 60_000],
        "seconds": [0.0, 200.0, 400.0, 600.0],
        "frechet-random-avg": [9 * distance, distance - 3, distance, distance + 3],
        "real-frechet-random-avg": [20.0] * 4,
        "pairwise-l2": [90.0, 18.0, 19.0, 20.0],
    }
    fields = {
        "name": f"{key}-s{seed}",
        "settings": settings,
        "twin": {"name": f"twin-{seed}"} if OWN[key].twin else None,
        "snapshots": snapshots,
        "seconds": 600.0,
        "audits": [{"n_images": 40_000, "flagged": 1, "n-generated": 148}],
    }
    return a_result("", seed, distance, **(fields | changes))


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
            assert ["audit", str(tmp_path / "runs" / run.name)] == evaluate_commands(study, run)[1][:2]
    assert sum(seconds_of(study, run) for run in runs) > 3600


def test_equal_images_are_means_of_the_last_three_snapshots_over_seeds() -> None:
    results = [a_start("own-none", seed, distance) for seed, distance in enumerate((50, 60, 70))]
    other = {"n_images": 60_000, "flagged": 1, "n-generated": 148}
    results += [a_start("own-none-slices", 0, 40, audits=[other])]
    tables = tables_of(collect(results))
    assert list(tables) == [EQUAL_IMAGES, EQUAL_SECONDS]
    table = tables[EQUAL_IMAGES]
    floor, plain, slices = (dict(zip(table.headings, row, strict=True)) for row in table.rows)
    assert (floor["FD-avg"], floor["MS-SSIM"]) == ("20.0", "0.700")
    assert plain["FD-avg"] == "60.0 \N{PLUS-MINUS SIGN} 10"
    assert plain["pairwise L2"] == "19.0 \N{PLUS-MINUS SIGN} 0.0"
    assert (plain["Start"], plain["seeds"], plain["copies"]) == ("none", "3", "3 of 444")
    assert (slices["Start"], slices["FD-avg"]) == ("none, slice discriminator", "40.0")
    assert slices["copies"] == "\N{EN DASH}"  # another snapshot was audited


def test_equal_seconds_count_the_2d_run() -> None:
    twin = a_twin("twin-0")
    results = [a_start("own-none", 0, 50), a_start("own-preserving", 0, 40)]
    collection = collect([*results, twin])
    assert twin.seconds == 900
    table = tables_of_starts(collection)[EQUAL_SECONDS]
    rows = {row[0]: dict(zip(table.headings, row, strict=True)) for row in table.rows}
    # From scratch ends after 600 s; by then the other run's 2D training had not ended.
    assert (rows["none"]["kimg in 3D"], rows["none"]["FD-avg"]) == ("60", "53.0")
    assert (rows["preserving"]["kimg in 3D"], rows["preserving"]["FD-avg"]) == ("0", "360")


def test_times_of_two_machines_are_in_no_table() -> None:
    results = [a_start("own-none", 0, 50)]
    results.append(a_start("own-preserving", 0, 50, machine={"processor": "another", "threads": 1}))
    assert list(tables_of_starts(collect(results))) == [EQUAL_IMAGES]


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
    assert found[0].verdict.startswith(verdict)
    assert found[1].verdict.startswith("not settled")  # no voxels were measured
    assert findings(collect([a_result("coca64-baseline", 0, 50)]).entries)[0].claim != QUESTIONS[0].text
