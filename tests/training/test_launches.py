"""What a GPU would be asked to do in a step, counted on the CPU: few operations, and nothing to wait for."""

from collections import Counter
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.strategies import run_config, write_prepared
from voxflate.config.build import Stream, build_gan, build_run_networks
from voxflate.gans import gan as gan_module
from voxflate.gans.ema import Ema
from voxflate.gans.state import TrainingState
from voxflate.nn.draws import Draws
from voxflate.nn.run_stage import use_kernels
from voxflate.training.guard import Guard

WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "unique", "is_nonzero")
"""Operations whose result the host needs before it can go on."""

SLICES = {
    "slice_discriminator__weight": 1.0,
    "slice_discriminator__side": 32,
    "slice_discriminator__features": "random",
}


class Seen(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.operations = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.operations[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("data") / "set")


def operations_of_a_step(prepared, batch, number, **values):
    """Operations of a step as a GPU takes it: plain networks, counted numbers, a guard that looks rarely."""
    torch.manual_seed(0)
    config = run_config(prepared, training__batch=batch, **values)
    gan = build_gan(config, build_run_networks(config))
    state = TrainingState(gan, Ema(gan.generator, 0.05))
    guard, stream = Guard(state, every=16), Stream(prepared, config.training, gan.device)
    for warm_up in (True, False):
        shown = stream(state.n_images, batch)
        seen = Seen()
        with seen:
            scalars = gan.step(*shown, number=number)
            state.steps, state.n_images = 2, state.n_images + batch  # the guard looks after step 1
            state.ema.update(gan.generator, state.n_images, batch)
            assert guard.after_step(scalars) is None
        if warm_up:
            continue  # the first step makes the optimizers' state
    return seen.operations


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(gan_module, "Draws", partial(Draws, is_counted=True))
    use_kernels("plain")
    yield
    use_kernels("auto")


@pytest.mark.parametrize("values", [{}, SLICES], ids=["plain", "slices"])
def test_a_step_has_nothing_to_wait_for(prepared, values):
    for number in (0, 1):  # with R1 and without
        operations = operations_of_a_step(prepared, 4, number, **values)
        assert sum(operations.values()) > 100
        assert {name: operations[name] for name in WAITS if operations[name]} == {}


@pytest.mark.parametrize("values", [{}, SLICES], ids=["plain", "slices"])
def test_a_step_of_any_batch_takes_as_many_operations(prepared, values):
    small, large = (operations_of_a_step(prepared, batch, 1, **values) for batch in (4, 8))
    assert small - large == large - small == Counter()
