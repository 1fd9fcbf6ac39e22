"""Sets of several channels: distances per modality, volumes of structures, suite and audit of the scan."""

import numpy as np
import pytest

from tests.strategies import PAIRS, write_prepared
from voxflate._system.errors import VoxflateError
from voxflate.data.channels import Channel, Layout
from voxflate.data.views import one_channel
from voxflate.evaluation import Auditor, Evaluator, Suite, SuiteSettings
from voxflate.evaluation.structures import StructureVolumes
from voxflate.metrics.extractors.untrained import random_network


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("data") / "set", layout=PAIRS, n_train=14)


def other(prepared, channel):
    """The real volumes, but with one channel of other volumes."""
    volumes = prepared.volumes("all")
    volumes[:, channel] = -volumes[::-1, channel]
    return volumes


def test_one_channel_of_a_set_is_a_set(prepared, tmp_path):
    second = one_channel(prepared, 1)
    np.testing.assert_array_equal(second.volumes("all"), prepared.volumes("all")[:, 1:2])
    assert second.layout.channels == PAIRS.channels[1:2]
    assert len({prepared.content_hash, second.content_hash, one_channel(prepared).content_hash}) == 3
    np.testing.assert_allclose(second.to_intensity(np.array([-1, 0, 1], np.float32)), [0, 25, 50])
    np.testing.assert_allclose(one_channel(prepared).to_intensity(np.array([0], np.float32)), [200])
    alone = write_prepared(tmp_path / "alone")
    assert one_channel(alone) is alone


def test_a_modality_s_distance_heeds_that_modality_alone(prepared):
    evaluator = Evaluator(prepared, "random")
    for channel, suffix, same in ((0, "", "-t2"), (1, "-t2", "")):
        metrics = evaluator.measure([other(prepared, channel)])
        assert metrics[f"frechet-random{suffix}-avg"] > 1
        assert metrics[f"frechet-random{same}-avg"] == pytest.approx(0, abs=1e-3)
        assert metrics[f"frechet-voxels{same}-3d"] == pytest.approx(0, abs=1e-3)
        assert metrics["volume-w1-front"] == 0
    images = prepared.volumes("all")[:, :, 2]
    flat = evaluator.measure_2d([np.concatenate([images[:, :1], -images[:, 1:]], axis=1)])
    assert flat["frechet-random-t2-2d"] > flat["frechet-random-2d"] + 1
    floor = evaluator.real_floor()
    assert {"frechet-random-avg", "frechet-random-t2-avg", "volume-w1-back", "pairwise-l2"} <= floor.keys()
    assert "frechet-random-t2-2d" in evaluator.real_floor_2d()


def test_the_first_modality_s_metrics_are_those_of_the_set_without_the_others(prepared):
    volumes = other(prepared, 0)
    alone = Evaluator(one_channel(prepared), "random").measure([volumes[:, :1]])
    together = Evaluator(prepared, "random").measure([volumes])
    for name, value in alone.items():
        if name != "pairwise-l2":  # over all channels
            assert together[name] == value, name


def test_volumes_of_structures_are_counted_in_millilitres(tmp_path):
    layout = Layout((Channel("t1"), Channel("box", "mask", label=3)))
    prepared = write_prepared(tmp_path / "set", layout=layout)  # voxels of 1 x 2 x 3 mm
    structures = StructureVolumes(prepared)
    volumes = np.full((2, 2, *prepared.shape), -1, np.float32)
    volumes[0, 1, 0, 0, :5] = 1
    np.testing.assert_allclose(structures.of(volumes), [[5 * 6 / 1000], [0]])
    real = (prepared.volumes("all")[:, 1] > 0).sum((1, 2, 3)) * 6 / 1000
    distance = structures.distances(real[:, None] + 0.5)["volume-w1-box"]
    assert distance == pytest.approx(0.5)
    assert 0 < structures.floor(10, seed=0)["volume-w1-box"] < real.max() - real.min()


def test_the_suite_and_the_audit_look_at_the_first_image(prepared):
    volumes = prepared.volumes("train")
    suite = Suite(prepared, SuiteSettings(("random",), replicates=0))
    found = suite.volumes([volumes])
    assert found.facts["data"] == prepared.content_hash
    assert suite.first.shape[1] == 4
    audit = Auditor(prepared, random_network()).run([volumes])
    assert [near.neighbour for near in audit.samples] == list(range(len(volumes)))
    for measure in (suite.volumes, Auditor(prepared, random_network()).run):
        with pytest.raises(VoxflateError, match="samples are of shape"):
            measure([volumes[:, :1]])
