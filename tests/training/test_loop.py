from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from voxflate.training.loop import Schedule, train


def schedule(**values):
    return Schedule(**{"total": 100, "batch": 8, "snapshot_every": 24, "stop_at": 100, **values})


def test_the_rate_goes_from_one_to_its_end_along_half_a_cosine():
    plan = schedule(total=1000, lr_decay=0.2)
    assert [plan.learning_rate(n) for n in (0, 500, 1000, 1500)] == pytest.approx([1.0, 0.6, 0.2, 0.2])
    rates = [plan.learning_rate(n) for n in range(0, 1001, 50)]
    assert rates == sorted(rates, reverse=True)
    assert {schedule().learning_rate(n) for n in (0, 30, 100)} == {1.0}
    lower = plan.scaled(0.25)
    assert [lower.learning_rate(n) for n in (0, 1000)] == pytest.approx([0.25, 0.05])


@given(st.integers(1, 300), st.integers(1, 20), st.integers(1, 60))
def test_every_multiple_is_snapshot_once_and_the_stop_too(total, batch, every):
    every = max(every, batch)
    plan = schedule(total=total, batch=batch, snapshot_every=every, stop_at=total)
    ends = range(batch, total + batch, batch)
    taken = [n for n in ends if plan.is_snapshot(n)]
    crossed = {next(n for n in ends if n >= multiple) for multiple in range(every, total + 1, every)}
    assert set(taken) == crossed | {ends[-1]}


class Recording:
    """A training state whose steps are lines of a list."""

    def __init__(self, n_images=0, steps=0):
        self.n_images, self.steps, self.seconds, self.lines = n_images, steps, 0.0, []
        self.gan = SimpleNamespace(
            generator="G",
            device=torch.device("cpu"),
            scale_learning_rates=lambda factor: self.lines.append(("rate", factor)),
            step=self.step,
        )
        self.ema = SimpleNamespace(update=lambda g, n, b: self.lines.append(("ema", g, n, b)))

    def step(self, reals, positions, *, number, train_g):
        self.lines.append(("step", reals, positions, number, train_g))
        return {}


def run(state, **values):
    train(
        state,
        lambda n, size: (f"reals {n}", f"positions {size}"),
        schedule(**values),
        lambda s, losses: s.lines.append(("on_step", s.n_images)),
        lambda s: s.lines.append(("snapshot", s.n_images)),
    )
    return state.lines


def test_a_step_is_rate_images_networks_average_and_then_it_is_told():
    lines = run(Recording(), stop_at=16, freeze_g=8)
    assert lines == [
        ("snapshot", 0),
        ("rate", 1.0),
        ("step", "reals 0", "positions 8", 0, False),
        ("ema", "G", 8, 8),
        ("on_step", 8),
        ("rate", 1.0),
        ("step", "reals 8", "positions 8", 1, True),
        ("ema", "G", 16, 8),
        ("on_step", 16),
        ("snapshot", 16),
    ]


def test_a_training_that_goes_on_takes_no_snapshot_of_its_start():
    assert run(Recording(n_images=16, steps=2), stop_at=24)[0] == ("rate", 1.0)
    assert run(Recording(n_images=100), stop_at=100) == []
    assert run(Recording(), stop_at=0) == [("snapshot", 0)]


def test_the_steps_that_a_gpu_has_still_to_take_count_before_a_snapshot(monkeypatch):
    state, clock = Recording(n_images=8, steps=1), [0.0]
    state.gan.device = torch.device("cuda:0")

    def synchronize(device):
        state.lines.append(("wait", str(device)))
        clock[0] += 5.0

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr("voxflate.training.loop.time.perf_counter", lambda: clock[0])
    lines = run(state, stop_at=24)
    assert [line for line in lines if line[0] in ("wait", "snapshot")] == [
        ("wait", "cuda:0"),
        ("snapshot", 24),
    ]
    assert state.seconds == 5.0
