"""Turns a command's options into one checked configuration.

Later sources win: recommended settings, or the preset's; settings fixed by the 2D run or the data; a file;
the command's own options; `--set`.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w
import typer

from voxflate._system.errors import VoxflateError
from voxflate.config.presets import Phase
from voxflate.config.recommended import DEFAULT_STRATEGY
from voxflate.config.schema import NetworkConfig, RunConfig
from voxflate.config.toml import (
    Source,
    load_config,
    load_named,
    merged,
    parse_assignments,
    resolve,
    to_toml,
)
from voxflate.config.values import flat, nested

if TYPE_CHECKING:
    from voxflate.data.prepared import PreparedSet

_OPTIONS = "options"


@dataclass(frozen=True)
class Sources:
    """The sources of a run's settings on the command line.

    Attributes:
        data: Prepared folder, or None to use the configuration's.
        preset: Name of a preset, or None.
        config: TOML file or run folder, or None.
        assignments: The `--set` texts.
    """

    data: Path | None
    preset: str | None
    config: Path | None
    assignments: Sequence[str]

    def __post_init__(self) -> None:
        """Refuse two contradicting sources."""
        if self.preset and self.config:
            raise VoxflateError(
                f"--preset {self.preset} and --config {self.config}: give one of them; a file may name a "
                f'preset itself, with preset = "{self.preset}" at its top'
            )

    def named(self, options: Mapping[str, Any]) -> list[Source]:
        """All given settings; later ones win.

        Args:
            options: Settings from the command's own options, by dotted key.
        """
        found: list[Source] = []
        if self.preset:
            found.append((f"--preset {self.preset}", {"preset": self.preset}))
        if self.config:
            found.append((str(self.config), load_named(self.config)))
        data = {"data": str(self.data.absolute())} if self.data else {}
        found.append((_OPTIONS, nested({**options, **data})))
        said = parse_assignments(self.assignments)
        folders = {key: str(Path(said[key]).absolute()) for key in ("data", "start.twin") if said.get(key)}
        found.append(("--set", nested(said | folders)))
        return found


def named_for_pretrain(sources: Sources, twin: str | None) -> list[Source]:
    """The settings given for a 2D run; `twin` is plain, planar or None to leave it unchanged."""
    options: dict[str, Any] = {
        "training.phase": "2d",
        "start.strategy": "none",
        "start.modules": "gd",
        "start.twin": "",
    }
    if twin:
        options |= {"training.twin": twin, "network.position": twin == "planar"}
    return sources.named(options)


def named_for_train(
    sources: Sources, start: Path | None, strategy: str | None, modules: str | None
) -> list[Source]:
    """The settings given for a 3D run.

    Args:
        sources: The common options.
        start: Folder of the 2D run to inflate, or None.
        strategy: How to inflate; None leaves it to the file, the preset or the kind of twin.
        modules: g, d, gd or None to leave it unchanged.
    """
    options: dict[str, Any] = {"training.phase": "3d"}
    if start:
        options["start.twin"] = str(start.absolute())
    if strategy:
        options["start.strategy"] = strategy
    if strategy == "planar":
        options["network.position"] = True
    if modules:
        options["start.modules"] = modules
    return sources.named(options)


class UnfitError(VoxflateError):
    """The networks make volumes of another shape, or with other channels or labels, than the data has.

    Args:
        data: The prepared set.
        problem: What differs, and after a semicolon what to set.
    """

    def __init__(self, data: str, problem: str) -> None:
        super().__init__(f"{data}: {problem}")
        self.data, self.reason = data, problem.partition(";")[0]


def settings_of_pretrain(named: Sequence[Source]) -> RunConfig:
    """Settings of a 2D run.

    Raises:
        VoxflateError: If the data's shape differs from the networks', or as `resolve`.
    """
    said = flat(merged(named))
    return _finished((str(said.get("data")), _network_for(said)), named, "2d")


def settings_of_train(named: Sequence[Source], start: Path | None) -> RunConfig:
    """Settings of a 3D run.

    Args:
        named: The given settings, including `start`.
        start: The 2D run of the command line, or None.

    Raises:
        VoxflateError: If there is no such 2D run, the strategy does not inflate it, the data's shape differs
            from the networks', or as `resolve`.
    """
    said = flat(merged(named))
    twin = said.get("start.twin")
    if twin and isinstance(twin, str) and (start or not _is_complete(said)):
        facts = _facts_of_twin(said, load_config(twin))
    else:
        facts = _network_for(said)
    try:
        config = _finished((str(twin or said.get("data")), facts), named, "3d")
    except UnfitError as error:
        if not start or said.get("preset") or any(key.startswith("network.") for key in said):
            raise
        command = shlex.join(["voxflate", "pretrain", error.data, "--out", "RUN2D"])
        raise VoxflateError(
            f"{error.data}: {error.reason}, because the 2D run {start} was trained on other data; pretrain "
            f"on this set: {command}"
        ) from error
    if start and config.start.strategy == "none":
        raise VoxflateError(
            f"--start {start}: nothing is inflated with start.strategy = none; choose --strategy "
            f"{DEFAULT_STRATEGY} (ours) or inflate-1 (the paper's), or leave --start out"
        )
    return config


def new_run_folder(out: Path | None, config: RunConfig) -> Path:
    """The folder of a new run, if the settings are sufficient for training.

    Raises:
        VoxflateError: If there is no data, no `out`, or no twin to inflate.
    """
    if not config.data:
        raise VoxflateError("no data: give the folder made by `voxflate prepare` as the first argument")
    if config.start.strategy != "none" and not config.start.twin:
        raise VoxflateError(
            f"start.strategy = {config.start.strategy}: needs a 2D run to inflate; give --start RUN2D"
        )
    if out is None:
        raise VoxflateError("no folder for the run: give --out RUN")
    return out


def print_settings(settings: RunConfig | Mapping[str, Any]) -> None:
    """Print TOML, as `--dry-run` does.

    Args:
        settings: The configuration; of a command without one, its options by name. None is left out.
    """
    typer.echo(to_toml(settings) if isinstance(settings, RunConfig) else _options_as_toml(settings), nl=False)


def _options_as_toml(options: Mapping[str, Any]) -> str:
    """Options as TOML: a path as text, and what is None left out."""
    texts = {key: str(value) if isinstance(value, Path) else value for key, value in options.items()}
    return tomli_w.dumps({key: value for key, value in texts.items() if value is not None})


def _finished(facts: tuple[str, Mapping[str, Any]], named: Sequence[Source], phase: Phase) -> RunConfig:
    """Combine given settings with facts by dotted key; given ones win. Refuse another phase or shape."""
    for origin, values in named:
        said = flat(values).get("training.phase", phase)
        if said != phase:
            raise VoxflateError(
                f"{origin}: training.phase = {said}: the command sets the phase; "
                "2d is voxflate pretrain, 3d is voxflate train"
            )
    origin, values = facts
    config = resolve((origin, nested(values)), *named)
    _check_volumes(config)
    return config


def _is_complete(said: Mapping[str, Any]) -> bool:
    """Whether every setting is given, as in the file of a run."""
    return flat(RunConfig().model_dump()).keys() <= said.keys()


def _network_for(said: Mapping[str, Any]) -> dict[str, Any]:
    """Networks that fit the prepared volumes, if these exist and no preset sets the networks."""
    prepared = _set_at(said.get("data"))
    if prepared is None or said.get("preset"):
        return {}
    from voxflate.data.shapes import split_shape

    base, stages = split_shape(prepared.shape)
    return {
        "network.base": base,
        "network.stages": stages,
        "network.image_channels": len(prepared.layout.channels),
        "network.label_width": prepared.layout.label_width,
    }


def _facts_of_twin(said: Mapping[str, Any], twin: RunConfig) -> dict[str, Any]:
    """Settings fixed by the 2D run, by dotted key: data and, without a preset, networks and strategy."""
    facts: dict[str, Any] = {"data": twin.data}
    if said.get("preset"):
        return facts
    facts |= {f"network.{key}": value for key, value in twin.network.model_dump(mode="json").items()}
    facts["network.base"] = _base_of_volumes(said.get("data", twin.data), twin.network)
    facts["network.position"] = twin.network.position or said.get("start.strategy") == "planar"
    facts["start.strategy"] = "planar" if twin.training.twin == "planar" else DEFAULT_STRATEGY
    return facts


def _base_of_volumes(data: object, twin: NetworkConfig) -> tuple[int, int, int]:
    """The base of a twin's 3D network for these volumes; the twin saw slices, so their number is free.

    The twin's own base if none fits; `_check_volumes` then reports why.
    """
    prepared = _set_at(data)
    depth, rest = divmod(prepared.shape[0], 2 ** (twin.stages - 1)) if prepared else (0, 0)
    return (depth, *twin.base[1:]) if depth and not rest else twin.base


def _check_volumes(config: RunConfig) -> None:
    """Refuse networks whose shape, channels or labels differ from the data's, if the data exists."""
    prepared, network = _set_at(config.data), config.network
    if prepared is None:
        return
    from voxflate.data.shapes import check_shape

    try:
        check_shape(prepared.shape, network.base, network.stages)
        prepared.layout.check_networks(network.image_channels, network.label_width)
    except VoxflateError as error:
        raise UnfitError(config.data, str(error)) from error


def _set_at(data: object) -> PreparedSet | None:
    if not isinstance(data, str) or not data or not Path(data).exists():
        return None
    from voxflate.data.prepared import open_prepared

    return open_prepared(data)
