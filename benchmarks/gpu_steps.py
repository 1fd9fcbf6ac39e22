"""The parts of `benchmarks.gpu` about single steps: ceilings, gradients, compiling, speed, sampling."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import torch
from benchmarks.compiled import Gradients, apart, compiled_step
from benchmarks.gpu_session import GIB, Session, seconds_of, use_tf32
from benchmarks.sampling import STEPS, diffusion_unet
from benchmarks.step import Case, gan_of, images
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from voxflate._system.errors import VoxflateError
from voxflate.gans.compiled import DEFAULT, GRAPHS, OFF
from voxflate.gans.gan import Gan, Shown
from voxflate.nn.draws import Draws
from voxflate.nn.run_stage import use_kernels

FLAT, CUBE, WIDE = (2, 4, 4), (4, 4, 4), (1, 4, 4)
CASES = [
    Case("split-shuffle", "3d", base, stages, batch, precision)
    for base, stages in ((FLAT, 5), (CUBE, 5), (WIDE, 6))
    for batch in (4, 32, 128)
    for precision in ("fp32", "bf16")
]
TOY = [Case("split-shuffle", "3d", (1, 2, 2), 3, batch, "fp32", 8) for batch in (2, 4)]
COMPILED = [
    Case("split-shuffle", "3d", FLAT, 5, batch, precision) for batch, precision in ((4, "fp32"), (32, "bf16"))
]
COMPILED_TOY = TOY[1]._replace(stages=2, channels=4)
AGREEMENT = 1e-4
"""Largest difference of gradients, relative to the largest gradient of the tensor."""
SHARE_COMPILED = 0.3
"""Share of the whole time after which nothing more is compiled."""
SHARE_TRAINING = 0.55
"""Share of the whole time for the training."""


def ceilings(session: Session) -> dict[str, Any]:
    """The device's ceilings: bytes/s of a copy, FLOP/s of square matrix products."""
    source = torch.empty(2**24 if session.toy else 2**30, dtype=torch.uint8, device=session.device)
    target = torch.empty_like(source)
    copied = seconds_of(session, lambda: target.copy_(source))
    found: dict[str, Any] = {"bytes_per_s": 2 * source.numel() / copied}
    side = 256 if session.toy else 8192
    for name, dtype in (("fp32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16)):
        use_tf32(session, name != "fp32")
        one = torch.randn(side, side, device=session.device, dtype=dtype)
        found[f"flops_per_s_{name}"] = 2 * side**3 / seconds_of(session, lambda one=one: one @ one)
    return found


def agreement(session: Session) -> dict[str, Any]:
    """Compare gradients of G's, D's and R1's step on the device and on the CPU."""
    use_tf32(session, False)
    case = TOY[0]._replace(batch=4)
    here, there = (gan_of(case, "plain", {"training.device": name}) for name in ("cpu", str(session.device)))
    there.load_state_dict(here.state_dict())
    reals = images(case).reals
    found: dict[str, Any] = {}
    for number, step in enumerate(here.steps):
        ours, theirs = ({step.updates: gradients(gan, number, reals)} for gan in (here, there))
        found[step.name] = apart(theirs, ours)
    found["agrees"] = all(value <= AGREEMENT for value in found.values())
    if not found["agrees"]:
        raise VoxflateError(f"gradients differ by more than {AGREEMENT}: {found}")
    return found


def gradients(gan: Gan, number: int, reals: torch.Tensor) -> list[torch.Tensor]:
    """Gradients of one kind of step, on the CPU."""
    step = gan.steps[number]
    draws = Draws(len(reals), gan.device, range(len(reals)), is_counted=True)
    loss, _ = step.loss(Shown(reals.to(gan.device), draws=draws))
    parameters = [p for p in gan.networks[step.updates].parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [one.cpu() for one in found if one is not None]


def compiled(session: Session) -> dict[str, Any]:
    """Steps as they are, with torch.compile and with CUDA graphs: images/s and gradients."""
    found: dict[str, Any] = {}
    use_kernels("plain")  # a CPU's own kernels are not compiled
    use_tf32(session, False)  # so that gradients can be compared
    known: dict[Case, Gradients] = {}
    for case, mode in product([COMPILED_TOY] if session.toy else COMPILED, (OFF, DEFAULT, GRAPHS)):
        name = f"{case.name}, {mode}"
        if session.seconds_left() < (1 - SHARE_COMPILED) * session.seconds and not session.toy:
            found["left out"] = f"{name} and what follows: time is kept for the rest"
            break
        try:
            found[name], seen = compiled_step(case, mode, session.device, partial(seconds_of, session))
            known.setdefault(case, seen)
            found[name]["gradients_apart"] = apart(seen, known[case])
        except Exception as error:  # a mode that fails says so, and the others are measured
            found[name] = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    torch.compiler.reset()
    use_kernels("auto")
    return found


def steps(session: Session) -> dict[str, Any]:
    """Speed and memory of training steps, and what share of the ceilings they reach."""
    use_tf32(session, True)
    found: dict[str, Any] = {}
    for case in TOY if session.toy else CASES:
        if session.seconds_left() < SHARE_TRAINING * session.seconds and not session.toy:
            found["left out"] = f"{case.name} and what follows: time is kept for the training"
            break
        variants = ("plain", "straight") if case.batch <= 4 and case.precision == "fp32" else ("plain",)
        for variant in variants:
            name = case.name if variant == "plain" else f"{case.name}, straight lift"
            try:
                found[name] = measured(session, case, variant)
            except torch.cuda.OutOfMemoryError:
                found[name] = {"fits": False}
            if session.device.type == "cuda":
                torch.cuda.empty_cache()
    return found


def measured(session: Session, case: Case, variant: str) -> dict[str, Any]:
    """Images/s with R1 as often as in a training, peak memory, shares of both ceilings."""
    gan = gan_of(case, variant, {"training.device": str(session.device)})
    reals = images(case).reals.to(session.device)
    if session.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(session.device)
    often = seconds_of(session, lambda: gan.step(reals, None, number=1))
    with_r1 = seconds_of(session, lambda: gan.step(reals, None, number=0), rounds=2)
    every = max(step.every for step in gan.steps)
    seconds = often + max(0.0, with_r1 - often) / every
    with FlopCounterMode(display=False) as flops:
        gan.step(reals, None, number=1)
    with Traffic() as traffic:
        gan.step(reals, None, number=1)
    limits = session.results["ceilings"]
    best = limits["flops_per_s_bf16" if case.precision == "bf16" else "flops_per_s_tf32"]
    result = {
        "images_per_s": case.batch / seconds,
        "share_of_flops": flops.get_total_flops() / often / best,
        "share_of_bandwidth": traffic.bytes / often / limits["bytes_per_s"],
    }
    if session.device.type == "cuda":
        result["peak_gib"] = torch.cuda.max_memory_allocated(session.device) / GIB
    return result


class Traffic(TorchDispatchMode):
    """Counts the bytes that the operations in the block read and write, each counted separately."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and add the sizes of its inputs and outputs; a view moves nothing."""
        given = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [one for one in tree_leaves((args, kwargs, given)) if isinstance(one, torch.Tensor)]
            self.bytes += sum(one.numel() * one.element_size() for one in tensors)
        return given


@torch.no_grad()
def sampling(session: Session) -> dict[str, Any]:
    """Volumes/s of our generator and of a diffusion model's U-Net, in float32."""
    case = TOY[0] if session.toy else CASES[0]
    gan = gan_of(case, "plain", {"training.device": str(session.device)})
    codes = torch.randn(case.batch, gan.generator.z_dim, device=session.device)
    ours = case.batch / seconds_of(session, lambda: gan.generator(codes))
    found: dict[str, Any] = {"generator_volumes_per_s": ours}
    try:
        unet = diffusion_unet().to(session.device)
    except VoxflateError as error:
        return found | {"U-Net": str(error)}
    x = torch.randn(case.batch, 1, *case.shape, device=session.device)
    at = torch.tensor([500.0], device=session.device)
    once = seconds_of(session, lambda: unet(x, timesteps=at), rounds=2)
    return found | {f"{name}_volumes_per_s": case.batch / (once * count) for name, count in STEPS.items()}
