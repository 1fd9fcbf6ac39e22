"""`--resume`: the settings of a run that goes on."""

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
from voxflate.config.values import flat

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
    "training.kernels",
    "training.compile",
    "training.micro_batch",
    "training.activation_checkpointing",
    "training.restores",
    "training.restore_lr",
    "evaluation.",
)
"""What may differ from now on in a run that goes on: `run.json` has the image from which it does. Any other
change would make the settings untrue of the run's past; a prepared folder that moved is the same data."""


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


def settings_to_resume(
    named: Sequence[Source], out: Path, phase: Phase, resume: Resume | None, begins: Mapping[str, object]
) -> RunConfig:
    """The settings of the run in `out`, with what the command names on top (a larger training.kimg, say).

    Args:
        named: What the command names.
        out: Run folder.
        phase: What the command trains.
        resume: With auto, the options that begin a run may be there, and must say what the run says.
        begins: These options by name.

    Raises:
        VoxflateError: If there is no run of this phase, or if an option would change what was begun.
    """
    given = [name for name, value in begins.items() if value]
    if given and resume != AUTO:
        raise VoxflateError(
            f"--resume with --{given[0]}: a run continues with its own settings ({out / CONFIG_NAME}); "
            "change one with --set, or give the command that began it with --resume auto"
        )
    begun = _begun(out, phase)
    config = resolve((str(out / CONFIG_NAME), begun.model_dump(mode="json")), *named)
    asked = "--resume auto: the command says {key} = {value}" if given else "--set {key}={value}"
    return _compatible(begun, config, out, asked)


def _begun(out: Path, phase: Phase) -> RunConfig:
    begun = load_config(out)
    if begun.training.phase != phase:
        command = "pretrain" if begun.training.phase == "2d" else "train"
        raise VoxflateError(
            f"{out}: is a {begun.training.phase} run; go on with voxflate {command} --out {quote(str(out))} "
            "--resume"
        )
    return begun


def _compatible(begun: RunConfig, config: RunConfig, out: Path, asked: str) -> RunConfig:
    """Refuse settings that contradict what the run has done."""
    before, after = (flat(each.model_dump(mode="json")) for each in (begun, config))
    for key, value in after.items():
        if value != before[key] and not key.startswith(MAY_CHANGE):
            raise VoxflateError(
                f"{asked.format(key=key, value=value)}: {out} was begun with {before[key]}, and a continued "
                f"run keeps it; start another with --config {quote(str(out))} and a new --out"
            )
    return config
