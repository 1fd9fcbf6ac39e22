"""Volumes per second of our generator and of a diffusion model's U-Net, as ratios.

    python -m benchmarks.sampling [--rounds 5] [--batch 4] [--out docs/benchmarks/sampling.json]
    python -m benchmarks.sampling --table docs/benchmarks/sampling.json    # Markdown

The generator is Split&Shuffle at 32x64x64 (32 channels, base 2x4x4, 5 stages). "voxflate generate" is the
same in float32 with codes and noise that depend only on the seed (`gans.samples`), without writing files.
The U-Net is MONAI's `DiffusionModelUNet` with 32, 64 and 64 channels, one residual block a level and
attention with heads of 32 channels at the lowest (2.92 million parameters); fresh weights, since the time
does not depend on them. Both get the same batch, the channels-last layout, the same precision, memory that
is kept, and no gradients. One pass of the U-Net and one step of each of MONAI's schedulers are timed, in
turn with the generator, and multiplied by the number of steps: 50 for DDIM, 1,000 for DDPM. `--whole` also
times one DDIM chain from noise to volumes, to check the product.

Needs MONAI: pip install -c constraints.txt -e '.[bench]'
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from benchmarks.arguments import add_outputs, parser_of, show
from benchmarks.step import FLAT, Case, build_generator
from benchmarks.timing import PRECISIONS, machine, markdown, take_turns, usual_precisions
from torch import Tensor, nn

from voxflate._system.allocator import keep_freed_memory
from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json
from voxflate.gans.samples import sample
from voxflate.nn.run_stage import use_kernels

STEPS = {"DDIM": 50, "DDPM": 1000}
UNET = {
    "channels": (32, 64, 64),
    "attention_levels": (False, False, True),
    "num_head_channels": 32,
    "num_res_blocks": 1,
}
METHOD = "one pass of the U-Net and one step of the scheduler timed, their sum times the number of steps"


def diffusion_unet() -> nn.Module:
    """MONAI's U-Net for volumes of one channel, channels-last.

    Raises:
        VoxflateError: If MONAI is not installed.
    """
    try:
        from monai.networks.nets import DiffusionModelUNet  # type: ignore[import-not-found, unused-ignore]

        unet: nn.Module = DiffusionModelUNet(spatial_dims=3, in_channels=1, out_channels=1, **UNET)
    except ImportError as error:
        raise VoxflateError(
            "MONAI or einops, which it needs for attention, is not installed; "
            "pip install -c constraints.txt -e '.[bench]'"
        ) from error
    return unet.eval().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload, no-any-return]


def schedulers() -> dict[str, Any]:
    """MONAI's DDIM with 50 of 1,000 time steps, and DDPM with all of them."""
    from monai.networks.schedulers import (  # type: ignore[import-not-found, unused-ignore]
        DDIMScheduler,
        DDPMScheduler,
    )

    made = {"DDIM": DDIMScheduler(num_train_timesteps=1000), "DDPM": DDPMScheduler(num_train_timesteps=1000)}
    for name, scheduler in made.items():
        scheduler.set_timesteps(STEPS[name])
    return made


def noise(case: Case) -> Tensor:
    """Initial noise of a diffusion model, [N, 1, D, H, W], channels-last."""
    return torch.randn(case.batch, 1, *case.shape).contiguous(memory_format=torch.channels_last_3d)


def generator_calls(case: Case) -> dict[str, Callable[[], object]]:
    """Calls for one batch of the generator, with and without compiled kernels."""
    generator = build_generator(case).eval()

    def call(kernels: str) -> None:
        use_kernels(kernels)
        with torch.autocast("cpu", torch.bfloat16, enabled=case.precision == "bf16"):
            generator(torch.randn(case.batch, generator.z_dim))

    def generate() -> None:
        use_kernels("auto")
        list(sample(generator, case.batch, seed=0, batch=case.batch))

    calls: dict[str, Callable[[], object]] = {
        "compiled": lambda: call("auto"),
        "plain": lambda: call("plain"),
    }
    if case.precision == "fp32":
        calls["voxflate generate"] = generate
    return calls


