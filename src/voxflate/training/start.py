"""The start of a 3D run: the networks of a 2D run, inflated into fresh 3D ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from voxflate._system.errors import VoxflateError
from voxflate.config.build import is_planar_twin
from voxflate.config.schema import RunConfig
from voxflate.config.toml import load_config
from voxflate.data.channels import Layout
from voxflate.data.prepared import PreparedSet
from voxflate.gans.gan import Networks
from voxflate.inflation import TransferReport, inflate
from voxflate.nn.conv_modules import ARCHITECTURES
from voxflate.runs.exported import weights_sha256
from voxflate.runs.snapshots import load_newest
from voxflate.runs.stages import held_out_seen
from voxflate.runs.trained_on import TrainedOn, check_columns


def apply_start(config: RunConfig, networks: Networks, prepared: PreparedSet) -> TransferReport | None:
    """Inflate the networks of `start.twin` into the fresh 3D ones.

    Args:
        config: Settings of the run.
        networks: Its fresh networks, changed in place.
        prepared: Its prepared set.

    Returns:
        The report; None if the strategy is "none".

    Raises:
        VoxflateError: If `start.twin` is not a 2D run, or its networks are not twins of these.
    """
    start = config.start
    if start.strategy == "none":
        return None
    twin = load_config(start.twin)
    if twin.training.phase != "2d":
        raise VoxflateError(f"{start.twin}: is a 3D run; a start needs a 2D one, made by voxflate pretrain")
    found = "planar" if is_planar_twin(twin) else "plain"
    needed = "planar" if start.strategy == "planar" else "plain"
    if found != needed:
        raise VoxflateError(
            f"{start.twin}: its twin is {found}, but strategy {start.strategy} needs a {needed} one; "
            f"pre-train with --twin {needed}, or choose another strategy"
        )
    _check_settings(config, twin)
    twin_folder = Path(start.twin)
    known = TrainedOn.of_run(twin_folder)
    _check_layout(config, prepared, known.layout)
    snapshot, _ = load_newest(twin_folder)
    # The average, not the last weights: its images are better, and they are what the start is judged by.
    twins = {"generator": snapshot["ema"], "discriminator": snapshot["gan"]["discriminator"]}
    fresh = {name: network.state_dict() for name, network in networks.items()}
    states, report = inflate(twins, fresh, start.strategy, start.modules, _rng_of(config.training.seed))
    for name, network in networks.items():
        network.load_state_dict(states[name])
    loaded = {"n_images": snapshot["n_images"], "weights_sha256": weights_sha256(snapshot["ema"])}
    loaded |= {"data": known.content, **held_out_seen(prepared, twin_folder, known)}
    return replace(report, twin=loaded)


def _rng_of(seed: int) -> torch.Generator:
    """Not seeded by `seed` itself, as the fresh weights are: the kernels would repeat these numbers."""
    child = np.random.SeedSequence(seed, spawn_key=(0,))
    return torch.Generator().manual_seed(int(child.generate_state(1)[0]))


def _check_layout(config: RunConfig, prepared: PreparedSet, theirs: Layout | None) -> None:
    """Refuse a twin with other channels or labels, whose vectors may have equal length but other meanings.

    Raises:
        VoxflateError: Tells how the two differ.
    """
    ours = prepared.layout
    if theirs is None:  # a run from before there were channels and labels
        return
    kinds = [[(channel.name, channel.kind) for channel in layout.channels] for layout in (theirs, ours)]
    if len(ours.channels) > 1 and kinds[0] != kinds[1]:
        raise VoxflateError(
            f"{config.start.twin}: was trained on channels {_listed(kinds[0])}, {config.data} has "
            f"{_listed(kinds[1])}; pre-train on the same channels"
        )
    if config.network.label_width:
        check_columns(prepared, theirs, Path(config.start.twin), "pre-train on this data")


def _listed(channels: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in channels)


def _check_settings(config: RunConfig, twin: RunConfig) -> None:
    """Compare settings that shapes do not reveal: split and shuffled kernels have the same shapes."""
    ours, theirs = ARCHITECTURES[config.network.architecture], ARCHITECTURES[twin.network.architecture]
    for letter, name, other in zip("gd", ours, theirs, strict=True):
        if letter in config.start.modules and name != other:
            raise VoxflateError(
                f"{config.start.twin}: has network.architecture = {twin.network.architecture}, the 3D "
                f"network {config.network.architecture}; pre-train with the architecture of the 3D network"
            )
    if "d" in config.start.modules and config.network.low_pass_d != twin.network.low_pass_d:
        raise VoxflateError(
            f"{config.start.twin}: has network.low_pass_d = {str(twin.network.low_pass_d).lower()}, the 3D "
            f"network {str(config.network.low_pass_d).lower()}; a discriminator's kernels only fit the way "
            f"they were trained: set network.low_pass_d={str(twin.network.low_pass_d).lower()}, or pre-train "
            "with the settings of the 3D run"
        )
    if config.network.base[1:] != twin.network.base[1:]:
        raise VoxflateError(
            f"{config.start.twin}: has network.base = {twin.network.base}, the 3D network "
            f"{config.network.base}; only the first number may differ: pre-train on volumes of "
            "this height and width"
        )
