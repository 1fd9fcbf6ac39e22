"""What programs must know of a generator besides its ONNX graphs; the page and the ONNX folder carry it."""

from __future__ import annotations

from typing import Any

from voxflate.nn import Generator
from voxflate.nn.dcgan import UpsamplingGenerator
from voxflate.sampling.styles import stage_of_layer
from voxflate.sharing.about import About, shape_words


def describe(about: About) -> dict[str, Any]:
    """What a program must know to run the ONNX graphs: sizes of their inputs, channels, labels, geometry.

    "channels" has one entry per image channel; "labels" is empty where a generator has none, and the page
    then shows no controls for them. "w_avg" is the mean style, towards which truncation pulls.
    """
    prepared, network = about.source.prepared, about.loaded.network
    unit = "HU" if prepared.is_ct else ""
    return {
        **_sizes(network),
        "shape": list(prepared.shape),
        "spacing": list(prepared.spacing),
        "channels": [
            {
                "name": "image",
                "kind": "image",
                "intensity": list(prepared.manifest.intensity),
                "unit": unit,
            }
        ],
        "labels": [],
        "affine": prepared.affine.tolist(),
        "weights_sha256": about.loaded.weights_sha256,
    }


def _sizes(network: Any) -> dict[str, Any]:
    """Sizes of the inputs of the graphs that `graphs_of` gives."""
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
