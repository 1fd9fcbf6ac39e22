"""What a GPU would be asked to do in a step, counted on the CPU: few operations, and nothing to wait for."""

from collections import Counter
from contextlib import contextmanager
from functools import partial, partialmethod

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.strategies import run_config, write_prepared
from voxflate.config.build import Stream, build_gan, build_run_networks
from voxflate.gans import gan as gan_module
from voxflate.gans import slice_discriminator
from voxflate.gans.ema import Ema
from voxflate.gans.state import TrainingState
from voxflate.nn import draws as draws_module
from voxflate.nn import functional, resample
from voxflate.nn.draws import Draws
from voxflate.nn.mapping import Mapping
from voxflate.nn.run_stage import use_kernels
from voxflate.training.guard import Guard

WAITS = (
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "equal",
    "unique",
    "is_nonzero",
    "copy that waits",
)
"""Operations whose result the host needs before it can go on."""

READS = ("tolist", "numpy", "cpu", "item", "__bool__", "__int__", "__float__", "__index__", "__array__")
"""Methods that read numbers: for a tensor of the CPU, PyTorch sees no operation in most of them."""

SLICES = {
    "slice_discriminator__weight": 1.0,
    "slice_discriminator__side": 32,
    "slice_discriminator__features": "random",
}
CASES = {
    "plain": {},
    "slices": {**SLICES, "slice_discriminator__channels": "neighbours", "slice_discriminator__per_volume": 3},
    "planar": {**SLICES, "training__phase": "2d", "training__twin": "planar", "network__position": True},
}
"""As in the recommended 3D and 2D trainings, and without slices."""

LAUNCHES = {
    "plain": {"g": 570, "d": 200, "r1": 330, "after": 40},
    "slices": {"g": 810, "d": 200, "s": 370, "r1": 330, "after": 50},
    "planar": {"g": 690, "d": 200, "s": 160, "r1": 330, "after": 50},
}
"""Most operations of each kind of step, and of average and guard after all: today's, rounded up to tens."""


class Seen(TorchDispatchMode):
    """Counts operations that are no views, by their names; notes the tensors that were made from numbers."""

    def __init__(self):
        super().__init__()
        self.operations = Counter()
        self.made = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in ("index", "index_put_", "index_put", "_index_put_impl_"):
            kinds = {one.dtype for one in args[1] if one is not None}
            name = "nonzero" if kinds & {torch.bool, torch.uint8} else name  # what a mask becomes
        given = func(*args, **(kwargs or {}))
        if name == "lift_fresh":
            self.made.append(given)
        elif not func.is_view:
            self.operations[name] += 1
        return given


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("data") / "set")


@contextmanager
def seen_by_a_gpu():
    """Count operations; a number read on the host raises, and a copy that waits is an operation."""
    seen, sent, made = Seen(), {}, torch.tensor

    def refused(name, tensor, *given, **values):
        raise AssertionError(f"Tensor.{name} would wait for the GPU")

    def send(tensor, device):
        sent[tensor.data_ptr()] = tensor
        return tensor.to(device)

    def tensor(*given, device=None, **values):
        seen.operations["copy that waits"] += device is not None
        return made(*given, device=device, **values)

    with pytest.MonkeyPatch.context() as patch, seen:
        for name in READS:
            patch.setattr(Tensor, name, partialmethod(partial(refused, name)), raising=False)
        for module in (draws_module, slice_discriminator):
            patch.setattr(module, "send", send)
        patch.setattr(torch, "tensor", tensor)
        yield seen.operations
    waiting = [one for one in seen.made if one.ndim and one.data_ptr() not in sent]
    seen.operations["copy that waits"] += len(waiting)


def operations_of_a_step(prepared, batch, **values):
    """Operations of every kind of step as a GPU takes it: plain networks, counted numbers, a rare look."""
    torch.manual_seed(0)
    config = run_config(prepared, training__batch=batch, **values)
    gan = build_gan(config, build_run_networks(config))
    state = TrainingState(gan, Ema(gan.generator, 0.05))
    guard, stream = Guard(state, every=16), Stream(prepared, config.training, gan.device)
    gan.step(*stream(0, batch), number=0)  # it makes the optimizers' state and tables
    found, take = {}, gan.take

    def counted(step, shown):
        with seen_by_a_gpu() as found[step.name]:
            return take(step, shown)

    gan.take = counted
    scalars = gan.step(*stream(batch, batch), number=0)  # every kind of step is due
    with seen_by_a_gpu() as found["after"]:
        state.steps, state.n_images = 2, 2 * batch  # the guard looks after step 1
        state.ema.update(gan.generator, state.n_images, batch)
        assert guard.after_step(scalars) is None
    return found


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(gan_module, "Draws", partial(Draws, is_counted=True))
    for module in (functional, resample):
        monkeypatch.setattr(module, "takes_cpu_form", lambda x: False)
    use_kernels("plain")
    yield
    use_kernels("auto")


def assert_light(found, most):
    """Nothing to wait for, and no more operations than these."""
    for operations in found.values():
        assert {name: operations[name] for name in WAITS if operations[name]} == {}
    launches = {name: sum(operations.values()) for name, operations in found.items()}
    assert launches.keys() == most.keys()
    assert {name: count for name, count in launches.items() if count > most[name]} == {}


@pytest.mark.parametrize("case", CASES)
def test_a_step_has_nothing_to_wait_for_and_few_operations(prepared, case):
    assert_light(operations_of_a_step(prepared, 4, **CASES[case]), LAUNCHES[case])


@pytest.mark.parametrize("case", CASES)
def test_a_step_of_any_batch_takes_as_many_operations(prepared, case):
    small, large = (operations_of_a_step(prepared, batch, **CASES[case]) for batch in (4, 8))
    assert small == large


@pytest.mark.parametrize(
    "slip",
    [
        lambda z: z.tolist(),
        lambda z: z.detach().cpu().numpy(),
        lambda z: bool((z > 9).any()),
        lambda z: torch.tensor([1.0, 2.0], device=z.device),
        lambda z: z + torch.tensor([1.0]).to(z.device),
        lambda z: z[z > 9],
        lambda z: z.detach().clone().index_put_((z > 9,), torch.zeros(())),
        lambda z: z.nonzero(),
        lambda z: [z.square() for _ in range(20)],
    ],
    ids=["list", "array", "decision", "new", "moved", "mask", "filled mask", "places", "launches"],
)
def test_a_slip_is_seen(prepared, slip, monkeypatch):
    forward = Mapping.forward

    def slipped(self, z, *given, **values):
        slip(z)
        return forward(self, z, *given, **values)

    monkeypatch.setattr(Mapping, "forward", slipped)
    with pytest.raises(AssertionError):
        assert_light(operations_of_a_step(prepared, 4), LAUNCHES["plain"])
