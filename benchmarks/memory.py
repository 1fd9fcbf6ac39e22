"""Peak memory of a training step and of sampling, above that of a process at rest.

    python -m benchmarks.memory [--cases 2 4] [--set KEY=VALUE ...] [--out docs/benchmarks/memory.json]
    python -m benchmarks.memory --table docs/benchmarks/memory.json    # Markdown

Every number is from a separate process. It builds the networks and one random batch; its memory then is
its resting size. Then it runs the steps of G and D twice and that of R1 twice, with memory kept as in
a training (decision 0008); the process's peak resident size minus the resting size is the number, in MiB.
R1's step often needs the most: the JSON file and a column have the memory of G and D before it. Cases are
those of `benchmarks.step`, and "straight" is its straight lift, in float32. Two more rows are the paper's
batch of 128 in parts of 4 with activation checkpointing (minutes each). Sampling is one batch of
`benchmarks.sampling`, by the generator and by MONAI's U-Net if MONAI is installed. `--set` changes
settings of the training steps, for instance their batch.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from benchmarks.arguments import add_outputs, parser_of, show
from benchmarks.sampling import diffusion_unet, noise
from benchmarks.step import CASES, FLAT, Case, build_generator, gan_of, images
from benchmarks.timing import PRECISIONS, machine, markdown, usual_precisions
from rich.console import Console
from rich.progress import track

from voxflate._system.allocator import keep_freed_memory
from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json
from voxflate._system.memory import peak_bytes
from voxflate.config.toml import parse_assignments
from voxflate.nn.run_stage import use_kernels

MIB = 2**20
STEP_VARIANTS = ("compiled", "plain", "straight")
SAMPLERS = ("generator", "U-Net")
SAMPLING_BATCH = 4
BEFORE_R1 = "compiled, G and D alone"
PAPERS_BATCH = {
    "training.batch": 128,
    "training.micro_batch": 4,
    "training.activation_checkpointing": True,
}


class Job(NamedTuple):
    """The job of one process.

    Attributes:
        case: Networks, batch, precision.
        variant: One of `STEP_VARIANTS` for a training step, of `SAMPLERS` for sampling.
        values: Other settings by dotted key.
    """

    case: Case
    variant: str
    values: dict[str, Any]


def resting_bytes() -> int:
    """The current resident size; if the system does not give it, the largest one so far."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    except OSError:
        return peak_bytes()
    return pages * resource.getpagesize()


def steps_of(job: Job) -> list[Callable[[], object]]:
    """Build the input of a training step; return the calls to measure, of G and D and of R1."""
    use_kernels("plain" if job.variant == "plain" else "auto")
    gan, shown = gan_of(job.case, job.variant, job.values), images(job.case)
    usual = [step for step in gan.steps if step.every == 1]
    seldom = [step for step in gan.steps if step.every > 1]
    return [
        lambda: [gan.take(step, shown) for step in usual],
        lambda: [gan.take(step, shown) for step in seldom],
    ]


def sampling_of(job: Job) -> list[Callable[[], object]]:
    """Build the input of sampling; the call draws one batch, or runs the U-Net's part of one step."""
    case = job.case
    network: Any = build_generator(case).eval() if job.variant == "generator" else diffusion_unet()
    options = {} if job.variant == "generator" else {"timesteps": torch.tensor([500.0])}
    given = torch.randn(case.batch, network.z_dim) if job.variant == "generator" else noise(case)

    def draw() -> None:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=case.precision == "bf16"):
            network(given, **options)

    return [draw]


def child(job: Job) -> dict[str, int]:
    """Resting and peak size of this process, bytes; `before_r1` is the peak after the first kind of work."""
    keep_freed_memory()
    parts = steps_of(job) if job.variant in STEP_VARIANTS else sampling_of(job)
    resting, peaks = resting_bytes(), []
    for work in parts:
        for _ in range(2):  # the first allocates Adam's averages; the second finds fragmented memory
            work()
        peaks.append(peak_bytes())
    return {"resting": resting, "before_r1": peaks[0], "peak": peaks[-1]}


def measure(job: Job) -> dict[str, int]:
    """Measure in a fresh process.

    Raises:
        VoxflateError: If the process failed or was killed.
    """
    text = json.dumps([job.case._asdict(), job.variant, job.values])
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", "--child", text],
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        lines = answer.stderr.strip().splitlines() or ["no message"]
        raise VoxflateError(f"{job.case.name}, {job.variant}: ended with {answer.returncode}: {lines[-1]}")
    result: dict[str, int] = json.loads(answer.stdout)
    return result


