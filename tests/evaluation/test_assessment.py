import json

import pytest

from voxflate._system.errors import VoxflateError
from voxflate.evaluation import Assessment, Metric

FOUND = Assessment(
    {"psnr": Metric(20.0, 19.0, 21.0, 0.5, 20.2)}, {"seed": 0}, ("few samples",), {"pairs": 1.5}
)


def through_json(content):
    return Assessment.from_dict(json.loads(json.dumps(content)), "metrics.json")


def test_an_assessment_comes_back_from_its_file():
    assert through_json(FOUND.as_dict()) == FOUND
    assert (FOUND.value("psnr"), FOUND.value("fid-avg")) == (20.0, None)


def test_the_file_of_the_version_before_is_read():
    content = FOUND.as_dict()
    before = {
        "format": 1,
        "figures": content.pop("metrics"),
        **{k: v for k, v in content.items() if k != "format"},
    }
    assert through_json(before) == FOUND


@pytest.mark.parametrize("content", [[], {}, {"format": 3}, {"format": "2"}])
def test_another_file_is_refused(content):
    with pytest.raises(VoxflateError, match="was not written by this version"):
        through_json(content)


def test_a_damaged_file_is_one_line() -> None:
    whole = FOUND.as_dict()
    cut = {key: value for key, value in whole.items() if key != "facts"}
    for content in (cut, whole | {"metrics": []}, whole | {"metrics": {"psnr": {"other": 1}}}):
        with pytest.raises(VoxflateError, match=r"metrics\.json: is damaged .*; restore it, or run"):
            through_json(content)