def unet_calls(case: Case, unet: nn.Module) -> dict[str, Callable[[], object]]:
    """One pass of the U-Net, and one step of each scheduler after it."""
    x, at = noise(case), torch.tensor(500)
    made = schedulers()

    def forward() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=case.precision == "bf16"):
            out: Tensor = unet(x, timesteps=at[None].float())
        return out

    with torch.no_grad():
        predicted = forward()
    calls: dict[str, Callable[[], object]] = {"U-Net": forward}
    for name, scheduler in made.items():
        calls[name] = partial(scheduler.step, predicted, at, x)
    return calls


@torch.no_grad()
def measure(case: Case, unet: nn.Module, rounds: int) -> dict[str, Any]:
    """Median seconds of every part, and volumes per second."""
    ours, theirs = generator_calls(case), unet_calls(case, unet)
    seconds = take_turns({**ours, **theirs}, rounds)
    use_kernels("auto")
    speeds = {name: case.batch / seconds[name] for name in ours}
    for name, steps in STEPS.items():
        speeds[name] = case.batch / (steps * (seconds["U-Net"] + seconds[name]))
    return {"seconds": seconds, "volumes_per_s": speeds}


@torch.no_grad()
def whole_chain(case: Case, unet: nn.Module) -> float:
    """Seconds of one DDIM chain from noise to volumes."""
    scheduler, x = schedulers()["DDIM"], noise(case)
    start = time.perf_counter()
    for at in scheduler.timesteps:
        with torch.autocast("cpu", torch.bfloat16, enabled=case.precision == "bf16"):
            predicted = unet(x, timesteps=at[None].float())
        x = scheduler.step(predicted, at, x)[0]
    return time.perf_counter() - start


def run(batch: int, precisions: Sequence[str], rounds: int, whole: bool) -> dict[str, Any]:
    """The content of the table and the JSON file."""
    facts, unet = machine(), diffusion_unet()
    cases: dict[str, Any] = {}
    for precision in precisions:
        case = Case("split-shuffle", "3d", FLAT, 5, batch, precision)
        cases[case.name] = measure(case, unet, rounds)
        if whole:
            cases[case.name]["whole_ddim_chain_s"] = whole_chain(case, unet)
    return {
        "machine": facts | {"rounds": rounds},
        "method": METHOD,
        "steps": STEPS,
        "unet": {**UNET, "parameters": count(unet)},
        "generator": {"parameters": count(build_generator(case))},
        "cases": cases,
    }


def count(network: nn.Module) -> int:
    """Parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def table(content: Mapping[str, Any]) -> str:
    """Markdown: volumes/s of both, and how many times as fast the generator is."""
    ours = ("compiled", "plain", "voxflate generate")
    theirs = {name: f"U-Net, {steps:,} {name} steps" for name, steps in content["steps"].items()}
    heads = ["volumes/s", *ours]
    for label in theirs.values():
        heads += [label, "times as fast"]
    rows = []
    for case, result in content["cases"].items():
        speeds = result["volumes_per_s"]
        cells = [f"{speeds[name]:.2f}" if name in speeds else "" for name in ours]
        for name in theirs:
            cells += [f"{speeds[name]:.3g}", f"{speeds['compiled'] / speeds[name]:,.0f}"]
        rows.append([case, *cells])
    return markdown(heads, rows)


def main() -> None:
    """Time both, print the table, write it as JSON."""
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4, help="volumes at a time, for both")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=usual_precisions())
    parser.add_argument("--whole", action="store_true", help="also time one whole DDIM chain")
    add_outputs(parser)
    options = parser.parse_args()
    if options.table:
        print(table(read_json(options.table)))
        return
    keep_freed_memory()
    try:
        content = run(options.batch, options.precision, options.rounds, options.whole)
    except VoxflateError as error:
        sys.exit(f"sampling: {error}")
    show(content, table, options.out)


if __name__ == "__main__":
    main()
