"""The parts of `benchmarks.gpu` that pass or fail: what a step does on a GPU, and its gradients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from benchmarks.compiled import Gradients, apart
from benchmarks.gpu_session import KINDS, Kind, Results, Session, tried
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_leaves

from voxflate._system.devices import send, use_gpu
from voxflate._system.errors import VoxflateError
from voxflate.gans.ema import Ema
from voxflate.gans.gan import Gan, Shown
from voxflate.gans.state import TrainingState
from voxflate.nn.draws import Draws
from voxflate.runs.snapshots import load_newest, save_snapshot
from voxflate.training.guard import GPU_EVERY, Guard, NonFiniteError

AGREEMENT = 1e-4
"""Largest difference of gradients between devices, see `apart`."""
NORMALS_APART = 1e-5
"""Largest difference of normal numbers: logarithm, root and cosine may differ in the last digit."""
LOSS_APART = 1e-4
"""Largest difference of a loss before and after a snapshot, relative to losses above 1."""
MORE_LAUNCHES = 1.1
"""A larger batch may launch so many times as many kernels: libraries choose others for it."""


def checks(session: Session) -> Results:
    """What must hold on a GPU; on a CPU, what of it has a meaning there."""
    use_gpu(session.device, tf32=True, autotune=True)
    for name, kind in KINDS.items():
        if session.device.type == "cuda":
            yield f"{name}: a step waits for nothing", tried(session, partial(waits, session, kind))
        yield f"{name}: a step of any batch", tried(session, partial(work_of_batches, session, kind))
    others: dict[str, Callable[[Session], dict[str, Any]]] = {
        "random numbers are those of the CPU": random_numbers,
        "a NaN gradient moves no weight": nan_gradient,
        "a snapshot continues": snapshot,
    }
    for name, check in others.items():
        yield name, tried(session, partial(check, session))


def state_of(gan: Gan) -> TrainingState:
    """The state of a training with these networks."""
    return TrainingState(gan, Ema(gan.generator, 0.05))


def waits(session: Session, kind: Kind) -> dict[str, Any]:
    """Take steps, with R1 and without, in which PyTorch refuses what the host waits for."""
    gan = kind.gan(session.device)
    state, shown = state_of(gan), kind.shown("cpu")
    guard = Guard(state)
    for mode in ("default", "default", "error"):  # at first, Adam's averages and fixed tables are made
        torch.cuda.set_sync_debug_mode(mode)
        try:
            for number in (0, 1):
                reals = send(shown.reals, session.device)
                positions = None if shown.positions is None else send(shown.positions, session.device)
                scalars = gan.step(reals, positions, number=number)
                state.steps, state.n_images = 2, state.n_images + len(reals)  # the guard looks after step 1
                state.ema.update(gan.generator, state.n_images, len(reals))
                guard.after_step(scalars)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        session.wait()
    return {"passed": True}


def work_of_batches(session: Session, kind: Kind) -> dict[str, Any]:
    """Count the operations and the launches of a step for a small and a large batch.

    Raises:
        VoxflateError: If the larger batch has other operations, or many more launches.
    """
    batches = (4, 8) if session.toy else (4, 32)
    found: dict[str, Any] = {}
    seen, launched = [], []
    for batch in batches:
        one = kind._replace(case=kind.case._replace(batch=batch))
        gan, shown = one.gan(session.device), one.shown(session.device)
        take_all(gan, shown)
        with Operations() as operations:
            take_all(gan, shown)
        seen.append(operations.counts)
        launched.append(launches(session, gan, shown))
        found[f"batch {batch}"] = {"operations": operations.counts.total(), "launches": launched[-1]}
    if seen[0] != seen[1]:
        raise VoxflateError(f"operations differ by {(seen[1] - seen[0]) + (seen[0] - seen[1])}: {found}")
    if launched[1] > MORE_LAUNCHES * launched[0]:
        raise VoxflateError(f"the larger batch launches more kernels: {found}")
    return found


def take_all(gan: Gan, shown: Shown) -> None:
    """Every step that is due at most batches, with the random numbers of a GPU, on a CPU too."""
    seeds = list(range(len(shown.reals)))
    for step in gan.steps:
        if step.every == 1:
            draws = Draws(len(seeds), gan.device, seeds, is_counted=True)
            gan.take(step, Shown(shown.reals, shown.positions, draws))


class Operations(TorchDispatchMode):
    """Counts PyTorch's operations in the block by name, and the bytes that they read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count it; a view does nothing."""
        given = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.counts[func.overloadpacket.__name__] += 1
            tensors = [one for one in tree_leaves((args, kwargs, given)) if isinstance(one, torch.Tensor)]
            self.bytes += sum(one.numel() * one.element_size() for one in tensors)
        return given


def launches(session: Session, gan: Gan, shown: Shown) -> int:
    """Kernels that the steps launch, as PyTorch's profiler sees them; 0 on a CPU."""
    if session.device.type != "cuda":
        return 0
    profiler = torch.profiler
    with profiler.profile(activities=[profiler.ProfilerActivity.CPU, profiler.ProfilerActivity.CUDA]) as seen:
        take_all(gan, shown)
        session.wait()
    rows = seen.key_averages()
    return sum(row.count for row in rows if row.key.startswith(("cudaLaunchKernel", "cuLaunchKernel")))


