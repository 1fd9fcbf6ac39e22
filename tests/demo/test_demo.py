from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from voxflate._system.errors import VoxflateError
from voxflate.config.schema import RunConfig
from voxflate.config.toml import with_values
from voxflate.demo import plan as demo_plan
from voxflate.demo import run as demo
from voxflate.demo.plan import (
    PLAN_NAME,
    RECOMMENDED,
    STARTS,
    Plan,
    common_settings,
    make_plan,
    read_plan,
    settings_3d,
)
from voxflate.reports.page import RunSummary

PLAN = Plan(1.0, 0.64, 100.0, 10.0, 20.0, threads=2, threads_shared=1, minutes=15.0, seed=0)


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A folder where a demo of 15 minutes and seed 0 was begun."""
    (tmp_path / PLAN_NAME).write_text(json.dumps(asdict(PLAN)))
    return tmp_path


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("the demo went on")

    for name in ("make_cohort", "prepare", "open_prepared", "make_plan"):
        monkeypatch.setattr(demo, name, refuse)


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(("minutes", "seed"), [(15.0, 1), (5.0, 0)])
def test_a_folder_with_another_demo_is_refused(begun: Path, minutes: float, seed: int) -> None:
    with pytest.raises(VoxflateError) as caught:
        demo.run_demo(begun, minutes, seed)
    assert str(caught.value) == (
        f"{begun}: has a demo with seed 0, 15 minutes; choose another --out, or give the same values"
    )
    assert json.loads((begun / PLAN_NAME).read_text()) == asdict(PLAN)


def test_the_same_values_take_up_the_plan(begun: Path) -> None:
    assert read_plan(begun, 15.0, 0) == PLAN
    assert read_plan(begun / "new", 15.0, 0) is None


@pytest.mark.usefixtures("nothing_runs")
def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(VoxflateError, match="is not empty and has no demo; choose a new or empty folder"):
        demo.run_demo(tmp_path, 15.0, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_plan_of_another_version_is_one_line(begun: Path) -> None:
    (begun / PLAN_NAME).write_text('{"minutes": 15}')
    with pytest.raises(VoxflateError, match="another version; choose another --out"):
        read_plan(begun, 15.0, 0)


def test_a_new_plan_knows_its_seed_and_shares_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_plan, "available_cores", lambda: 2)
    monkeypatch.setattr(demo_plan, "_images_per_second", lambda config: 300.0)
    plan = make_plan(tmp_path, 10.0, 7)
    assert (plan.seed, plan.minutes) == (7, 10.0)
    assert (plan.threads, plan.threads_shared) == (2, 1)
    assert plan.images_per_s_2d == plan.images_per_s_3d == plan.images_per_s_others == 300.0
    assert plan.kimg_2d == pytest.approx(300 * 600 * demo_plan.SHARE_2D / 1000, rel=1e-3)
    # The recommended run and a quarter of it.
    assert 1.25 * plan.kimg_3d == pytest.approx(300 * 600 * demo_plan.SHARE_3D / 1000, rel=1e-3)
    _, three_d = common_settings(plan, "")
    for strategy in STARTS:
        config = settings_3d(plan, three_d, strategy, None)
        assert config.training.kimg * 1000 % config.training.snapshot_images == 0
        assert config.training.snapshot_images % config.training.batch == 0  # the last snapshot is the end
    assert read_plan(tmp_path, 10.0, 7) == plan


def test_the_speed_of_both_phases_can_be_measured() -> None:
    for config in common_settings(PLAN, ""):
        tiny = with_values(config, {"network.channels": 4, "network.stages": 2, "training.device": "cpu"})
        assert demo_plan._images_per_second(tiny, seconds=0.01) > 0


def test_the_three_runs_differ_in_start_slices_and_length() -> None:
    _, base = common_settings(PLAN, "data")
    for strategy in STARTS:
        twin = None if strategy == "none" else Path("twin")
        config = settings_3d(PLAN, base, strategy, twin)
        recommended = strategy == RECOMMENDED
        assert config.start.strategy == strategy
        assert bool(config.start.twin) == (twin is not None)
        assert config.training.seed == PLAN.seed
        assert config.training.kimg == (0.64 if recommended else 0.16)
        assert config.slice_discriminator.weight == (1.0 if recommended else 0.0)
        assert config.training.threads == (1 if twin is None else 2)
    assert set(demo.LABELS) == set(STARTS)


def processes(monkeypatch: pytest.MonkeyPatch, **commands: str) -> dict[str, subprocess.Popen[bytes]]:
    """Replace each training by a line of Python; gives the processes as they are started."""
    started: dict[str, subprocess.Popen[bytes]] = {}

    def start(run: Path, config: RunConfig) -> subprocess.Popen[bytes]:
        started[run.name] = subprocess.Popen([sys.executable, "-c", commands[run.name]])
        return started[run.name]

    monkeypatch.setattr(demo, "_start", start)
    monkeypatch.setattr(demo, "POLL_SECONDS", 0.05)
    return started


def runs(folder: Path, *names: str) -> dict[Path, RunConfig]:
    return {folder / name: RunConfig() for name in names}


def test_one_failure_stops_the_others_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = processes(monkeypatch, long="import time; time.sleep(60)", bad="raise SystemExit(2)")
    since = time.monotonic()
    with pytest.raises(VoxflateError, match=r"bad: training failed; .*bad\.log; the same"):
        demo._train_side_by_side("3D", runs(tmp_path, "long", "bad"), lambda *_: None)
    assert time.monotonic() - since < 30
    assert started["long"].returncode not in (None, 0)


def test_an_interruption_stops_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = processes(monkeypatch, one="import time; time.sleep(60)", two="import time; time.sleep(60)")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo._train_side_by_side("3D", runs(tmp_path, "one", "two"), interrupt)
    assert all(process.returncode is not None for process in started.values())


def test_progress_starts_at_nothing_and_ends_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processes(monkeypatch, one="import time; time.sleep(0.3)", two="pass")
    told: list[Any] = []
    demo._train_side_by_side("3D", runs(tmp_path, "one", "two"), lambda *step: told.append(step))
    assert told[0] == ("3D", 0.0)
    assert told[-1] == ("3D", 1.0)


def test_the_verdict_compares_after_equal_images(tmp_path: Path) -> None:
    def summary(label: str, *points: tuple[float, float]) -> RunSummary:
        return RunSummary(
            label, 1, 1, points[-1][0], 1.0, {"d": points}, {"d": points[-1][1]}, tmp_path, tmp_path
        )

    runs = [summary("short", (0.0, 900.0), (1.0, 300.0)), summary("long", (1.0, 250.0), (4.0, 90.0))]
    first, second = demo._verdict(runs, 1.0, "d")
    assert first == "After 1 kimg each, the mean distances are: short 300, long 250."
    assert "one seed" in second


def test_a_run_without_rows_has_shown_no_image(tmp_path: Path) -> None:
    assert demo._images(tmp_path) == 0
    (tmp_path / "log.jsonl").write_text('{"n_im')
    assert demo._images(tmp_path) == 0
    (tmp_path / "log.jsonl").write_text('{"n_images": 8}\n{"n_images": 16}\n')
    assert demo._images(tmp_path) == 16
