"""All measurements of a GPU, in one run of at most nine minutes.

    python -m benchmarks.gpu data/brains --out gpu [--minutes 9]
    python -m benchmarks.gpu data/brains --out gpu --rehearse    # the same on a CPU, at toy sizes

Prepared volumes are the only input; no network is needed. In this order:

1. ceilings: bytes/s of a copy, FLOP/s of matrix products in each precision.
2. agreement: gradients of a step, GPU against CPU, float32 without TF32, the same random numbers.
3. compiled: images/s of a step as it is, with torch.compile and with CUDA graphs, and how far the gradients
   are from those of the step as it is.
4. steps: images/s and peak memory by shape, batch and precision, with the share of both ceilings that the
   step's operations reach; the straight lift of `benchmarks.straight` for comparison.
5. sampling: volumes/s of the generator, and of MONAI's U-Net if MONAI is installed.
6. training: the recommended path on the volumes, 2D and 3D, for the rest of the time; sheets, metrics, an
   exported generator.

A failure becomes a line in OUT/gpu.json, and the rest continues. Shapes that do not fit are reported.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from benchmarks.compiled import Gradients, apart, compiled_step
from benchmarks.sampling import STEPS, diffusion_unet
from benchmarks.step import Case, gan_of, images
from benchmarks.timing import machine
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from voxflate._system.errors import TrainingStopped, VoxflateError
from voxflate._system.files import check_new_folder, write_json
from voxflate.config.schema import RunConfig
from voxflate.config.toml import from_dict
from voxflate.config.values import nested
from voxflate.data.datasets import likeness_to_mirror
from voxflate.data.prepared import open_prepared
from voxflate.data.shapes import split_shape
from voxflate.gans.compiled import DEFAULT, GRAPHS, OFF
from voxflate.gans.gan import Gan, Shown
from voxflate.metrics import extractor
from voxflate.nn.draws import Draws
from voxflate.nn.run_stage import use_kernels
from voxflate.runs.export import export_generator
from voxflate.runs.log import METRICS_NAME, read_rows
from voxflate.training.run import ONE_SIDED, train_run
from voxflate.training.stop import StopRequest

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
SHARE_2D = 0.3
"""Share of the training time for the 2D twin."""
GIB = 2**30


@dataclass
class Session:
    """The input of all parts.

    Attributes:
        device: The device.
        data: The prepared volumes.
        out: Folder of the results.
        seconds: Time for everything.
        ends: When everything must be finished, as `time.monotonic` counts.
        toy: Whether this is a rehearsal.
        results: Results by part.
    """

    device: torch.device
    data: Path
    out: Path
    seconds: float
    ends: float
    toy: bool
    results: dict[str, Any]

    def seconds_left(self) -> float:
        """Seconds until everything must be finished."""
        return self.ends - time.monotonic()

    def wait(self) -> None:
        """Wait until the device has caught up."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


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


