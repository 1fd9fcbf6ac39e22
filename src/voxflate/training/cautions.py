"""Warnings before the first step: settings that are allowed, and perhaps not meant."""

from __future__ import annotations

import shlex

from voxflate.config.schema import DEFAULT_MODEL, RunConfig
from voxflate.config.toml import load_config
from voxflate.data.datasets import likeness_to_mirror
from voxflate.data.prepared import PreparedSet
from voxflate.gans.slice_discriminator import NEIGHBOURS
from voxflate.inflation import TransferReport
from voxflate.runs.stages import SEEN, on_held_out

ONE_SIDED = 0.7
"""Correlation of the mean volume with its mirror image below which flips cause a warning: 0.99 for brains,
0.4 for hippocampi of one side."""


def cautions(config: RunConfig, prepared: PreparedSet, report: TransferReport | None) -> list[str]:
    """All warnings that apply, one line each.

    Args:
        config: Settings of the run.
        prepared: Its data.
        report: What was inflated now; None if nothing was.
    """
    return [
        *_one_side(config, prepared),
        *_small_groups(config),
        *_ignored(config),
        *_unfinished_twin(config, report),
        *_other_people(config, report),
    ]


def _one_side(config: RunConfig, prepared: PreparedSet) -> list[str]:
    """Flips would show a side of the body that is not in the data."""
    if not config.training.flip:
        return []
    likeness = likeness_to_mirror(prepared.stored("train"))
    if likeness >= ONE_SIDED:
        return []
    return [
        f"warning: training.flip=true, but the mean training volume is unlike its mirror image "
        f"(correlation {likeness:.2f}): if all volumes show the same side, flips teach the generator the "
        "other one too; leave them out with training.flip=false"
    ]


def _small_groups(config: RunConfig) -> list[str]:
    """The pictures of the slice discriminator have fewer volumes than colours."""
    t, slices = config.training, config.slice_discriminator
    group = min(t.mbstd_group, t.batch)
    if not slices.weight or slices.channels != "neighbours" or group >= NEIGHBOURS:
        return []
    return [
        f"warning: slice_discriminator.channels=neighbours shows {group} instead of {NEIGHBOURS} volumes "
        f"in a picture and so sees less of a lack of variety, because training.batch = {t.batch} and "
        f"training.mbstd_group = {t.mbstd_group}; set both to {NEIGHBOURS} or more if memory allows"
    ]


def _ignored(config: RunConfig) -> list[str]:
    """A comparison model got a setting that its steps do not read; refusing it would refuse old runs."""
    if config.model == DEFAULT_MODEL or not config.training.reuse_fakes:
        return []
    return [
        f"warning: training.reuse_fakes=true has no effect: {config.model} makes new images for every step"
    ]


def _unfinished_twin(config: RunConfig, report: TransferReport | None) -> list[str]:
    """The 2D run stopped before its end."""
    if report is None:
        return []
    twin = config.start.twin
    reached, planned = report.twin["n_images"], round(load_config(twin).training.kimg * 1000)
    if reached >= planned:
        return []
    command = shlex.join(["voxflate", "pretrain", "--out", twin, "--resume"])
    return [
        f"warning: {twin}: stands at {reached / 1000:g} of its {planned / 1000:g} kimg, and this run starts "
        f"from there; to start from its end, finish it first ({command}) and begin this run again in another "
        "folder"
    ]


def _other_people(config: RunConfig, report: TransferReport | None) -> list[str]:
    """The 2D run may have been trained on people whom this run holds out."""
    if report is None or SEEN not in report.twin:
        return []
    remark = on_held_out(report.twin[SEEN])
    if not remark:
        return []
    return [f"warning: start.twin = {config.start.twin}: {remark}; to avoid this, pretrain on {config.data}"]
