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
from voxflate.config.toml import CONFIG_NAME, Source, load_config, resolve, with_values
from voxflate.config.values import flat

LAST, AUTO = "last", "auto"
Resume = Literal["last", "auto"]

MAY_CHANGE = (
    "data",
    "training.kimg",
    "training.lr_g",
    "training.lr_d",
    "training.lr_decay",
    "slice_discriminator.lr_s",
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
"""Settings that may change when a run continues: `run.json` has the image from which a change applies. After
any other change the settings would not describe the run's past; a moved prepared folder is the same data."""


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
    twin = config.start.twin
    if begins.get("start") and twin != begun.start.twin and _was_moved(twin, out):
        begun = with_values(begun, {"start.twin": twin})
    asked = "--resume auto: the command says {key} = {value}" if given else "--set {key}={value}"
    return _compatible(begun, config, out, asked)


def _begun(out: Path, phase: Phase) -> RunConfig:
    begun = load_config(out)
    if begun.training.phase != phase:
        command = "pretrain" if begun.training.phase == "2d" else "train"
        raise VoxflateError(
            f"{out}: is a {begun.training.phase} run; continue with voxflate {command} --out "
            f"{quote(str(out))} --resume"
        )
    return begun


def _was_moved(twin: str, out: Path) -> bool:
    """Whether this folder holds the 2D run that a run started from, by its data and its weights."""
    from voxflate.runs.exported import weights_sha256
    from voxflate.runs.facts import read_facts
    from voxflate.runs.snapshots import load_snapshot, snapshot_path
    from voxflate.runs.trained_on import TrainedOn

    started = read_facts(out).get("started_from") or {}
    try:
        if not started or TrainedOn.of_run(Path(twin)).content != started["data"]:
            return False
        snapshot = load_snapshot(snapshot_path(Path(twin), started["n_images"]))
    except VoxflateError:
        return False
    return bool(weights_sha256(snapshot["ema"]) == started["weights_sha256"])


def _compatible(begun: RunConfig, config: RunConfig, out: Path, asked: str) -> RunConfig:
    """Refuse settings that contradict the run's past."""
    before, after = (flat(each.model_dump(mode="json")) for each in (begun, config))
    for key, value in after.items():
        if value != before[key] and not key.startswith(MAY_CHANGE):
            raise VoxflateError(
                f"{asked.format(key=key, value=value)}: {out} was started with {before[key]}, which a "
                f"continued run keeps; continue it without this, by --out {quote(str(out))} --resume, or "
                f"start another with --config {quote(str(out))} and a new --out"
            )
    return config
