"""The command line as tests call it, and what several of them need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from voxflate.cli import app
from voxflate.config.presets import Phase
from voxflate.config.schema import RunConfig
from voxflate.config.toml import from_toml, from_values, save_config, with_values


def preset(name: str, phase: Phase = "3d") -> RunConfig:
    return from_values({"preset": name, "training.phase": phase})


def recommended(phase: Phase, strategy: str = "none") -> RunConfig:
    return from_values({"training.phase": phase, "start.strategy": strategy})


def voxflate(*arguments: object) -> Any:
    return CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, [str(a) for a in arguments])


def refused(*arguments: object) -> str:
    """The one line with which a command is refused."""
    result = voxflate(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("voxflate: ")
    return line


def resolved(*arguments: object) -> RunConfig:
    """The settings that `--dry-run` prints."""
    result = voxflate(*arguments, "--dry-run")
    assert result.exit_code == 0, result.output
    return from_toml(result.stdout, "--dry-run")


def twin_run(folder: Path, kind: str) -> Path:
    """A 2D run as far as the command line looks at it: its settings."""
    values = {
        "data": "the twin's data",
        "training.twin": kind,
        "network.position": kind == "planar",
        "network.channels": 16,
    }
    save_config(with_values(recommended("2d"), values), folder)
    return folder
