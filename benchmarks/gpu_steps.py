"""The parts of `benchmarks.gpu` that measure: ceilings, layouts, steps, sampling, compiling."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from benchmarks.compiled import Gradients, angle, apart, compiled_step
from benchmarks.gpu_checks import Operations
from benchmarks.gpu_session import GIB, SLICES, SMALL, Kind, Results, Session, seconds_of, tried
from benchmarks.sampling import STEPS, diffusion_unet
from benchmarks.step import Case, gan_of
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from voxflate._system.devices import use_gpu
from voxflate._system.errors import VoxflateError
from voxflate.gans.compiled import DEFAULT, GRAPHS, OFF
from voxflate.nn.functional import bias_leaky_relu, channels_last
from voxflate.nn.run_stage import use_kernels

FLAT, CUBE, WIDE = (2, 4, 4), (4, 4, 4), (1, 4, 4)
SHAPES = ((FLAT, 5), (CUBE, 5), (WIDE, 6))
BATCHES = (4, 32, 128)
PRECISIONS = ("bf16", "fp32")
REUSED = {"training.reuse_fakes": True}
"""As recommended; one network less to compile."""
EXACT = Kind(SMALL._replace(stages=2, channels=4), REUSED)
"""Small, float32 without TF32: its gradients must be those of the networks as they are."""
ROUNDED = [Kind(Case("split-shuffle", "3d", FLAT, 5, 4, precision), REUSED) for precision in PRECISIONS]
"""The recommended batch; TF32 and bfloat16 round at other places when compiled."""
LARGEST = 2**31
"""Elements of a tensor from which kernels may fail in a way that ends all work of the process."""
WITHIN = 4.0
"""Seconds after which a measurement begins no other round."""

COMPILED_APART, LEAST_COSINE = 1e-3, 0.995
"""Limits for gradients of compiled networks: exact ones (see `apart`), and rounded ones."""
COMPILING_S = 60.0
"""Expected time of the first compiling; then that of the last one."""


class Job(NamedTuple):
    """Steps to measure.

    Attributes:
        name: What is measured.
        kind: Networks, batch and settings.
        variant: plain or straight, see `benchmarks.step`.
        alone: In a process of its own, because it may fail for good.
    """

    name: str
    kind: Kind
    variant: str = "plain"
    alone: bool = False


def jobs(session: Session) -> Iterator[Job]:
    """The steps to measure, smallest first; the straight lift, which is slow, after the batches of 4."""
    if session.toy:
        yield Job(SMALL.name, Kind(SMALL))
        yield Job(f"{SMALL.name}, slices", Kind(SMALL, {**SLICES, "slice_discriminator.side": 32, **REUSED}))
        yield Job(f"{SMALL.name}, straight lift", Kind(SMALL), "straight")
        yield Job(f"{SMALL.name}, alone", Kind(SMALL), alone=True)
        return
    for batch in BATCHES:
        cases = [Case("split-shuffle", "3d", *shape, batch, kind) for shape in SHAPES for kind in PRECISIONS]
        for case in cases:
            elements = 2 * batch * case.channels * math.prod(case.shape)  # of D on fakes and reals
            yield Job(case.name, Kind(case), alone=elements >= LARGEST)
        if batch == BATCHES[0]:
            yield Job(f"{cases[0].name}, slices", Kind(cases[0], {**SLICES, **REUSED}))
            for case in cases:
                if case.precision == "fp32":
                    yield Job(f"{case.name}, straight lift", Kind(case), "straight")


def ceilings(session: Session) -> Results:
    """The device's ceilings: bytes/s of a copy, FLOP/s of square matrix products; and the layouts."""
    yield "bytes_per_s", copied_per_s(session)
    for name, dtype in (("fp32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16)):
        use_gpu(session.device, tf32=name != "fp32", autotune=True)
        yield f"flops_per_s_{name}", multiplied_per_s(session, dtype)
    use_gpu(session.device, tf32=True, autotune=True)
    for case in layout_cases(session):
        yield case.name, tried(session, partial(layouts, session, case))


def copied_per_s(session: Session) -> float:
    """Bytes per second that a copy reads and writes."""
    source = torch.empty(2**24 if session.toy else 2**30, dtype=torch.uint8, device=session.device)
    target = torch.empty_like(source)
    return 2 * source.numel() / seconds_of(session, lambda: target.copy_(source))


def multiplied_per_s(session: Session, dtype: torch.dtype) -> float:
    """Operations per second of a product of square matrices."""
    side = 256 if session.toy else 8192
    one = torch.randn(side, side, device=session.device, dtype=dtype)
    return float(2 * side**3 / seconds_of(session, lambda: one @ one))


def layout_cases(session: Session) -> list[Case]:
    """As many voxels at every shape: one million."""
    if session.toy:
        return [SMALL._replace(architecture="convolutions")]
    shapes = zip(SHAPES, (8, 4, 2), strict=True)
    return [Case("convolutions", "3d", *shape, batch, kind) for shape, batch in shapes for kind in PRECISIONS]


def layouts(session: Session, case: Case) -> dict[str, Any]:
    """Milliseconds of two convolutions with their nonlinearities, forward and backward, in both layouts."""
    kernel = torch.randn(case.channels, case.channels, 3, 3, 3, device=session.device) * 0.03
    bias = torch.zeros(case.channels, device=session.device)
    learns = [tensor.requires_grad_() for tensor in (kernel, bias)]

    def stack(x: Tensor) -> tuple[Tensor, ...]:
        y = x
        with torch.autocast(session.device.type, torch.bfloat16, enabled=case.precision == "bf16"):
            for _ in range(2):
                y = bias_leaky_relu(F.conv3d(y, kernel, padding=1), bias)
        return torch.autograd.grad(y.float().mean(), [x, *learns])

    x = torch.randn(case.batch, case.channels, *case.shape, device=session.device)
    given = {"contiguous_ms": x, "channels_last_ms": channels_last(x)}
    return {
        name: 1000 * seconds_of(session, partial(stack, one.requires_grad_()), within=WITHIN)
        for name, one in given.items()
    }


def steps(session: Session) -> Results:
    """Speed and memory of training steps, and what share of the ceilings they reach."""
    for job in jobs(session):
        if not session.has_time():
            yield "left_out", f"{job.name} and what follows: time is kept for the next parts"
            return
        run = measured_alone if job.alone else measured
        found = tried(session, partial(run, session, job))
        yield job.name, found | shares(session, job, found)


def measured(session: Session, job: Job) -> dict[str, Any]:
    """Images/s with R1 as often as in a training, peak memory, operations and bytes per second."""
    use_gpu(session.device, tf32=True, autotune=True)
    gan = gan_of(job.kind.case, job.variant, {**job.kind.values, "training.device": str(session.device)})
    reals = job.kind.shown(session.device).reals
    if session.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(session.device)
    often = seconds_of(session, lambda: gan.step(reals, None, number=1), within=WITHIN)
    with_r1 = seconds_of(session, lambda: gan.step(reals, None, number=0), rounds=2, within=WITHIN)
    every = max(step.every for step in gan.steps)
    found = {
        "images_per_s": len(reals) / (often + max(0.0, with_r1 - often) / every),
        "step_ms": 1000 * often,
        "with_r1_ms": 1000 * with_r1,
    }
    if session.device.type == "cuda":
        found["peak_gib"] = torch.cuda.max_memory_allocated(session.device) / GIB
    with FlopCounterMode(display=False) as flops:
        gan.step(reals, None, number=1)
    with Operations() as seen:
        gan.step(reals, None, number=1)
    found["flops_per_s"] = flops.get_total_flops() / often
    found["bytes_per_s"] = seen.bytes / often  # every operation counts separately
    return found


def measured_alone(session: Session, job: Job) -> dict[str, Any]:
    """The same in a process of its own, which may take a tenth of the whole time."""
    limit = max(60.0, 0.1 * session.seconds)
    with multiprocessing.get_context("spawn").Pool(1) as pool:  # ended at the end of the block
        try:
            return pool.apply_async(_tried, (session, job)).get(timeout=limit)
        except multiprocessing.TimeoutError:
            return {"left_out": f"its process died, or was not ready after {limit:.0f} s"}


def _tried(session: Session, job: Job) -> dict[str, Any]:
    """Not every exception can be sent to another process; its words can."""
    use_kernels("plain")
    return tried(session, partial(measured, session, job))


def shares(session: Session, job: Job, found: dict[str, Any]) -> dict[str, float]:
    """The shares of the device's ceilings, as far as they are known."""
    limits = session.results.get("ceilings", {})
    best = "flops_per_s_bf16" if job.kind.case.precision == "bf16" else "flops_per_s_tf32"
    pairs = {"share_of_flops": ("flops_per_s", best), "share_of_bandwidth": ("bytes_per_s", "bytes_per_s")}
    return {
        share: found[ours] / limits[limit]
        for share, (ours, limit) in pairs.items()
        if ours in found and limit in limits
    }


@torch.no_grad()
def volumes_per_s(session: Session) -> dict[str, float]:
    """Volumes/s of our generator."""
    case = SMALL if session.toy else ROUNDED[-1].case
    gan = Kind(case).gan(session.device)
    codes = torch.randn(case.batch, gan.generator.z_dim, device=session.device)
    return {"volumes_per_s": case.batch / seconds_of(session, lambda: gan.generator(codes))}


@torch.no_grad()
def volumes_per_s_of_unet(session: Session) -> dict[str, Any]:
    """Volumes/s of a diffusion model's U-Net, by the number of its steps."""
    case = SMALL if session.toy else ROUNDED[-1].case
    try:
        unet = diffusion_unet().to(session.device)
    except VoxflateError as error:
        return {"left_out": str(error)}
    x = channels_last(torch.randn(case.batch, 1, *case.shape, device=session.device))
    at = torch.tensor([500.0], device=session.device)
    once = seconds_of(session, lambda: unet(x, timesteps=at), rounds=2, within=WITHIN)
    return {f"{name}_volumes_per_s": case.batch / (once * count) for name, count in STEPS.items()}


def sampling(session: Session) -> Results:
    """Volumes/s of our generator and of a diffusion model's U-Net, in float32 with TF32."""
    use_gpu(session.device, tf32=True, autotune=True)
    yield "generator", tried(session, partial(volumes_per_s, session))
    yield "U-Net", tried(session, partial(volumes_per_s_of_unet, session))


def compiled(session: Session) -> Results:
    """Steps as they are, with torch.compile and with CUDA graphs: images/s, and whether gradients agree."""
    expected = COMPILING_S
    for kind in [EXACT] if session.toy else [ROUNDED[0], EXACT, ROUNDED[1]]:
        known: Gradients = {}
        for mode in (OFF, DEFAULT, GRAPHS):
            name = f"{kind.case.name}, {mode}"
            if not session.has_time(0.0 if mode == OFF else expected):
                yield "left_out", f"{name} and what follows: time is kept for the next parts"
                return
            found = tried(session, partial(compiled_as, session, kind, mode, known))
            expected = found.get("compiling_s", expected) if mode != OFF else expected
            yield name, found


def compiled_as(session: Session, kind: Kind, mode: str, known: Gradients) -> dict[str, Any]:
    """Measure one way; `known` is filled with the gradients of the step as it is, and judges the others."""
    use_gpu(session.device, tf32=kind is not EXACT, autotune=True)
    gan, reals = kind.gan(session.device), kind.shown(session.device).reals
    try:
        found, seen = compiled_step(gan, reals, mode, partial(seconds_of, session, within=WITHIN))
    except VoxflateError as error:  # a CPU cannot do it all
        return {"left_out" if session.toy else "failed": str(error)}
    finally:
        torch.compiler.reset()  # and the memory of graphs
    if mode == OFF:
        known.update(seen)
    return found | (judged(seen, known, exact=kind is EXACT) if known else {})


def judged(seen: Gradients, known: Gradients, *, exact: bool) -> dict[str, Any]:
    """How far gradients are from the known ones; "failed" if too far."""
    found: dict[str, Any] = {"gradients_apart": apart(seen, known), "cosine": angle(seen, known)}
    if exact and not found["gradients_apart"] <= COMPILED_APART:
        found["failed"] = (
            f"gradients differ by more than {COMPILED_APART:g} from those of the networks as they are"
        )
    if not found["cosine"] >= LEAST_COSINE:
        found["failed"] = f"the cosine of the gradients is below {LEAST_COSINE:g}"
    return found
