"""`--resume`: the settings of a run that goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from typer.core import TyperCommand

from voxflate._system.errors import VoxflateError
from voxflate.cli.settings import Sources
from voxflate.config.presets import Phase
from voxflate.config.schema import RunConfig
from voxflate.config.toml import CONFIG_NAME, load_config, parse_assignments, with_values

LAST, AUTO = "last", "auto"
Resume = Literal["last", "auto"]

MAY_CHANGE = (
    "data",
    "training.kimg",
    "training.lr_g",
    "training.lr_d",
    "training.lr_decay",
    "training.snapshot_kimg",
    "training.keep",
    "training.threads",
    "training.device",
    "training.precision",
    "training.restore",
    "evaluation.",
)
"""What a resumed run may do otherwise from now on. Any other setting would say of the run's past what is not
true; a moved prepared folder is the same data."""


class ResumableCommand(TyperCommand):
    """A command whose `--resume` may stand alone; it then means `--resume last`."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Write the mode where it is left out; another word after it is another argument."""
        words = zip(args, [*args[1:], ""], strict=True)
        alone = [word == "--resume" and after not in (LAST, AUTO) for word, after in words]
        return super().parse_args(
            ctx, [f"--resume={LAST}" if bare else word for word, bare in zip(args, alone, strict=True)]
        )


def goes_on(resume: Resume | None, out: Path | None) -> bool:
    """Say whether the command takes a run up, instead of beginning one."""
    if resume == AUTO and out is not None:
        from voxflate.runs.snapshots import list_snapshots

        return bool(list_snapshots(out))
    return resume is not None


def settings_to_resume(sources: Sources, out: Path, phase: Phase, others: Mapping[str, object]) -> RunConfig:
    """The settings of the run in `out`, with `--set` on top (a larger training.kimg, say).

    Args:
        sources: The common options.
        out: Run folder.
        phase: What the command trains.
        others: The command's own options by name; they belong to new runs.

    Raises:
        VoxflateError: If there is no run of this phase, or if an option would change what was begun.
    """
    if given := _given(sources, others):
        raise VoxflateError(
            f"--resume with --{given[0]}: a run continues with its own settings ({out / CONFIG_NAME}); "
            "change one with --set, or give the command that began it with --resume auto"
        )
    begun = _begun(out, phase)
    values = {"data": str(sources.data.absolute())} if sources.data else {}
    config = with_values(begun, values, "options")
    config = with_values(config, parse_assignments(sources.assignments), "--set")
    return _compatible(begun, config, out, "--set {key}={value}")


def settings_of_either(
    sources: Sources, out: Path, phase: Phase, others: Mapping[str, object], new: Callable[[], RunConfig]
) -> RunConfig:
    """The settings of the run in `out`, from the same command that began it (`--resume auto`).

    Args:
        sources: The common options.
        out: Run folder.
        phase: What the command trains.
        others: The command's own options by name.
        new: Gives the settings that the command would begin a run with.

    Raises:
        VoxflateError: If the command asks for another run than the one that was begun.
    """
    if not _given(sources, others):
        return settings_to_resume(sources, out, phase, others)
    return _compatible(_begun(out, phase), new(), out, "--resume auto: the command says {key} = {value}")


def _given(sources: Sources, others: Mapping[str, object]) -> list[str]:
    options = {"preset": sources.preset, "config": sources.config, **others}
    return [name for name, value in options.items() if value]


def _begun(out: Path, phase: Phase) -> RunConfig:
    begun = load_config(out)
    if begun.training.phase != phase:
        command = "pretrain" if begun.training.phase == "2d" else "train"
        raise VoxflateError(
            f"{out}: is a {begun.training.phase} run; go on with voxflate {command} --out {out} --resume"
        )
    return begun


def _compatible(begun: RunConfig, config: RunConfig, out: Path, asked: str) -> RunConfig:
    """Refuse settings that contradict what the run has done."""
    before, after = _by_key(begun), _by_key(config)
    for key, value in after.items():
        if value != before[key] and not key.startswith(MAY_CHANGE):
            raise VoxflateError(
                f"{asked.format(key=key, value=value)}: {out} was begun with {before[key]}, and a run that "
                f"goes on keeps it; start another with --config {out} and a new --out"
            )
    return config


def _by_key(config: RunConfig) -> dict[str, Any]:
    """Every setting by its dotted key."""
    values: dict[str, Any] = {}
    for name, value in config.model_dump(mode="json").items():
        values |= (
            {f"{name}.{key}": leaf for key, leaf in value.items()}
            if isinstance(value, dict)
            else {name: value}
        )
    return values
