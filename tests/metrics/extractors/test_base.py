import pytest
import torch
from torch import nn

from voxflate.metrics import EXTRACTORS
from voxflate.metrics.extractors import base as features
from voxflate.metrics.extractors.efficientnet import EfficientNetLite0
from voxflate.metrics.extractors.mobilenet import MobileNetV2, fold_batch_norms


@pytest.fixture(scope="module")
def extractor():
    return EXTRACTORS["mobilenetv2"]("cpu")


@pytest.fixture
def slices():
    return torch.rand(5, 1, 16, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


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


@pytest.mark.parametrize("name", sorted(set(EXTRACTORS) - {"inception"}))  # its file is a download
def test_features_are_deterministic_and_know_nothing_of_their_batch(name, slices):
    extract = EXTRACTORS[name]("cpu")
    together = extract(slices)
    assert torch.equal(together, EXTRACTORS[name]("cpu")(slices))
    one_by_one = torch.cat([extract(one) for one in slices.split(1)])
    torch.testing.assert_close(one_by_one, together, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(extract(slices.flip(0)).flip(0), together, rtol=1e-4, atol=1e-5)
    # Longer than a run through the network:
    many = extract(slices.repeat(14, 1, 1, 1))
    torch.testing.assert_close(many, together.repeat(14, 1), rtol=1e-4, atol=1e-5)


def test_autocast_around_it_does_not_change_features(slices):
    extract = features.random_network()
    with torch.autocast("cpu", torch.bfloat16):
        inside = extract(slices)
    assert torch.equal(inside, extract(slices))


def test_no_gradient_is_kept(slices):
    assert not features.random_network()(slices.requires_grad_()).requires_grad


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 8, 8), (0, 1, 8, 8)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"must be \[n, 1, H, W\]"):
        features.random_network()(torch.zeros(shape))


def test_efficientnet_has_the_published_number_of_parameters():
    parameters = sum(parameter.numel() for parameter in EfficientNetLite0().parameters())
    assert parameters + 1280 * 1000 + 1000 == 4_652_008


def test_efficientnet_rounds_sizes_up_as_tensorflow_does():
    with torch.inference_mode():
        network = EfficientNetLite0().eval()
        assert network._conv_stem(torch.zeros(1, 3, 97, 64)).shape == (1, 32, 49, 32)
        assert network(torch.zeros(2, 3, 70, 33)).shape == (2, 1280)


@pytest.mark.parametrize(("name", "prefix"), [("inception", "fid"), ("mobilenetv2", "frechet-mobilenetv2")])
def test_only_inceptions_distance_is_called_fid(name, prefix):
    assert features.frechet_name(name) == prefix
