"""Labels in the mapping network and in the discriminator's projection; several channels in both networks."""

import pytest
import torch

from tests.strategies import VARIANTS, networks, noise_for, random_tensor
from voxflate.nn import Generator
from voxflate.nn.mapping import Mapping

CONDITIONAL = {"image_channels": 3, "label_width": 2}


def codes(n, width, seed=0):
    return random_tensor(n, width, seed=seed, dtype=torch.float32)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("architecture", VARIANTS)
def test_networks_make_and_judge_several_channels(architecture, dims):
    generator, discriminator = networks(dims, architecture, **CONDITIONAL)
    labels = codes(2, 2)
    images = generator(codes(2, 6), noise=noise_for(generator, 2), labels=labels)
    assert images.shape == (2, 3, *generator.synthesis.shape)
    assert len({channel.std().item() for channel in images.detach().unbind(1)}) == 3
    discriminator(images, None, labels).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in generator.mapping.embed.parameters())
    assert all(p.grad is not None and p.grad.any() for p in discriminator.epilogue.embed.parameters())


def test_without_labels_there_is_nothing_more():
    plain, conditional = networks(3), networks(3, label_width=2)
    for one, other, name in zip(plain, conditional, ("mapping.embed", "epilogue.embed"), strict=True):
        more = other.state_dict().keys() - one.state_dict().keys()
        assert more == {f"{name}.weight", f"{name}.bias"}
        assert not one.state_dict().keys() - other.state_dict().keys()


def test_labels_that_are_missing_or_not_known_are_refused():
    (plain, judge), (conditional, conditional_judge) = networks(3), networks(3, label_width=2)
    images = torch.zeros(2, 1, *plain.synthesis.shape)
    for network, arguments, found in (
        (conditional, {"z": codes(2, 6)}, "vectors of 2 numbers, got 0"),
        (plain, {"z": codes(2, 6), "labels": codes(2, 2)}, "vectors of 0 numbers, got 2"),
        (conditional, {"z": codes(2, 6), "labels": codes(2, 3)}, "vectors of 2 numbers, got 3"),
        (conditional_judge, {"image": images}, "vectors of 2 numbers, got 0"),
        (judge, {"image": images, "labels": codes(2, 2)}, "vectors of 0 numbers, got 2"),
    ):
        with pytest.raises(ValueError, match=found):
            network(**arguments)


def test_a_single_number_tells_more_than_its_sign():
    """Both halves of the input are normalised: of a multiple of a vector only the sign would be left."""
    torch.manual_seed(0)
    mapping = Mapping(16, 16, 2, label_width=1).eval()
    z = codes(1, 16).expand(5, -1)
    ws = mapping(z, labels=torch.tensor([[-2.0], [-1.0], [0.0], [1.0], [2.0]]))
    steps = (ws[1:] - ws[:-1]).norm(dim=1)
    assert steps.min() > 0.1 * ws.norm(dim=1).mean()
    assert (ws[4] - ws[0]).norm() > steps.max()  # on the way, not back and forth


def test_the_projection_is_the_inner_product_with_the_embedded_labels():
    _, discriminator = networks(3, label_width=2)
    images, labels = random_tensor(2, 1, *discriminator.shape, dtype=torch.float32), codes(2, 2)
    seen = []
    discriminator.epilogue.fc.register_forward_hook(lambda module, inputs, output: seen.append(output))
    logits = discriminator(images, None, labels)
    (features,) = seen
    embedded = discriminator.epilogue.embed(labels)
    expected = (
        discriminator.epilogue.out(features)[:, 0] + (features * embedded).sum(1) / 4**0.5
    )  # 4 channels
    torch.testing.assert_close(logits, expected)


def test_the_mean_style_is_that_of_all_labels():
    generator = Generator((2, 2), 1, 4, 6, 6, 2, label_width=2)
    generator.mapping(codes(8, 6), labels=codes(8, 2, seed=1)).mean(dim=0)
    generator.mapping.after_step(lambda tensors: None)
    assert generator.mapping.w_avg.any()
    pulled = generator.mapping(codes(2, 6), 0.0, labels=codes(2, 2))
    torch.testing.assert_close(pulled[0], pulled[1])
