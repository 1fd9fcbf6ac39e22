import os
import signal
from functools import partial

import pytest
import torch

from tests.strategies import run_config, write_prepared
from tests.training.test_run import same
from voxflate._system.devices import peak_gib
from voxflate._system.errors import TrainingStopped
from voxflate.gans.gan import Gan
from voxflate.runs.log import read_rows
from voxflate.runs.snapshots import list_snapshots, load_newest
from voxflate.training import run as run_module
from voxflate.training.guard import Guard
from voxflate.training.run import train_run
from voxflate.training.stop import StopRequest, stop_on_signals


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("data") / "set")


def send(number, at, times=1):
    """Signals this process after the step that ends at so many images."""

    def after_step(progress):
        if progress.n_images == at:
            for _ in range(times):
                os.kill(os.getpid(), number)

    return after_step


@pytest.mark.parametrize(("number", "at"), [(signal.SIGTERM, 8), (signal.SIGINT, 8), (signal.SIGTERM, 12)])
def test_a_signal_finishes_the_step_and_saves_it(number, at, prepared, tmp_path):
    config = run_config(prepared, evaluation__every=1)
    train_run(config, tmp_path / "whole" / "run")
    run, told = tmp_path / "stopped" / "run", []
    with pytest.raises(TrainingStopped) as caught, stop_on_signals(told.append) as stop:
        train_run(config, run, on_progress=send(number, at), stop=stop)
    assert caught.value.n_images == at
    assert load_newest(run)[0]["n_images"] == at
    assert "a second Ctrl-C stops at once" in told[0]
    train_run(config, run, resume=True)
    same(load_newest(tmp_path / "whole" / "run")[0], load_newest(run)[0])
    for name in ("metrics.jsonl", "snapshots.jsonl"):
        assert read_rows(run / name) == read_rows(tmp_path / "whole" / "run" / name)
    rows = read_rows(run / "log.jsonl")
    assert [row["since"] for row in rows] == [0, *[row["n_images"] for row in rows[:-1]]]
    assert rows[-1]["n_images"] == 24
    peaks = [row["peak_gib"] for row in rows]
    assert peaks == sorted(peaks)
    assert 0.05 < peaks[0] <= peaks[-1] <= round(peak_gib(torch.device("cpu")), 3)


def test_a_signal_finishes_the_step_even_where_the_guard_looks_rarely(prepared, tmp_path, monkeypatch):
    """As on a GPU: the guard looks after the first step and the 17th, the signal comes in the second."""
    step, told, stop = Gan.step, [], StopRequest()

    def interrupted(self, *shown, number, train_g):
        if number == 1:
            stop.ask()
        return step(self, *shown, number=number, train_g=train_g)

    monkeypatch.setattr(Gan, "step", interrupted)
    monkeypatch.setattr(run_module, "Guard", partial(Guard, every=16))
    run = tmp_path / "run"
    with pytest.raises(TrainingStopped) as caught:
        train_run(run_config(prepared), run, on_progress=told.append, stop=stop)
    assert caught.value.n_images == load_newest(run)[0]["n_images"] == 8
    assert [progress.n_images for progress in told] == [4, 8]
    assert read_rows(run / "log.jsonl")[-1]["n_images"] == 8


def test_a_second_ctrl_c_stops_at_once_and_a_second_sigterm_does_not(prepared, tmp_path):
    config = run_config(prepared)
    with pytest.raises(KeyboardInterrupt), stop_on_signals() as stop:
        train_run(config, tmp_path / "a", on_progress=send(signal.SIGINT, 8, times=2), stop=stop)
    assert load_newest(tmp_path / "a")[0]["n_images"] == 0
    with pytest.raises(TrainingStopped), stop_on_signals() as stop:
        train_run(config, tmp_path / "b", on_progress=send(signal.SIGTERM, 8, times=2), stop=stop)
    assert load_newest(tmp_path / "b")[0]["n_images"] == 8


def test_afterwards_signals_do_what_they_did_before():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_on_signals():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_measurement_is_broken_off_because_nothing_is_lost(prepared, tmp_path, monkeypatch):
    config = run_config(prepared, evaluation__every=1)
    stop = StopRequest()

    def measured(*_):
        stop.ask()
        pytest.fail("went on measuring")

    with monkeypatch.context() as patch:
        patch.setattr("voxflate.evaluation.Evaluator.measure", measured)
        with pytest.raises(TrainingStopped) as caught:
            train_run(config, tmp_path / "run", stop=stop)
    assert caught.value.n_images == 0
    assert not read_rows(tmp_path / "run" / "metrics.jsonl")
    train_run(config, tmp_path / "run", resume=True)
    assert [row["n_images"] for row in read_rows(tmp_path / "run" / "metrics.jsonl")] == [0, 12, 24]


def test_before_the_first_step_there_is_nothing_to_save(prepared, tmp_path):
    stop = StopRequest()
    stop.ask()
    with pytest.raises(TrainingStopped) as caught:
        train_run(run_config(prepared), tmp_path / "run", stop=stop)
    assert caught.value.n_images is None
    assert not list_snapshots(tmp_path / "run")
    assert not (tmp_path / "run").exists()
