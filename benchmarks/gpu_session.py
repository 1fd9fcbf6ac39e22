"""What the parts of `benchmarks.gpu` share: the device, the time, the results so far, the networks."""

from __future__ import annotations

import gc
import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from benchmarks.step import Case, gan_of

from voxflate._system.devices import wait_for
from voxflate._system.errors import VoxflateError
from voxflate._system.files import write_json
from voxflate._system.memory import is_out_of_memory
from voxflate.gans.gan import Gan, Shown
from voxflate.nn.draws import Draws

GIB = 2**30

Results = Iterator[tuple[str, Any]]
"""Names and results of a part, each written as soon as it is there. A result with "failed" is a failure."""


@dataclass
class Session:
    """The input of all parts.

    Attributes:
        device: The device, with its number.
        data: The prepared volumes.
        out: Folder of the results.
        seconds: Time for everything.
        ends: When everything must be finished, as `time.monotonic` counts.
        toy: Whether this is a rehearsal.
        kept: Seconds kept for the parts after the present one.
        results: Results by part.
    """

    device: torch.device
    data: Path
    out: Path
    seconds: float
    ends: float
    toy: bool
    kept: float = 0.0
    results: dict[str, Any] = field(default_factory=dict)

    def seconds_left(self) -> float:
        """Seconds until everything must be finished."""
        return self.ends - time.monotonic()

    def has_time(self, seconds: float = 0.0) -> bool:
        """Whether the present part may take this many seconds more; always in a rehearsal."""
        return self.toy or self.seconds_left() - seconds > self.kept

    def wait(self) -> None:
        """Wait until the device has caught up."""
        wait_for(self.device)

    def write(self) -> None:
        """Write all results so far."""
        write_json(self.out / "gpu.json", self.results)


class Kind(NamedTuple):
    """A kind of training step.

    Attributes:
        case: Networks and batch.
        values: Other settings by dotted key.
    """

    case: Case
    values: Mapping[str, Any] = {}

    def gan(self, device: torch.device | str) -> Gan:
        """Networks with fresh weights, the same at every call."""
        return gan_of(self.case, "plain", {**self.values, "training.device": str(device)})

    def shown(self, device: torch.device | str) -> Shown:
        """A random batch, the same at every call, with counter-based random numbers as on a GPU."""
        generator = torch.Generator().manual_seed(0)
        count, shape = self.case.batch, self.case.shape
        reals = torch.rand(count, 1, *shape, generator=generator) * 2 - 1
        depth = self.case.base[0] * 2 ** (self.case.stages - 1)
        planar = self.values.get("training.twin") == "planar"
        positions = (torch.arange(count) % depth).to(device) if planar else None
        draws = Draws(count, device, range(count), is_counted=True)
        return Shown(reals.to(device), positions, draws)


SMALL = Case("split-shuffle", "3d", (1, 2, 2), 3, 4, "fp32", 8)
SLICES = {
    "slice_discriminator.weight": 1.0,
    "slice_discriminator.features": "random",
    "slice_discriminator.channels": "neighbours",
    "slice_discriminator.per_volume": 3,
}
KINDS = {
    "volumes": Kind(SMALL),
    "volumes with slices": Kind(
        SMALL, {**SLICES, "slice_discriminator.side": 32, "training.reuse_fakes": True}
    ),
    "planar twin": Kind(SMALL._replace(phase="2d"), {"training.twin": "planar", "network.position": True}),
}
"""Small ones for checks."""


def seconds_of(
    session: Session, call: Callable[[], object], rounds: int = 5, within: float = math.inf
) -> float:
    """The fastest of some rounds after a warm-up round; after `within` seconds no other round begins."""
    times: list[float] = []
    for _ in range(rounds + 1):
        session.wait()
        started = time.perf_counter()
        call()
        session.wait()
        times.append(time.perf_counter() - started)
        if len(times) > 1 and sum(times[1:]) > within:
            break
    return min(times[1:])


def tried(session: Session, call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A result; a failure is one too, and running out of memory is none. Frees the device's memory."""
    try:
        return call()
    except Exception as error:
        if is_out_of_memory(error):
            return {"fits": False}
        traceback.print_exc()
        return {"failed": in_words(error)}
    finally:
        free(session.device)


def free(device: torch.device) -> None:
    """Give back the memory of what is no longer used; networks and their steps refer to each other."""
    gc.collect()
    if device.type == "cuda":
        with suppress(RuntimeError):  # of a device that no longer works; the next part will say so
            torch.cuda.empty_cache()


def in_words(error: Exception) -> str:
    """One line: the error, and where in the project it was raised."""
    words = " ".join(str(error).split())[:300]
    if isinstance(error, VoxflateError):
        return words
    frames = [one for one in traceback.extract_tb(error.__traceback__) if "site-packages" not in one.filename]
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {words}{where}"


def failures(results: Mapping[str, Any]) -> list[str]:
    """The names of parts, and of results in them, that failed."""
    found = []
    for name, result in results.items():
        if isinstance(result, Mapping):
            found += [name] if "failed" in result else []
            found += [f"{name}, {inner}" for inner in failures(result)]
    return found
