import pytest

from voxflate.metrics.extractors.inception import frechet_name


@pytest.mark.parametrize(("name", "prefix"), [("inception", "fid"), ("mobilenetv2", "frechet-mobilenetv2")])
def test_only_inceptions_distance_is_called_fid(name, prefix):
    assert frechet_name(name) == prefix
