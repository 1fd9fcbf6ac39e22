"""Recommended values that differ from the defaults of `schema`, and the values of a named preset.

`RunConfig` fills in missing settings, whether the others come from a file, `--set` or Python. The evidence is
in decisions 0017, 0072, 0176, 0183, 0184, 0190 and 0202.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from voxflate.config.limits import numbers
from voxflate.config.paper_rows import LR_FROM_SCRATCH, LR_INFLATED, R1_GAMMA
from voxflate.config.presets import COMPARISON_MODELS, preset_values
from voxflate.config.values import Values, flat, nested, overlay

DEFAULT_STRATEGY = "preserving"
"""Default strategy for a 3D run that starts from a plain 2D run."""

_PRETRAIN: Values = {
    "training.kimg": 60.0,
    "training.snapshot_kimg": 10.0,
    "training.min_content": 0.02,
    # Without the low-pass, D learns faster than G (decision 0072).
    "training.lr_d": 0.01,
    "training.reuse_fakes": True,
    "slice_discriminator.weight": 1.0,
}
# With a planar twin, leaving out D's low-pass gained nothing (decision 0072). Slices have hardly been tried.
_PRETRAIN_PLANAR: Values = {
    **_PRETRAIN,
    "training.kimg": 200.0,
    "training.snapshot_kimg": 20.0,
    "network.position": True,
    "network.low_pass_d": True,
    "training.lr_d": LR_FROM_SCRATCH,
    "slice_discriminator.weight": 0.0,
}
# A second discriminator that looks at slices (decisions 0110 and 0176), three of each volume, small batches
# (decision 0183), and an end before copies become frequent (decision 0190).
_VOLUMES: Values = {
    "training.kimg": 25.0,
    "training.snapshot_kimg": 2.5,
    "training.reuse_fakes": True,
    "training.batch": 4,
    "slice_discriminator.weight": 1.0,
    "slice_discriminator.per_volume": 3,
}
_ONE_CHANNEL: Values = {"slice_discriminator.channels": "neighbours"}
"""For volumes of one channel. Several are the colours of a slice, so that they match (0127, 0181)."""
_SMALL = 16 * 32 * 32
"""Up to this many voxels, the paper's weight of R1 is right and the learning rates can be higher."""
_MEASURED = 64**3
"""No value was measured for larger volumes."""
_INFLATED: Values = {"training.lr_g": LR_INFLATED, "training.lr_d": LR_INFLATED}
_FAST: Values = {"training.lr_g": 0.004, "training.lr_d": 0.004}
"""At 64x64x64 the discriminator wins with these, and several channels were not tried (decision 0202)."""
_STARTS: Mapping[str, Values] = {
    "none": {},
    "inflate-1": _INFLATED,
    "inflate-2": _INFLATED,
    "inflate-3": _INFLATED,
    "inflate-asc": _INFLATED,
    "inflate-nwi": _INFLATED,
    "preserving": {**_INFLATED, "training.train_noise": False},
    "planar": {
        "network.position": True,
        "network.low_pass_d": True,
        "training.lr_g": 0.001,
        "training.lr_d": 0.001,
        "training.freeze_g_kimg": 0.5,
        "training.train_noise": False,
    },
}
"""Recommended values by the strategy of the start."""


def complete(named: Values, defaults: Values) -> dict[str, Any]:
    """Fill in missing settings. Where none is missing, as in a run's file, a preset is only a label.

    Args:
        named: Nested settings.
        defaults: Every setting, nested, with its default in `schema`.

    Raises:
        ValueError: If there is no such preset.
    """
    if flat(defaults).keys() <= flat(named).keys():
        return dict(named)
    shape = _shape(flat(defaults) | flat(named))
    return overlay(overlay(defaults, nested(_values_for(flat(named), shape))), named)


def _shape(values: Values) -> tuple[int, ...]:
    """Shape of the volume, [D, H, W]; empty if the settings that give it are of a wrong type."""
    try:
        stages = int(values["network.stages"])
        return tuple(int(size) << min(stages - 1, 10) for size in numbers(values["network.base"]))
    except (TypeError, ValueError):
        return ()


def _learning_rates(strategy: str, shape: tuple[int, ...]) -> Values:
    """Higher ones for small volumes; a planar start keeps its own. Only called for volumes of one channel."""
    return _FAST if math.prod(shape) <= _SMALL and strategy != "planar" else {}


def _for_shape(shape: tuple[int, ...]) -> dict[str, Any]:
    """Values that grow with the volume (decision 0184)."""
    return {
        "training.r1_gamma": round(R1_GAMMA * min(max(math.prod(shape), _SMALL), _MEASURED) / _SMALL, 4),
        # Slices at twice their size: the frozen network was trained on larger pictures.
        "slice_discriminator.side": min(max(64, 32 * math.ceil(max(shape, default=0) / 16)), 128),
    }


def _values_for(named: Values, shape: tuple[int, ...]) -> dict[str, Any]:
    """The recommended values that differ from the defaults, by dotted key; with a preset, all of its values.

    Only the preset, model, phase, twin, start and number of channels in `named` are read. Values of a wrong
    type are ignored here; the schema refuses them.
    """
    texts = {key: value for key, value in named.items() if isinstance(value, str)}
    phase = texts.get("training.phase", "3d")
    if texts.get("preset"):
        return preset_values(texts["preset"], phase)
    if texts.get("model") in COMPARISON_MODELS:
        return dict(COMPARISON_MODELS[texts["model"]])
    if phase == "2d":
        return dict(_PRETRAIN_PLANAR if texts.get("training.twin") == "planar" else _PRETRAIN)
    strategy = texts.get("start.strategy", DEFAULT_STRATEGY if texts.get("start.twin") else "none")
    own = _STARTS.get(strategy, {})
    if named.get("network.image_channels", 1) == 1:
        own = {**own, **_ONE_CHANNEL, **_learning_rates(strategy, shape)}
    return {"start.strategy": strategy, **_VOLUMES, **_for_shape(shape), **own}
