"""Networks export to ONNX as they are, and give there what they give here."""

import io
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from tests.strategies import networks, noise_for, random_tensor

OPSET = 18


class Rendered(nn.Module):
    """A generator whose noise is an input like its codes."""

    def __init__(self, generator):
        super().__init__()
        self.generator = generator

    def forward(self, z, noise, labels=None):
        return self.generator(z, noise=noise, labels=labels)


class Judged(nn.Module):
    """A discriminator that is told labels, and no positions."""

    def __init__(self, discriminator):
        super().__init__()
        self.discriminator = discriminator

    def forward(self, images, labels):
        return self.discriminator(images, None, labels)


def exported(module, arguments):
    """Run in onnxruntime what `torch.onnx.export` makes of a module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch's own exporter
        program = torch.onnx.export(module, arguments, dynamo=True, opset_version=OPSET, verbose=False)
    file = io.BytesIO()
    program.save(file)
    opsets = {one.domain: one.version for one in onnx.load_from_string(file.getvalue()).opset_import}
    assert opsets[""] >= OPSET
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    flat = [tensor for one in arguments for tensor in (one if isinstance(one, list) else [one])]
    names = [one.name for one in session.get_inputs()]
    assert len(names) == len(flat)
    return session.run(None, {name: one.numpy() for name, one in zip(names, flat, strict=True)})[0]


def test_a_2d_generator_gives_the_same_in_onnxruntime():
    generator = networks(2)[0].eval()
    z, noise = random_tensor(2, 6, dtype=torch.float32), noise_for(generator, 2)
    with torch.no_grad():
        images = generator(z, noise=noise)
    found = exported(Rendered(generator), (z, noise))
    np.testing.assert_allclose(found, images.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_both_3d_networks_do_with_several_channels_and_labels():
    generator, discriminator = (one.eval() for one in networks(3, image_channels=3, label_width=2))
    z, noise = random_tensor(2, 6, dtype=torch.float32), noise_for(generator, 2)
    labels = random_tensor(2, 2, seed=1, dtype=torch.float32)
    with torch.no_grad():
        images = generator(z, noise=noise, labels=labels)
        logits = discriminator(images, None, labels)
    assert images.shape[1] == 3
    found = exported(Rendered(generator), (z, noise, labels))
    np.testing.assert_allclose(found, images.numpy(), rtol=1e-4, atol=1e-4)
    found = exported(Judged(discriminator), (images, labels))
    np.testing.assert_allclose(found, logits.numpy(), rtol=1e-4, atol=1e-4)