def main() -> None:
    """Run the parts in turn; write the results after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="a prepared set")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; new or empty")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, at toy sizes")
    options = parser.parse_args()
    try:
        session = begin(options)
    except VoxflateError as error:
        sys.exit(f"gpu: {error}")
    for name, part in PARTS.items():
        started = time.monotonic()
        try:
            found = part(session)
        except Exception as error:  # a failure is also a result
            traceback.print_exc()
            found = {"failed": f"{type(error).__name__}: {error}"}
        session.results[name] = found | {"took_s": round(time.monotonic() - started, 1)}
        print(f"{name}: {session.results[name]}", flush=True)
        write_json(session.out / "gpu.json", session.results)
    if any("failed" in found for found in session.results.values()):
        sys.exit(1)


def begin(options: argparse.Namespace) -> Session:
    """Check everything.

    Raises:
        VoxflateError: If there is no GPU and this is not a rehearsal, or folder or data cannot be used.
    """
    if not options.rehearse and not torch.cuda.is_available():
        raise VoxflateError("PyTorch sees no CUDA device; --rehearse runs the script on the CPU")
    open_prepared(options.data)
    check_new_folder(options.out)
    options.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cpu" if options.rehearse else "cuda")
    seconds = 60 * options.minutes
    ends = time.monotonic() + seconds
    facts = machine() | {"device": str(device), "rehearsal": options.rehearse}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {"card": properties.name, "memory_gib": round(properties.total_memory / GIB, 1)}
    return Session(device, options.data, options.out, seconds, ends, options.rehearse, {"machine": facts})


def seconds_of(session: Session, call: Callable[[], object], rounds: int = 5) -> float:
    """The fastest of some rounds after a warm-up round."""
    times = []
    for _ in range(rounds + 1):
        session.wait()
        started = time.perf_counter()
        call()
        session.wait()
        times.append(time.perf_counter() - started)
    return min(times[1:])


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


def use_tf32(session: Session, wanted: bool) -> None:
    """Allow or forbid rounded float32 products (TF32) on a GPU."""
    if session.device.type == "cuda":
        torch.set_float32_matmul_precision("high" if wanted else "highest")
        torch.backends.cudnn.allow_tf32 = wanted


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


def training(session: Session) -> dict[str, Any]:
    """Train the recommended path for the remaining time, and export the result."""
    prepared = open_prepared(session.data)
    base, stages = split_shape(prepared.shape)
    twin, run = session.out / "2d", session.out / "3d"
    spare = 0 if session.toy else 30
    left = session.seconds_left() - spare
    values = {
        "data": str(session.data.absolute()),
        "network.base": base,
        "network.stages": stages,
        "training.device": str(session.device),
        "training.flip": likeness_to_mirror(prepared.stored("train")) >= ONE_SIDED,
        "training.reuse_fakes": True,
        "training.snapshot_kimg": 0.008 if session.toy else 10.0,
        "evaluation.samples": 8 if session.toy else 148,
        "evaluation.extractor": "random" if session.toy else chosen_extractor(),
    }
    if session.toy:
        values |= {"network.channels": 8, "training.batch": 4, "training.kimg": 0.016}
    start = {"start.twin": str(twin.absolute()), "start.strategy": "preserving"}
    flat = from_dict(nested({**values, "training.phase": "2d"}), "gpu")
    found: dict[str, Any] = {"extractor": flat.evaluation.extractor}
    found["images_2d"] = trained(flat, twin, SHARE_2D * left)
    deep = from_dict(nested({**values, "training.phase": "3d", **start}), "gpu")
    found["images_3d"] = trained(deep, run, session.seconds_left() - spare)
    export_generator(run, session.out / "generator")
    sheet = sorted((run / "sheets").glob("*.png"))[-1]
    row = read_rows(run / METRICS_NAME)[-1]
    metrics = {name: value for name, value in row.items() if name.endswith("-avg") or name == "pairwise-l2"}
    return found | {"sheet": str(sheet.relative_to(session.out)), "metrics": metrics}


def chosen_extractor() -> str:
    """MobileNetV2 if its weights are installed, else random features."""
    try:
        extractor("mobilenetv2")
    except VoxflateError:
        return "random"
    return "mobilenetv2"


def trained(config: RunConfig, run: Path, seconds: float) -> int:
    """Train until the settings' end or for some seconds; return the images shown."""
    stop, shown = StopRequest(), [0]
    timer = threading.Timer(max(1.0, seconds), lambda: setattr(stop, "requested", True))
    timer.start()
    try:
        with suppress(TrainingStopped):  # as planned: everything is saved
            train_run(config, run, on_progress=lambda at: shown.append(at.n_images), stop=stop)
    finally:
        timer.cancel()
    return shown[-1]


PARTS: dict[str, Callable[[Session], dict[str, Any]]] = {
    "ceilings": ceilings,
    "agreement": agreement,
    "compiled": compiled,
    "steps": steps,
    "sampling": sampling,
    "training": training,
}


if __name__ == "__main__":
    main()