def jobs(cases: Sequence[Case], precisions: Sequence[str], values: dict[str, Any]) -> Iterator[Job]:
    """Every case in every precision and variant; the straight lift only in float32."""
    for case in cases:
        for precision in precisions:
            for variant in STEP_VARIANTS:
                if variant != "straight" or precision == "fp32":
                    yield Job(case._replace(precision=precision), variant, values)


def large_jobs(precision: str) -> Iterator[Job]:
    """The paper's batch, of the paper's networks at 32x64x64 and 64x64x64."""
    for case in CASES:
        if case.architecture == "split-shuffle" and case.stages == 5:
            yield Job(case._replace(precision=precision), "compiled", PAPERS_BATCH)


def sampling_jobs(precisions: Sequence[str]) -> Iterator[Job]:
    """One batch of volumes, from the generator and, if MONAI is installed, from its U-Net."""
    samplers = SAMPLERS if find_spec("monai") and find_spec("einops") else SAMPLERS[:1]
    for precision in precisions:
        for variant in samplers:
            yield Job(Case("split-shuffle", "3d", FLAT, 5, SAMPLING_BATCH, precision), variant, {})


def run(todo: Sequence[Job]) -> list[dict[str, Any]]:
    """A row per job, in order; a failed job is reported in one line and has no numbers."""
    rows = []
    for job in track(todo, "measuring memory", console=Console(stderr=True)):
        batch = int(job.values.get("training.batch", job.case.batch))
        job = job._replace(case=job.case._replace(batch=batch))
        row = {**job.case._asdict(), "name": job.case.name, "variant": job.variant, "settings": job.values}
        try:
            found = measure(job)
            row |= {
                "resting_bytes": found["resting"],
                "peak_bytes": found["peak"],
                "above_bytes": found["peak"] - found["resting"],
                "above_before_r1_bytes": found["before_r1"] - found["resting"],
            }
        except VoxflateError as error:
            print(f"memory: {error}", file=sys.stderr)
        rows.append(row)
    return rows


def table(content: Mapping[str, Any]) -> str:
    """Markdown: MiB above the resting size, in total and per image of the batch."""
    steps = {"compiled": "compiled", BEFORE_R1: "compiled", "plain": "plain", "straight": "straight"}
    tables = []
    for heading, columns in (("training step", steps), ("sampling", {name: name for name in SAMPLERS})):
        found: dict[str, dict[str, str]] = {}
        for row in content["rows"]:
            changed = "".join(f", {key} {value}" for key, value in row["settings"].items())
            for column, variant in columns.items():
                if row["variant"] == variant:
                    key = "above_before_r1_bytes" if column == BEFORE_R1 else "above_bytes"
                    found.setdefault(row["name"] + changed, {})[column] = cell(row.get(key), row["batch"])
        if found:
            rows = [[name, *(cells.get(column, "") for column in columns)] for name, cells in found.items()]
            tables.append(markdown([f"{heading}, MiB (per image)", *columns], rows))
    return "\n\n".join(tables)


def cell(above: int | None, batch: int) -> str:
    """MiB per batch and per image; None stands for a failed process."""
    return "failed" if above is None else f"{above / MIB:.0f} ({above / MIB / batch:.0f})"


def main() -> None:
    """Measure, print the table, write it as JSON."""
    parser = parser_of(__doc__)
    parser.add_argument("--cases", type=int, nargs="*", choices=range(len(CASES)), default=range(len(CASES)))
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=usual_precisions())
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of the steps")
    parser.add_argument("--no-sampling", action="store_true", help="training steps only")
    parser.add_argument("--no-large", action="store_true", help="without the paper's batch")
    add_outputs(parser)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.table:
        print(table(read_json(options.table)))
        return
    if options.child:
        fields, variant, values = json.loads(options.child)
        case = Case(**{**fields, "base": tuple(fields["base"])})
        print(json.dumps(child(Job(case, variant, values))))
        return
    try:
        values = parse_assignments(options.set)
    except VoxflateError as error:
        sys.exit(f"memory: {error}")
    facts = machine()
    todo = list(jobs([CASES[i] for i in options.cases], options.precision, values))
    if not options.no_large:
        todo += large_jobs(options.precision[-1])
    if not options.no_sampling:
        todo += sampling_jobs(options.precision)
    content = {"machine": facts, "rows": run(todo)}
    show(content, table, options.out)


if __name__ == "__main__":
    main()
