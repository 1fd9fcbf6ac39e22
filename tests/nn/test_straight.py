"""The straight lift that the benchmark compares with computes the same networks."""

import pytest
import torch
from benchmarks.straight import StraightDiscriminator, StraightGenerator

from tests.strategies import randomised
from voxflate.nn import Discriminator, Generator
from voxflate.nn.conv_modules import ARCHITECTURES


@pytest.mark.parametrize("base", [(2, 3), (2, 1, 2)])
@pytest.mark.parametrize("architecture", ["baseline", "split", "split-shuffle"])
def test_the_straight_lift_is_the_same_function(architecture, base):
    names = ARCHITECTURES[architecture]
    generator = randomised(Generator(base, 3, 4, 6, 6, 2, names.generator)).double()
    discriminator = randomised(Discriminator(base, 3, 4, names.discriminator)).double()
    z = torch.randn(4, 6, dtype=torch.float64)
    noise = [torch.randn(4, *shape, dtype=torch.float64) for shape in generator.synthesis.noise_shapes()]
    images = generator(z, noise=noise)
    torch.testing.assert_close(StraightGenerator(generator)(z, noise=noise), images, rtol=0, atol=1e-9)
    logits = StraightDiscriminator(discriminator)(images)
    torch.testing.assert_close(logits, discriminator(images), rtol=0, atol=1e-9)
