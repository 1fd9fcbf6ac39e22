"""Warnings before the first step: settings that are allowed, and perhaps not meant."""

from __future__ import annotations

import shlex

from voxflate._system.errors import VoxflateError
from voxflate.config.schema import DEFAULT_MODEL, RunConfig
from voxflate.config.toml import from_values, load_config
from voxflate.config.values import flat
from voxflate.data.datasets import likeness_to_mirror
from voxflate.data.prepared import PreparedSet
from voxflate.gans.slice_discriminator import NEIGHBOURS
from voxflate.inflation import TransferReport
from voxflate.runs.stages import SEEN, on_held_out

IGNORED_BY_COMPARISON = (
    "network.architecture",
    "network.w_dim",
    "network.mapping_layers",
    "network.symmetric_d",
    "network.position",
    "network.low_pass_d",
    "training.r1_gamma",
    "training.r1_every",
    "training.mbstd_group",
    "training.train_noise",
    "training.augment_p",
    "training.reuse_fakes",
)
"""Settings that no comparison model reads, except `mbstd_group` for `neighbours` slices."""

ONE_SIDED = 0.7
"""Correlation of the mean volume with its mirror image below which flips cause a warning: 0.99 for brains,
0.4 for hippocampi of one side."""


def cautions(
    config: RunConfig, prepared: PreparedSet, report: TransferReport | None, resumed: bool = False
) -> list[str]:
    """All warnings that apply, one line each.

    Args:
        config: Settings of the run.
        prepared: Its data.
        report: What was inflated now; None if nothing was.
        resumed: The run was begun before; an older version may have chosen other values.
    """
    return [
        *_one_side(config, prepared),
        *_small_groups(config),
        *_unseen_planes(config),
        *_scaled_masks(config, prepared),
        *([] if resumed else _ignored(config)),
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


def _unseen_planes(config: RunConfig) -> list[str]:
    """Slices cycle through the planes, but begin with the axial one in every batch."""
    t, slices = config.training, config.slice_discriminator
    planes = ("axial", "coronal", "sagittal")
    seen = planes[: t.batch + slices.per_volume - 1]
    if not slices.weight or t.phase == "2d" or seen == planes:
        return []
    return [
        f"warning: the slice discriminator only sees {' and '.join(seen)} slices, because training.batch = "
        f"{t.batch} and slice_discriminator.per_volume = {slices.per_volume}; set "
        f"slice_discriminator.per_volume={len(planes)}"
    ]


def _scaled_masks(config: RunConfig, prepared: PreparedSet) -> list[str]:
    """An augmentation of intensities changes the shares of a mask."""
    if "intensity" not in config.training.augment.split(",") or not prepared.layout.masks:
        return []
    return [
        f"warning: training.augment={config.training.augment}: intensity also scales the masks of "
        f"{config.data}, so voxels show less or more than the whole of a class; leave it out"
    ]


def _ignored(config: RunConfig) -> list[str]:
    """A comparison model got settings that its steps do not read; refusing them would refuse old runs."""
    if config.model == DEFAULT_MODEL:
        return []
    given, usual = (flat(each.model_dump(mode="json")) for each in (config, _as_recommended(config)))
    slices = config.slice_discriminator
    read = ("training.mbstd_group",) if slices.weight and slices.channels == "neighbours" else ()
    changed = [key for key in IGNORED_BY_COMPARISON if given[key] != usual[key] and key not in read]
    if not changed:
        return []
    values = ", ".join(f"{key}={str(given[key]).lower()}" for key in changed)
    return [
        f"warning: {config.model} ignores these settings, which are for stylegan2: {values}; leave them out"
    ]


def _as_recommended(config: RunConfig) -> RunConfig:
    """What the run would have if only its model and preset were named."""
    named = {"model": config.model, "start.strategy": "none"}
    try:
        return from_values({**named, "preset": config.preset})
    except VoxflateError:  # the preset is only a label
        return from_values(named)


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
