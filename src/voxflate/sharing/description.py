"""The facts that programs need besides a generator's ONNX graphs, for the page and the ONNX folder."""

from __future__ import annotations

from typing import Any

from voxflate.data.channels import LabelColumn
from voxflate.data.prepared import PreparedSet
from voxflate.drawing.sheets import COLOURS
from voxflate.nn import Generator
from voxflate.nn.dcgan import UpsamplingGenerator
from voxflate.sampling.styles import stage_of_layer
from voxflate.sharing.about import About, shape_words


def describe(about: About) -> dict[str, Any]:
    """The facts for running the ONNX graphs: sizes of their inputs, channels, labels, geometry.

    "channels" has one entry per channel of the volume, images first. "labels" is empty if the generator
    has none; the mapping graph then has no input with that name. Its entries are in the order of the vector:
    a categorical label has a number per value, 1 for the chosen value and 0 for the others, and "unseen"
    lists the values that no training scan has; a continuous one has (value - mean) / deviation. "w_avg" is
    the mean style, towards which truncation pulls.
    """
    prepared, network = about.source.prepared, about.loaded.network
    return {
        **_sizes(network),
        "shape": list(prepared.shape),
        "spacing": list(prepared.spacing),
        "channels": _channels(prepared),
        "label_width": sum(column.width for column in about.label_columns),
        "labels": [_label(about, column) for column in about.label_columns],
        "affine": prepared.affine.tolist(),
        "weights_sha256": about.loaded.weights_sha256,
    }


def _channels(prepared: PreparedSet) -> list[dict[str, Any]]:
    layout, unit = prepared.layout, "HU" if prepared.is_ct else ""
    ranges = [prepared.manifest.intensity, *(one.intensity for one in layout.channels[1 : layout.images])]
    images = [
        {"name": channel.name, "kind": "image", "intensity": list(ends), "unit": unit}
        for channel, ends in zip(layout.channels[: layout.images], ranges, strict=True)
    ]
    masks = [
        {"name": one.name, "kind": "mask", "label": one.label, "colour": COLOURS[index % len(COLOURS)]}
        for index, one in enumerate(layout.channels[layout.images :])
    ]
    return [*images, *masks]


def _label(about: About, column: LabelColumn) -> dict[str, Any]:
    example, joint = about.example_labels[column.name], about.source.labels
    if column.categorical:
        return {
            "name": column.name,
            "kind": "categorical",
            "values": list(column.values),
            "unseen": sorted(set(column.values) - joint.values_of(column.name)) if joint else [],
            "example": example,
        }
    return {
        "name": column.name,
        "kind": "continuous",
        "low": column.low,
        "high": column.high,
        "mean": column.mean,
        "deviation": column.deviation,
        "example": example,
    }


def _sizes(network: Any) -> dict[str, Any]:
    """Sizes of the inputs of the graphs that `graphs_of` returns."""
    if isinstance(network, UpsamplingGenerator):
        code = {"z_dim": network.z_dim, "w_dim": network.z_dim, "num_ws": 1, "w_avg": [0.0] * network.z_dim}
        return {**code, "noise_shapes": [], "has_noise": False, "levels": [""], "level_of_ws": [0]}
    assert isinstance(network, Generator)
    synthesis = network.synthesis
    strengths = [float(one) for name, one in synthesis.named_parameters() if name.endswith("noise_strength")]
    return {
        "z_dim": network.z_dim,
        "w_dim": len(network.mapping.w_avg),
        "num_ws": synthesis.num_ws,
        "w_avg": network.mapping.w_avg.tolist(),
        "noise_shapes": [list(shape) for shape in synthesis.noise_shapes()],
        "has_noise": any(strengths),
        "levels": [
            shape_words(tuple(side * 2**stage for side in synthesis.base))
            for stage in range(len(synthesis.stages))
        ],
        "level_of_ws": stage_of_layer(synthesis),
    }
