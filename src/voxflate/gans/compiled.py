"""Runs the networks of a training step through torch.compile, with CUDA graphs on request (decision 0166).

Plain functions are compiled, not modules. So parameters keep their names, and the moving average, which is a
copy of the generator, is not affected.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

from voxflate._system.memory import is_out_of_memory
from voxflate.gans.gan import Gan, Shown
from voxflate.nn.run_stage import kernels_in_use

OFF, DEFAULT, GRAPHS = "off", "default", "graphs"

BACKEND = "inductor"
"""The backend of torch.compile."""

GRAPH_ROUNDS = 3
"""The operations of a CUDA graph run once normally, then they are recorded, then replayed."""

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R], mode: str) -> Callable[P, R]:
    """Compile a function.

    Args:
        function: Traced as a whole, for the shapes that it is called with.
        mode: "off" returns the function itself; "graphs" replays CUDA graphs, whose results are valid until
            the next step.
    """
    if mode == OFF:
        return function
    how = "reduce-overhead" if mode == GRAPHS else None
    return torch.compile(function, fullgraph=True, dynamic=False, backend=BACKEND, mode=how)


def compile_networks(gan: Gan, mode: str, shown: Shown) -> str:
    """Compile the networks of a model's steps, or leave them uncompiled and say why.

    All shapes are compiled and tried here, so that a run does not fail later. If one of several
    processes cannot compile, none does.

    Args:
        gan: Its steps use the compiled functions from now on.
        mode: "off", "default" or "graphs".
        shown: A process's share of a batch; only its shapes matter.

    Returns:
        A line for the log; empty if nothing was asked for.
    """
    if mode == OFF:
        return ""
    started = time.perf_counter()
    problem = _why_not(gan, mode) or _rehearse(gan, mode, shown)
    if gan.world.any(bool(problem), gan.device):
        gan.use_compiled(OFF)
        problem = problem or "another process of this run cannot use it"
        return f"warning: training.compile = {mode} is not used: {problem}"
    what = "networks" if mode == DEFAULT else "networks and CUDA graphs"
    return f"{what} compiled in {time.perf_counter() - started:.0f} s"


def _why_not(gan: Gan, mode: str) -> str:
    """The reason why a run cannot be compiled, as far as it is known without trying."""
    if not gan.compilable:
        return "only the steps of stylegan2 can be compiled"
    if gan.device.type != "cuda" and mode == GRAPHS:
        return f"CUDA graphs need a GPU, and this run is on {gan.device}"
    if gan.device.type == "cpu" and kernels_in_use() == "compiled":
        return "on this CPU training.kernels = auto has kernels of its own; set training.kernels=plain"
    return ""


def _rehearse(gan: Gan, mode: str, shown: Shown) -> str:
    """Compile by going through all steps; returns what went wrong, in one line."""
    torch.compiler.reset()  # forget what another run in this process compiled
    gan.use_compiled(mode)
    before = _left_out()
    try:
        for _ in range(GRAPH_ROUNDS if mode == GRAPHS else 1):
            gan.rehearse(shown)
    except Exception as error:  # compilers fail in many ways
        if is_out_of_memory(error):
            raise
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if mode == GRAPHS and (count := _left_out() - before):
        return f"{count} of its graphs cannot be recorded; use training.compile=default"
    return ""


def _left_out() -> int:
    """How many CUDA graphs torch.compile has skipped so far; otherwise it only logs this."""
    from torch._dynamo.utils import counters  # not at the top: it takes seconds to load

    return int(counters["inductor"]["cudagraph_skips"])
