import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from voxflate.metrics import EXTRACTORS, centre_slices, frechet_distance
from voxflate.metrics.extractors.mobilenet import MobileNetV2, fold_batch_norms


@pytest.fixture(scope="module")
def extractor():
    return EXTRACTORS["mobilenetv2"]("cpu")


def test_mobilenet_has_the_published_number_of_parameters():
    parameters = sum(parameter.numel() for parameter in MobileNetV2().parameters())
    assert parameters == 2_223_872
    assert parameters + 1280 * 1000 + 1000 == 3_504_872  # with the classifier, which is left out


def test_mobilenet_halves_five_times():
    network = MobileNetV2().eval()
    with torch.inference_mode():
        assert network.features(torch.zeros(1, 3, 96, 64)).shape == (1, 1280, 3, 2)


def test_folding_batch_norms_changes_nothing():
    torch.manual_seed(0)
    network = MobileNetV2()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    network = network.eval().double()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.inference_mode():
        before = network(images)
        fold_batch_norms(network)
        torch.testing.assert_close(network(images), before)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def test_pretrained_weights_answer_to_what_they_see(extractor):
    assert extractor.weights_sha256.startswith("b0353104")
    stripes = torch.ones(1, 1, 64, 64)
    stripes[..., ::8] = -1
    answers = extractor(torch.cat([stripes, -stripes, stripes.mT, torch.zeros(1, 1, 64, 64)]))
    assert answers.shape == (4, 1280)
    assert answers.dtype == torch.float32
    assert torch.pdist(answers).min() > 1


def textured(n, seed):
    """Ellipsoids with a fine texture in air, [n, 32, 32, 32]."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, 32),) * 3, indexing="ij"))
    volumes = []
    for radii in rng.uniform(0.6, 1, (n, 3, 1, 1, 1)):
        texture = ndimage.gaussian_filter(rng.normal(size=grid.shape[1:]), 1)
        inside = np.clip(0.2 + 0.25 * texture / texture.std(), -0.9, 1)
        volumes.append(np.where(np.square(grid / radii).sum(axis=0) < 1, inside, -1))
    return np.stack(volumes).astype(np.float32)


def test_the_frechet_distance_rises_with_blur_and_with_noise(extractor):
    fresh, noise = textured(12, 1), np.random.default_rng(2).normal(size=(12, 32, 32, 32))

    def features(volumes):
        slices = np.concatenate(list(centre_slices(volumes[:, None]).values()))
        return extractor(torch.from_numpy(slices)).numpy()

    real = features(textured(12, 0))
    blurred = [ndimage.gaussian_filter(fresh, (0, width, width, width)) for width in (0, 0.7, 1.5)]
    noisy = [(fresh + share * noise).clip(-1, 1).astype(np.float32) for share in (0, 0.05, 0.2)]
    for damaged in (blurred, noisy):
        distances = [frechet_distance(real, features(volumes)) for volumes in damaged]
        assert distances[0] * 2 < distances[1] < distances[2] / 1.3
