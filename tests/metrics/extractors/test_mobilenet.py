import pytest
import torch
from torch import nn

from voxflate.metrics import EXTRACTORS
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
