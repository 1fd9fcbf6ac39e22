"""What trained a run: machine, PyTorch and source. Seconds compare only for equal machines and PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from studies.cells import by_run
from voxflate.reports.results import Result

_CLOCK: Mapping[str, Callable[[Mapping[str, Any]], object]] = {
    "processor": lambda session: session.get("processor"),
    "machine": lambda session: session.get("machine"),  # with the vector instructions that PyTorch uses
    "device": lambda session: session.get("gpu") or session.get("device"),
    "processes": lambda session: session.get("processes", 1),
    "threads": lambda session: session.get("threads"),
    "precision": lambda session: session.get("precision"),
    "kernels": lambda session: session.get("kernels"),
    "PyTorch": lambda session: session["versions"].get("torch"),
}
"""What the seconds of a training depend on, besides its settings.

The source is not among them: it changes with every commit, most often without changing the speed. The tables
name it instead.
"""


def clock_of(result: Result) -> dict[str, str]:
    """What a run's seconds depend on, by name; the sessions of a run that changed it are joined by "then"."""
    return {name: _said(result, of) for name, of in _CLOCK.items()}


def machine_of(result: Result) -> str:
    """The machine that trained a run, in words, without PyTorch."""
    return _said(result, _machine)


def trained_on(results: Sequence[Result]) -> str:
    """A note that says which machine trained the runs, and which ones where they differ."""
    return f"Trained on: {by_run((each.name, machine_of(each)) for each in results)}."


def made_by(results: Sequence[Result]) -> str:
    """A note that says which PyTorch and which source trained the runs, and which ones where they differ."""
    return f"Trained with {by_run((each.name, _said(each, _code)) for each in results)}."


def _said(result: Result, of: Callable[[Mapping[str, Any]], object]) -> str:
    values = (of(session) for session in _sessions(result))
    return " then ".join(dict.fromkeys("unknown" if value is None else str(value) for value in values))


def _sessions(result: Result) -> list[Mapping[str, Any]]:
    """The processes that trained a part of a run: one that found it finished is not among them."""
    last = {**result.machine, "versions": result.versions}
    sessions = result.machine.get("sessions", ())
    ends = [*(session["from_images"] for session in sessions[1:]), result.n_images]
    found = [each for each, end in zip(sessions, ends, strict=False) if each["from_images"] < end]
    return found or [last]


def _machine(session: Mapping[str, Any]) -> str:
    processes = session.get("processes", 1)
    named = [
        session.get("processor"),
        session.get("machine"),
        _CLOCK["device"](session),
        session.get("precision"),
    ]
    if "kernels" in session:
        named.append(f"{session['kernels']} kernels")
    count = f"{processes} processes of " if processes > 1 else ""
    return ", ".join([*filter(None, named), f"{count}{session['threads']} thread(s)"])


def _code(session: Mapping[str, Any]) -> str:
    versions = session["versions"]
    return ", ".join(
        f"{name} {versions[key]}"
        for key, name in (("torch", "PyTorch"), ("voxflate", "voxflate"), ("source", "source"))
        if key in versions
    )
