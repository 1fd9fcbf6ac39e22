"""ONNX graphs give what PyTorch gives, for every generator that there is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from tests.sharing.generators import an_export
from tests.strategies import PAIRS, VARIANTS, networks, noise_for, random_tensor, randomised
from voxflate._system.errors import VoxflateError
from voxflate.config.schema import MODELS
from voxflate.nn import Generator
from voxflate.nn.dcgan import UpsamplingGenerator
from voxflate.runs.load import open_source
from voxflate.sharing.onnx_file import IR_VERSION, OPSET, Graph
from voxflate.sharing.onnx_networks import graphs_of


def run(model: bytes, **inputs: Any) -> Any:
    """The only output of a model that the onnx package finds nothing wrong with."""
    read = onnx.load_from_string(model)
    onnx.checker.check_model(read, full_check=True)
    assert read.ir_version == IR_VERSION
    assert [(one.domain, one.version) for one in read.opset_import] == [("", OPSET)]
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {name: np.asarray(value, np.float32) for name, value in inputs.items()})
    assert list(output.shape) == session.get_outputs()[0].shape
    return output


def check_generator(network: Generator) -> None:
    graphs = graphs_of(network)
    z, noise = random_tensor(1, network.z_dim, dtype=torch.float32), noise_for(network, 1)
    told = {}
    if network.label_width:
        told = {"labels": random_tensor(1, network.label_width, seed=5, dtype=torch.float32)}
    w = run(graphs["mapping"], z=z, **told)
    np.testing.assert_allclose(w, network.mapping(z, **told).numpy(), atol=1e-5)
    # A style of its own for every layer, as in a mix.
    ws = random_tensor(1, network.synthesis.num_ws, w.shape[1], seed=3, dtype=torch.float32)
    noises = {f"noise_{i}": one for i, one in enumerate(noise)}
    expected = network.synthesis(ws, noise).numpy()
    assert expected.std() > 0.05
    np.testing.assert_allclose(run(graphs["synthesis"], ws=ws, **noises), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", VARIANTS)
@pytest.mark.parametrize("planar", [False, True])
@torch.no_grad()
def test_every_architecture(architecture: str, planar: bool) -> None:
    check_generator(networks(3, architecture, planar=planar, stages=3, position=planar)[0].eval())


@torch.no_grad()
def test_several_image_channels_labels_and_another_base() -> None:
    check_generator(randomised(Generator((1, 3, 2), 3, 4, 5, 7, 2, image_channels=3, label_width=2)).eval())


@pytest.mark.parametrize("model", [name for name in MODELS if name != "stylegan2"])
@torch.no_grad()
def test_every_comparison_model(tmp_path: Path, model: str) -> None:
    sizes: dict[str, Any] = {"base": (1, 1, 2), "stages": 5, "channels": 64}
    two = replace(PAIRS, channels=PAIRS.channels[:2], labels=())
    folder = an_export(tmp_path / "x", model=model, random=False, layout=two, **sizes)
    network: Any = open_source(folder).load(device="cpu").network
    assert isinstance(network, UpsamplingGenerator)
    for one in network.modules():
        if isinstance(one, nn.BatchNorm3d):
            one.running_mean = random_tensor(one.num_features, dtype=torch.float32) / 10
            one.running_var = 0.5 + random_tensor(one.num_features, dtype=torch.float32).abs()
    graphs = graphs_of(network)
    assert list(graphs) == ["synthesis"]
    z = random_tensor(1, network.z_dim, dtype=torch.float32)
    expected = network(z).numpy()
    assert expected.std() > 0.01
    np.testing.assert_allclose(run(graphs["synthesis"], ws=z[None]), expected, rtol=1e-4, atol=1e-4)


def test_what_has_no_graph_is_refused_by_name() -> None:
    with pytest.raises(VoxflateError, match="class Linear cannot be exported"):
        graphs_of(nn.Linear(2, 2))
    network, _ = networks(3, "baseline")
    network.synthesis.stages[0].conv1.conv = nn.Identity()  # type: ignore[union-attr]
    with pytest.raises(VoxflateError, match="convolution Identity cannot be exported"):
        graphs_of(network)


def test_numbers_of_every_kind_survive_the_file() -> None:
    graph = Graph("numbers")
    x = graph.input("x", (2, 300))
    y = graph.add("Reshape", x, graph.constant([-1, 2]))
    y = graph.add("Mul", y, graph.constant(np.float32(-1.5)))
    y = graph.add("LeakyRelu", y, alpha=0.25)
    graph.output(graph.add("Transpose", y, perm=[1, 0]), "y", (2, 300))
    values = np.linspace(-1, 1, 600, dtype=np.float32).reshape(2, 300)
    expected = -1.5 * values.reshape(-1, 2).T
    np.testing.assert_allclose(
        run(graph.to_bytes(), x=values), np.where(expected < 0, 0.25 * expected, expected)
    )
