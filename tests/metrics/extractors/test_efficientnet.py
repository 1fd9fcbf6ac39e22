import torch

from voxflate.metrics.extractors.efficientnet import EfficientNetLite0


def test_efficientnet_has_the_published_number_of_parameters():
    parameters = sum(parameter.numel() for parameter in EfficientNetLite0().parameters())
    assert parameters + 1280 * 1000 + 1000 == 4_652_008


def test_efficientnet_rounds_sizes_up_as_tensorflow_does():
    with torch.inference_mode():
        network = EfficientNetLite0().eval()
        assert network._conv_stem(torch.zeros(1, 3, 97, 64)).shape == (1, 32, 49, 32)
        assert network(torch.zeros(2, 3, 70, 33)).shape == (2, 1280)
