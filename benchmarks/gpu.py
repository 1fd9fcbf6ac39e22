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
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from benchmarks.arguments import parser_of
from benchmarks.gpu_session import GIB, Session
from benchmarks.gpu_steps import agreement, ceilings, compiled, sampling, steps
from benchmarks.gpu_training import training
from benchmarks.timing import machine

from voxflate._system.errors import VoxflateError
from voxflate._system.files import check_new_folder, write_json
from voxflate.data.prepared import open_prepared

PARTS: dict[str, Callable[[Session], dict[str, Any]]] = {
    "ceilings": ceilings,
    "agreement": agreement,
    "compiled": compiled,
    "steps": steps,
    "sampling": sampling,
    "training": training,
}


def main() -> None:
    """Run the parts in turn; write the results after each."""
    parser = parser_of(__doc__)
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


if __name__ == "__main__":
    main()