def random_numbers(session: Session) -> dict[str, Any]:
    """Compare counted random numbers with those that the CPU computes.

    Raises:
        VoxflateError: If they differ by more than rounding.
    """
    here, there = (Draws(3, name, [0, 1, 2**32 - 1], is_counted=True) for name in ("cpu", session.device))
    found = {}
    for kind, limit in (("uniform", 0.0), ("normal", NORMALS_APART)):
        ours, theirs = (getattr(draws, kind)(100, 100).cpu() for draws in (here, there))
        found[kind] = float((ours - theirs).abs().max())
        if not found[kind] <= limit:
            raise VoxflateError(f"{kind} numbers differ by {found[kind]:.2g} from the CPU's, above {limit:g}")
    return found


def nan_gradient(session: Session) -> dict[str, Any]:
    """Give G's optimizer a NaN.

    Raises:
        VoxflateError: If it moves G's weights, stops D or G's next step, or the guard does not see it.
    """
    gan = KINDS["volumes"].gan(session.device)
    state, shown = state_of(gan), KINDS["volumes"].shown(session.device)
    spoilt = [False]

    def spoil(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if spoilt[0]:
            optimizer.param_groups[0]["params"][0].grad.fill_(torch.nan)

    gan.optimizers["generator"].register_step_pre_hook(spoil)  # before the guard's
    guard = Guard(state, every=GPU_EVERY)
    for spoilt[0] in (False, True, False):
        before = {name: weights_of(gan, name) for name in gan.networks}
        scalars = gan.step(shown.reals, None, number=1)
        moved = [name for name in gan.networks if not torch.equal(before[name], weights_of(gan, name))]
        if moved != ["discriminator"] if spoilt[0] else moved != list(gan.networks):
            raise VoxflateError(f"a step {'with' if spoilt[0] else 'without'} a NaN gradient moves {moved}")
        state.n_images += len(shown.reals)
        try:
            guard.after_step(scalars, look=True)
        except NonFiniteError:
            if not spoilt[0]:
                raise
        else:
            if spoilt[0]:
                raise VoxflateError("the guard did not see a NaN gradient")
    return {"passed": True}


def weights_of(gan: Gan, name: str) -> torch.Tensor:
    """All weights of a network."""
    return torch.cat([p.detach().flatten() for p in gan.networks[name].parameters()])


def snapshot(session: Session) -> dict[str, Any]:
    """Save a state, load it into fresh networks, and take a step with both.

    Raises:
        VoxflateError: If the states or the next losses differ.
    """
    kind, run = KINDS["volumes with slices"], session.out / "check"
    first, second = (state_of(kind.gan(session.device)) for _ in range(2))
    reals = kind.shown(session.device).reals
    for number in range(2):
        first.gan.step(reals, None, number=number)
    save_snapshot(run, first.state_dict() | {"model": "stylegan2", "network": {}}, keep=1)
    second.load_state_dict(load_newest(run)[0])
    saved, loaded = (tensors_of(state) for state in (first, second))
    equal = {name: name in loaded and torch.equal(value, loaded[name]) for name, value in saved.items()}
    if bad := [name for name in saved if not equal[name]]:
        raise VoxflateError(f"{bad[0]} (and {len(bad) - 1} more) differs after loading")
    ours, theirs = (float(state.gan.step(reals, None, number=2)["loss_g"]) for state in (first, second))
    if not abs(ours - theirs) <= LOSS_APART * max(1.0, abs(ours)):
        raise VoxflateError(f"after loading, G's loss is {theirs:.6g} instead of {ours:.6g}")
    return {"tensors": len(saved), "loss_apart": abs(ours - theirs)}


def tensors_of(state: TrainingState) -> dict[str, torch.Tensor]:
    """All tensors of a state, by their path."""
    leaves, _ = tree_flatten_with_path(state.state_dict())
    return {keystr(path): value for path, value in leaves if isinstance(value, torch.Tensor)}


def agreement(session: Session) -> Results:
    """Compare gradients of every kind of step on the device and on the CPU, in float32 without TF32."""
    use_gpu(session.device, tf32=False, autotune=True)
    for name, kind in KINDS.items():
        yield name, tried(session, partial(agreement_of, session, kind))


def agreement_of(session: Session, kind: Kind) -> dict[str, Any]:
    """How far the gradients of each step are apart; "failed" if one is too far."""
    here, there = kind.gan("cpu"), kind.gan(session.device)
    there.load_state_dict(here.state_dict())
    shown = [kind.shown(gan.device) for gan in (here, there)]
    found: dict[str, Any] = {}
    for number, step in enumerate(here.steps):
        ours, theirs = (gradients(gan, number, one) for gan, one in zip((here, there), shown, strict=True))
        found[step.name] = apart(theirs, ours)
    if not all(value <= AGREEMENT for value in found.values()):
        found["failed"] = f"gradients differ from the CPU's by more than {AGREEMENT:g}"
    return found


def gradients(gan: Gan, number: int, shown: Shown) -> Gradients:
    """Gradients of one kind of step, on the CPU."""
    step = gan.steps[number]
    loss, _ = step.loss(shown)
    parameters = [p for p in gan.networks[step.updates].parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return {step.updates: [one.cpu() for one in found if one is not None]}
