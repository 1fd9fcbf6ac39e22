"""`--resume`: the settings of a continued run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any, Literal

from typer.core import TyperCommand

from voxflate._system.errors import VoxflateError
from voxflate.config.presets import Phase
from voxflate.config.schema import RunConfig
from voxflate.config.toml import CONFIG_NAME, Source, load_config, resolve
from voxflate.runs.history import MAY_CHANGE as MAY_CHANGE

LAST, AUTO = "last", "auto"
Resume = Literal["last", "auto"]


class ResumableCommand(TyperCommand):
    """A command whose `--resume` may have no value; it then means `--resume last`."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Insert the mode if it is missing; any other word after `--resume` is another argument."""
        words = zip(args, [*args[1:], ""], strict=True)
        alone = [word == "--resume" and after not in (LAST, AUTO) for word, after in words]
        return super().parse_args(
            ctx, [f"--resume={LAST}" if bare else word for word, bare in zip(args, alone, strict=True)]
        )


def continues_run(resume: Resume | None, out: Path | None) -> bool:
    """Tell whether the command continues a run instead of starting one."""
    if resume == AUTO and out is not None:
        from voxflate.runs.snapshots import list_snapshots

        return bool(list_snapshots(out))
    return resume is not None


def settings_to_resume(
    named: Sequence[Source], out: Path, phase: Phase, resume: Resume | None, begins: Mapping[str, object]
) -> RunConfig:
    """The settings of the run in `out`, changed by those of the command (such as a larger training.kimg).

    Args:
        named: Settings given on the command line.
        out: Run folder.
        phase: The phase that the command trains.
        resume: With auto, the options that start a run are allowed, but must agree with the run.
        begins: The options that start a run, by name.

    Raises:
        VoxflateError: If there is no run of this phase, or an option would change the run.
    """
    given = [name for name, value in begins.items() if value]
    if given and resume != AUTO:
        raise VoxflateError(
            f"--resume with --{given[0]}: a run continues with its own settings ({out / CONFIG_NAME}); "
            "change one with --set, or give the command that started it with --resume auto"
        )
    begun = _begun(out, phase)
    config = resolve((str(out / CONFIG_NAME), begun.model_dump(mode="json")), *named)
    asked = "--resume auto: the command says {key} = {value}" if given else "--set {key}={value}"
    return _compatible(config, out, asked)


def _begun(out: Path, phase: Phase) -> RunConfig:
    begun = load_config(out)
    if begun.training.phase != phase:
        command = "pretrain" if begun.training.phase == "2d" else "train"
        raise VoxflateError(
            f"{out}: is a {begun.training.phase} run; continue with voxflate {command} --out "
            f"{quote(str(out))} --resume"
        )
    return begun


def _compatible(config: RunConfig, out: Path, asked: str) -> RunConfig:
    """Refuse settings that contradict the run's past."""
    from voxflate.runs.resumed import refused_change

    if refused := refused_change(out, config):
        key, before, value = refused
        raise VoxflateError(
            f"{asked.format(key=key, value=value)}: {out} was started with {before}, which a continued run "
            f"keeps; continue it without this, by --out {quote(str(out))} --resume, or start another with "
            f"--config {quote(str(out))} and a new --out"
        )
    return config
