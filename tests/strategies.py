"""Hypothesis strategies and small networks, data sets and runs that several tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from voxflate.config.build import build_networks
from voxflate.config.schema import RunConfig
from voxflate.config.toml import from_dict, with_values
from voxflate.data.channels import Channel, LabelColumn, LabelValue, Layout
from voxflate.data.prepared import (
    Manifest,
    PreparedSet,
    Scan,
    content_sha256,
    open_prepared,
    to_stored,
    voxels_sha256,
)
from voxflate.data.volume import Float32
from voxflate.nn import Discriminator, Generator

ONE_CHANNEL = Layout()

PAIRS = Layout(
    (
        Channel("t1", intensity=(100.0, 300.0)),
        Channel("t2", intensity=(0.0, 50.0)),
        Channel("front", "mask", label=2),
        Channel("back", "mask", label=7),
    ),
    (LabelColumn("sex", ("F", "M")), LabelColumn("age", low=20, high=80, mean=50, deviation=20)),
)
"""Two modalities, a mask of two classes, a class and a number."""

OF_PAIRS = {"network__image_channels": 4, "network__label_width": 3}
"""Settings of networks for `PAIRS`."""

seeds = st.integers(0, 2**31 - 1)
spatial_dims = st.sampled_from([2, 3])

VARIANTS = ["baseline", "group-d", "depthwise-d", "split-shuffle-d", "split", "split-shuffle"]
"""Names of the architectures; a test keeps them equal to the table."""


@st.composite
def sizes(draw: st.DrawFn, smallest: int = 1, largest: int = 5) -> tuple[int, ...]:
    """A spatial size with two or three axes."""
    dims = draw(spatial_dims)
    return tuple(draw(st.integers(smallest, largest)) for _ in range(dims))


def random_tensor(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers that depend on the seed alone."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def randomised(module: nn.Module, seed: int = 0) -> Any:
    """Fill a fresh module by seed; what starts constant (biases, noise strengths) varies around it."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=rng)
            spread = float(parameter.std(correction=0))
            if spread:
                parameter.copy_(
                    noise * (100 if spread > 10 else 1)
                )  # the mapping's are a hundred times larger
            else:
                parameter += 0.2 * noise
    return module


def networks(
    dims: int = 3,
    architecture: str = "split-shuffle",
    *,
    base: tuple[int, int, int] = (2, 4, 4),
    stages: int = 2,
    channels: int = 4,
    finest_channels: int = 0,
    position: bool = False,
    symmetric_d: bool = False,
    low_pass_d: bool = True,
    planar: bool = False,
    image_channels: int = 1,
    label_width: int = 0,
    group: int = 2,
    seed: int = 0,
) -> tuple[Generator, Discriminator]:
    """Tiny networks, fresh but for random noise strengths and biases; the global random state is kept."""
    config = from_dict(
        {
            "network": {
                "architecture": architecture,
                "base": base,
                "stages": stages,
                "channels": channels,
                "finest_channels": finest_channels,
                "z_dim": 6,
                "w_dim": 6,
                "mapping_layers": 2,
                "position": position,
                "symmetric_d": symmetric_d,
                "low_pass_d": low_pass_d,
                "image_channels": image_channels,
                "label_width": label_width,
            }
        },
        "test",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = build_networks(config.network, dims, planar=planar, mbstd_group=group)
    return randomised(made["generator"], seed), randomised(made["discriminator"], seed + 1)


def noise_for(
    generator: Generator, n: int, seed: int = 0, dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    """Noise for every styled convolution, [n, 1, *spatial]."""
    shapes = generator.synthesis.noise_shapes()
    return [random_tensor(n, *shape, seed=seed + i, dtype=dtype) for i, shape in enumerate(shapes)]


def write_prepared(
    folder: Path,
    shape: tuple[int, int, int] = (4, 8, 8),
    n_train: int = 10,
    n_heldout: int = 4,
    seed: int = 0,
    layout: Layout = ONE_CHANNEL,
) -> PreparedSet:
    """A prepared set of bright boxes of varied size in air that is exactly -1.

    Further images show the box darker. Mask classes share the box among them, along the first axis.
    """
    rng = np.random.default_rng(seed)
    volumes = np.full((n_train + n_heldout, *shape), -1.0, np.float32)
    for volume in volumes:
        box = tuple(slice(rng.integers(0, n // 2), rng.integers(n // 2 + 1, n + 1)) for n in shape)
        volume[box] = rng.uniform(0, 0.8, volume[box].shape)
    folder.mkdir(parents=True)
    stored = to_stored(volumes)
    if len(layout.channels) > 1:
        stored = to_stored(_with_channels(volumes, layout))
    np.save(folder / "train.npy", stored[:n_train])
    np.save(folder / "heldout.npy", stored[n_train:])
    splits = ["train"] * n_train + ["heldout"] * n_heldout
    affine = np.diag([3.0, 2.0, 1.0, 1.0])
    Manifest(
        recipe="mr",
        steps=[],
        shape=shape,
        spacing=(1.0, 2.0, 3.0),
        affine=affine.tolist(),
        intensity=(100.0, 300.0),
        scans=[
            Scan(
                f"s{i}",
                split,
                "0" * 64,
                affine.tolist(),
                (100.0, 300.0),
                labels={column.name: _label(column, i) for column in layout.labels},
            )
            for i, split in enumerate(splits)
        ],
        held_out=0.25,
        seed=seed,
        content_sha256=content_sha256(map(voxels_sha256, stored)),
        libraries={},
        layout=layout,
    ).write(folder)
    return open_prepared(folder)


def _with_channels(volumes: Float32, layout: Layout) -> Float32:
    """Volumes [n, D, H, W] with the other channels of a layout, [n, C, D, H, W]."""
    images = [np.where(volumes > -1, volumes / (2 + index), -1) for index in range(layout.images - 1)]
    inside = volumes > -1
    turn = np.arange(volumes.shape[1])[:, None, None] % max(1, layout.masks)
    masks = [np.where(inside & (turn == index), 1.0, -1.0) for index in range(layout.masks)]
    return np.stack([volumes, *images, *masks], axis=1).astype(np.float32)


def _label(column: LabelColumn, number: int) -> LabelValue:
    """Classes in turn; numbers evenly over their range."""
    if column.categorical:
        return column.values[number % len(column.values)]
    return column.low + (column.high - column.low) * (number % 5) / 4


def run_config(data: PreparedSet | Path, **values: Any) -> RunConfig:
    """Settings of a tiny run of six steps; dotted keys are written with two underscores."""
    start = from_dict(
        {
            "data": str(data.root if isinstance(data, PreparedSet) else data),
            "network": {
                "base": (2, 4, 4),
                "stages": 2,
                "channels": 4,
                "z_dim": 6,
                "w_dim": 6,
                "mapping_layers": 2,
            },
            "training": {
                "batch": 4,
                "mbstd_group": 2,
                "kimg": 0.024,
                "snapshot_kimg": 0.012,
                "r1_every": 2,
                "threads": 1,
                "device": "cpu",
                "precision": "fp32",
            },
            "slice_discriminator": {"weight": 0},  # its features take half a second to load
            "evaluation": {"every": 0, "samples": 2, "extractor": "random"},
        },
        "test",
    )
    return with_values(start, {key.replace("__", "."): value for key, value in values.items()})
