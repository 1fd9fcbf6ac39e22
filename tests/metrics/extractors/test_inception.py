import pytest

from voxflate.metrics.extractors.inception import frechet_name


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("inception", "fid"),
        ("inception-t2", "fid-t2"),
        ("mobilenetv2", "frechet-mobilenetv2"),
        ("mobilenetv2-t2", "frechet-mobilenetv2-t2"),
        ("inceptionlike", "frechet-inceptionlike"),
    ],
)
def test_only_inceptions_distance_is_called_fid(name, prefix):
    assert frechet_name(name) == prefix
