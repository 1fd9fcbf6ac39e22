"""Transfers a trained 2D network's state to its fresh 3D twin, and reports on every parameter.

Not every parameter has a rule in Eqs. 3-7. Here each one is *inflated* (it gained an axis), *copied* (equal
shapes) or *fresh* (its network was not selected); a parameter without a rule is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from voxflate._system.errors import VoxflateError
from voxflate.inflation.strategies import STRATEGIES, Strategy

State = Mapping[str, Tensor]

CONST = "synthesis.const"
HEAD = "epilogue.fc.weight"
MODULES = {"g": ("generator",), "d": ("discriminator",), "gd": ("generator", "discriminator")}
"""Which networks are inflated; the others start from scratch."""
DEMODULATED = "synthesis."
"""Kernels below this name are demodulated or 1x1x1; no gain is needed to preserve their response."""


@dataclass(frozen=True)
class TransferReport:
    """What happened to every parameter: name -> "2D shape -> 3D shape" in exactly one of three groups.

    Attributes:
        strategy: Key of `STRATEGIES`.
        modules: The networks that were inflated.
        inflated: Parameters that gained an axis.
        copied: Those of equal shapes.
        fresh: Those of networks that were not inflated.
        twin: Identifies the state of the 2D run: "n_images", "weights_sha256" of its averaged generator, and
            "data", the content hash of its prepared set; empty if unknown.
    """

    strategy: str
    modules: str
    inflated: dict[str, str] = field(default_factory=dict)
    copied: dict[str, str] = field(default_factory=dict)
    fresh: dict[str, str] = field(default_factory=dict)
    twin: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def summary(self) -> str:
        """One line with the three counts."""
        counts = (len(self.inflated), len(self.copied), len(self.fresh))
        return (
            f"{self.strategy} ({self.modules}): {counts[0]} inflated, {counts[1]} copied, {counts[2]} fresh"
        )


def inflate(
    twins: Mapping[str, State], fresh: Mapping[str, State], strategy: str, modules: str, rng: torch.Generator
) -> tuple[dict[str, dict[str, Tensor]], TransferReport]:
    """Make the initial state of 3D networks.

    Args:
        twins: "generator" and "discriminator": states of the 2D networks.
        fresh: The same for the freshly initialised 3D networks; not modified.
        strategy: Key of `STRATEGIES`.
        modules: "g", "d" or "gd": the networks to inflate; others stay fresh.
        rng: Draws the fresh kernels that strategies write into.

    Returns:
        New 3D states with the keys of `fresh`, and the report.

    Raises:
        VoxflateError: If the strategy is unknown, or the networks are not twins.
    """
    if strategy not in STRATEGIES:
        raise VoxflateError(f"no inflation strategy {strategy!r}; choose one of {', '.join(STRATEGIES)}")
    if modules not in MODULES:
        raise VoxflateError(f"no modules {modules!r} to inflate; choose one of {', '.join(MODULES)}")
    report = TransferReport(strategy, modules)
    states: dict[str, dict[str, Tensor]] = {}
    for network, target in fresh.items():
        if network not in MODULES[modules]:
            states[network] = {name: tensor.clone() for name, tensor in target.items()}
            report.fresh.update({f"{network}.{name}": _shape(tensor) for name, tensor in target.items()})
            continue
        _check_flat(network, twins[network])
        _check_names(network, twins[network], target)
        states[network] = {}
        for name, tensor in target.items():
            source = twins[network][name]
            new, how = _carry(f"{network}.{name}", source, tensor, STRATEGIES[strategy], rng)
            states[network][name] = new
            getattr(report, how)[f"{network}.{name}"] = f"{_shape(source)} -> {_shape(tensor)}"
    return states, report


def _check_flat(network: str, source: State) -> None:
    """Refuse a 3D network, which would be copied as is; a planar twin's kernels are one voxel deep."""
    for name, tensor in source.items():
        if tensor.ndim == 5 and tensor.shape[2] > 1:
            raise VoxflateError(
                f"the {network} to inflate is not 2D: its {name} is {_shape(tensor)}; "
                "start from a 2D run, made by voxflate pretrain"
            )


def _check_names(network: str, source: State, target: State) -> None:
    missing, extra = sorted(target.keys() - source.keys()), sorted(source.keys() - target.keys())
    if missing or extra:
        first = f"it lacks {missing[0]}" if missing else f"it has {extra[0]}"
        raise VoxflateError(
            f"the 2D {network} is not a twin of the 3D one: {first} ({len(missing)} names missing, "
            f"{len(extra)} extra); pre-train with the same preset, or with the same network.architecture, "
            "stages, mapping_layers, labels and position"
        )


def _carry(
    name: str, source: Tensor, target: Tensor, strategy: Strategy, rng: torch.Generator
) -> tuple[Tensor, str]:
    """Apply the rule that fits a parameter."""
    depth = target.shape[2] if target.ndim == 5 else 0
    if source.shape == target.shape:
        return source.clone(), "copied"
    if name.endswith(CONST) and source.shape == (target.shape[0], *target.shape[2:]):
        return source[:, None].expand_as(target).clone(), "inflated"
    if name.endswith(HEAD) and target.ndim == 2 and target.shape[1] % source.shape[1] == 0:
        return _inflate_head(source, target, strategy), "inflated"
    if depth:
        kernel = source.squeeze(2) if source.ndim == 5 and source.shape[2] == 1 else source
        if kernel.shape == (*target.shape[:2], *target.shape[3:]):
            return _inflate_kernel(name, kernel, target, strategy, rng), "inflated"
    raise VoxflateError(
        f"{name}: no rule turns {_shape(source)} into {_shape(target)}; start from a 2D run "
        "with the architecture, channels and stages of the 3D network: pre-train with the same preset, or "
        "with the same network settings"
    )


def _inflate_kernel(
    name: str, kernel: Tensor, target: Tensor, strategy: Strategy, rng: torch.Generator
) -> Tensor:
    depth = target.shape[2]
    if depth == 1:
        return kernel[:, :, None].clone()
    start = torch.randn(target.shape, generator=rng, dtype=kernel.dtype) * strategy.start_std
    inflated = strategy.kernel(kernel, start)
    if strategy.preserve_response and DEMODULATED not in name:
        inflated = inflated * depth**0.5
    return inflated


def _inflate_head(source: Tensor, target: Tensor, strategy: Strategy) -> Tensor:
    """Repeat the flattened head over depth, divided by it.

    The layer scales its input by 1/sqrt(size), so the response is 1/sqrt(depth) of the 2D one, and equal to
    it with `preserve_response` (decision 0005).

    The flattening is channel-major, [out, C h w] -> [out, C d h w]. The number of slices that share a
    channel's weights follows from the sizes; the order h, w within them is the same for every slice.
    """
    depth = target.shape[1] // source.shape[1]
    channels = source.shape[0]
    per_slice = source.reshape(source.shape[0], channels, 1, -1)
    repeated = per_slice.expand(-1, -1, depth, -1).reshape(target.shape) / depth
    return repeated * depth**0.5 if strategy.preserve_response else repeated


def _shape(tensor: Tensor) -> str:
    return "x".join(str(size) for size in tensor.shape) or "scalar"
