"""What a report shows of sets of several channels."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from tests.strategies import PAIRS, write_prepared
from voxflate._system.files import write_json
from voxflate.data.channels import mask_classes
from voxflate.reports.evaluations import AUDIT, AUDIT_PAIRS, SAMPLES, Place
from voxflate.reports.parts import Extras
from voxflate.reports.shown import audit_section, volume_sets


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("data") / "set", layout=PAIRS)


def test_every_modality_has_a_set_with_the_masks_over_it(prepared, tmp_path):
    volumes = prepared.volumes("train")
    np.savez(tmp_path / SAMPLES, volumes=volumes[:2])
    sets = volume_sets([Place(tmp_path, None)], ["run"], prepared, volumes[1:4])
    assert [each.label for each in sets] == ["run, t1", "run, t2", "real, t1", "real, t2"]
    assert len({each.id for each in sets}) == 4
    assert Extras(volumes=sets).real_set == 2
    for number, each in enumerate(sets):
        of = volumes[:2] if number < 2 else volumes[1:4]
        np.testing.assert_array_equal(each.volumes, of[:, number % 2])
        np.testing.assert_array_equal(each.classes, mask_classes(of, PAIRS, 3))
        assert len(each.names) == len(of)


@pytest.mark.parametrize("earlier", [False, True], ids=["all-channels", "first-image"])
def test_flagged_pairs_are_shown_with_their_masks(prepared, tmp_path, earlier):
    volumes = prepared.volumes("train")
    pairs = np.stack([volumes[:2], volumes[1:3]], axis=1)
    np.savez(tmp_path / AUDIT_PAIRS, numbers=[0, 3], pairs=pairs[:, :, 0] if earlier else pairs)
    near = {"subject": "subject-1", "correlation": 0.9}
    facts = {"n-generated": 4, "n-null": 5, "n-heldout": 1, "flagged-share": 0.5}
    write_json(tmp_path / AUDIT, {**facts, "flagged": {"0": [], "3": []}, "samples": [near] * 4})
    run = SimpleNamespace(label="run", assessment=SimpleNamespace(facts={}))
    section = audit_section([Place(tmp_path, None)], [run], prepared)
    found = [each.label for each in section.volumes]
    if earlier:
        assert found == ["run: flagged", "nearest training volume"]
        assert all(each.classes is None for each in section.volumes)
        return
    assert found == [
        "run: flagged, t1",
        "nearest training volume, t1",
        "run: flagged, t2",
        "nearest training volume, t2",
    ]
    for number, each in enumerate(section.volumes):
        of = pairs[:, number % 2]
        np.testing.assert_array_equal(each.volumes, of[:, number // 2])
        np.testing.assert_array_equal(each.classes, mask_classes(of, PAIRS, 3))
        assert "classes" in json.loads(each.json)
