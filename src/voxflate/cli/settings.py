"""From a command's options to one checked configuration.

Later sources win: our recommended settings, a preset or a configuration file; what the data or the 2D
run dictate; the command's own options; `--set`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
import typer

from voxflate._system.errors import VoxflateError
from voxflate.config.presets import DEFAULT_STRATEGY, PLANAR_2D, Phase, preset, recommended
from voxflate.config.schema import DEFAULT_MODEL, NetworkConfig, RunConfig
from voxflate.config.toml import load_config, parse_assignments, to_toml, with_values


@dataclass(frozen=True)
class Sources:
    """Where the settings of a training come from, as given on the command line.

    Attributes:
        data: Prepared folder, or None to take the configuration's.
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
            raise VoxflateError(f"--preset {self.preset} and --config {self.config}: give one of them")

    @property
    def named(self) -> bool:
        """Whether a preset or a file decides on the networks."""
        return bool(self.preset or self.config)

    def base(self, phase: Phase, strategy: str = "none") -> RunConfig:
        """The settings to start from; `strategy` picks ours where neither preset nor file is named."""
        if self.preset:
            return preset(self.preset, phase)
        if self.config:
            return load_config(self.config)
        model = str(parse_assignments(self.assignments).get("model", DEFAULT_MODEL))
        return recommended(phase, strategy, model)

    def finish(self, config: RunConfig, values: Mapping[str, Any], phase: Phase) -> RunConfig:
        """Put the command's own values, then `--set`, on top of `config`; refuse another phase or shape."""
        given = {"data": str(self.data.absolute())} if self.data else {}
        config = with_values(config, {**values, **given}, "options")
        if not self.named and "network.base" not in values:
            config = with_values(config, _network_for(config.data), config.data)
        config = with_values(config, parse_assignments(self.assignments), "--set")
        if config.training.phase != phase:
            raise VoxflateError(
                f"--set training.phase={config.training.phase}: the command decides on the phase; "
                "2d is voxflate pretrain, 3d is voxflate train"
            )
        _check_volumes(config)
        return config


def settings_of_pretrain(sources: Sources, twin: str | None) -> RunConfig:
    """Settings of a 2D run; `twin` is plain, planar or None to leave it as it is."""
    values: dict[str, Any] = {
        "training.phase": "2d",
        "start.strategy": "none",
        "start.modules": "gd",
        "start.twin": "",
    }
    if twin:
        values |= {"training.twin": twin, "network.position": twin == "planar"}
    if twin == "planar" and not sources.named:
        values |= PLANAR_2D
    return sources.finish(sources.base("2d"), values, "2d")


def settings_of_train(
    sources: Sources, start: Path | None, strategy: str | None, modules: str | None
) -> RunConfig:
    """Settings of a 3D run.

    Args:
        sources: The common options.
        start: Folder of the 2D run to inflate, or None.
        strategy: How to inflate; None leaves it to the preset, or to the kind of twin.
        modules: g, d, gd or None to leave it as it is.

    Raises:
        VoxflateError: If a strategy has no 2D run to work on, or as `from_dict`.
    """
    values: dict[str, Any] = {"training.phase": "3d"}
    twin = load_config(start) if start else None
    if not strategy and twin and not sources.named:
        strategy = "planar" if twin.training.twin == "planar" else DEFAULT_STRATEGY
    base = sources.base("3d", strategy or "none")
    if start:
        values["start.twin"] = str(start.absolute())
    if twin and not sources.named:
        values["data"] = twin.data
        values |= {f"network.{key}": value for key, value in twin.network.model_dump(mode="json").items()}
        values["network.base"] = _base_of_volumes(str(sources.data or twin.data), twin.network)
    if strategy:
        values["start.strategy"] = strategy
    if strategy == "planar":
        values["network.position"] = True
    if modules:
        values["start.modules"] = modules
    config = sources.finish(base, values, "3d")
    if start and config.start.strategy == "none":
        raise VoxflateError(
            f"--start {start}: nothing is inflated with strategy none; choose --strategy inflate-1"
        )
    return config


def new_run_folder(out: Path | None, config: RunConfig) -> Path:
    """Check that the command says all that a training needs.

    Raises:
        VoxflateError: If there is no data, no `out`, or no twin to inflate.
    """
    if not config.data:
        raise VoxflateError("no data: name the folder made by `voxflate prepare` as the first argument")
    if config.start.strategy != "none" and not config.start.twin:
        raise VoxflateError(
            f"start.strategy = {config.start.strategy}: needs a 2D run to inflate; give --start RUN2D"
        )
    if out is None:
        raise VoxflateError("no place for the run: give --out RUN")
    return out


def print_settings(settings: RunConfig | Mapping[str, Any]) -> None:
    """Print TOML, as `--dry-run` does; a plain mapping is for commands that have no configuration."""
    if isinstance(settings, RunConfig):
        text = to_toml(settings)
    else:
        text = tomli_w.dumps({key: value for key, value in settings.items() if value is not None})
    typer.echo(text, nl=False)


def _network_for(data: str) -> dict[str, Any]:
    """Base and stages that fit the prepared volumes; nothing if the data is not there (yet)."""
    shape = _shape_at(data)
    if shape is None:
        return {}
    from voxflate.data.shapes import split_shape

    base, stages = split_shape(shape)
    return {"network.base": base, "network.stages": stages}


def _base_of_volumes(data: str, twin: NetworkConfig) -> tuple[int, int, int]:
    """The base that a twin's 3D network needs for these volumes; the twin saw slices, their number is free.

    The twin's own where none fits; `_check_volumes` then says why.
    """
    shape = _shape_at(data)
    depth, rest = divmod(shape[0], 2 ** (twin.stages - 1)) if shape else (0, 0)
    return (depth, *twin.base[1:]) if depth and not rest else twin.base


def _check_volumes(config: RunConfig) -> None:
    """Refuse networks that make another shape than the data has, if it is there (yet)."""
    shape = _shape_at(config.data)
    if shape is None:
        return
    from voxflate.data.shapes import check_shape

    try:
        check_shape(shape, config.network.base, config.network.stages)
    except VoxflateError as error:
        raise VoxflateError(f"{config.data}: {error}") from error


def _shape_at(data: str) -> tuple[int, int, int] | None:
    if not data or not Path(data).exists():
        return None
    from voxflate.data.prepared import open_prepared

    return open_prepared(data).shape
