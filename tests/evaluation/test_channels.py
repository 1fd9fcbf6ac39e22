"""Sets of several channels: distances per modality and class, volumes of structures, audits."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.strategies import PAIRS, write_prepared
from voxflate._system.errors import VoxflateError
from voxflate._system.files import write_json
from voxflate.data.channels import Channel, Layout
from voxflate.data.prepared import Manifest, open_prepared
from voxflate.data.views import one_channel
from voxflate.evaluation import Auditor, Evaluator, Suite, SuiteSettings
from voxflate.evaluation import audit as module
from voxflate.evaluation.structures import StructureVolumes
from voxflate.metrics.copies import Neighbours
from voxflate.metrics.extractors.untrained import random_network


def test_the_first_image_decides_which_slices_are_compared(tmp_path):
    """Training leaves out slices by the content of the first image; every image's slices are those."""
    prepared = write_prepared(tmp_path / "set", layout=PAIRS, n_train=14)
    voxels = np.load(prepared.root / "train.npy")
    voxels[:7, 0, :2] = voxels.min()  # air in half of the first slices of the first image alone
    np.save(prepared.root / "train.npy", voxels)
    prepared = open_prepared(prepared.root)
    suite = Suite(prepared, SuiteSettings(extractors=("random",), volume_extractor="none"), min_content=0.1)
    found = suite.images([prepared.volumes("all")[:, :, 2]])
    assert {"frechet-random-2d", "frechet-random-t2-2d"} <= found.metrics.keys()
    first, second = (modality.real for modality in suite._modalities)
    assert first.slice_subjects == second.slice_subjects
    assert len(first.slice_subjects) < 14 * prepared.shape[0]


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
        if name not in ("pairwise-l2", "nearest-l2"):  # over all channels
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


def test_structures_of_one_subject_have_no_floor(tmp_path):
    write_prepared(tmp_path / "set", layout=PAIRS)
    manifest = Manifest.read(tmp_path / "set")
    replace(manifest, scans=[replace(scan, subject="s0") for scan in manifest.scans]).write(tmp_path / "set")
    prepared = open_prepared(tmp_path / "set")
    assert StructureVolumes(prepared).floor(10, seed=0) == {}
    settings = SuiteSettings(("random",), volume_extractor="none", replicates=3)
    found = Suite(prepared, settings).volumes([prepared.volumes("all")])
    assert found.metrics["volume-w1-front"].value == 0
    assert found.metrics["volume-w1-front"].real is None
    write_json(tmp_path / "metrics.json", found.as_dict())
    assert not any(name.startswith("volume-w1") for name in Evaluator(prepared, "random").real_floor())


def test_the_suite_measures_every_image_and_the_structures(prepared):
    settings = SuiteSettings(("random",), volume_extractor="none", replicates=3)
    for channel, suffix, same in ((0, "", "-t2"), (1, "-t2", "")):
        volumes = other(prepared, channel)
        suite = Suite(prepared, settings)
        found = suite.volumes([volumes])
        assert found.metrics[f"frechet-random{suffix}-avg"].value > 1
        assert found.metrics[f"frechet-random{same}-avg"].value == pytest.approx(0, abs=1e-3)
        assert found.metrics[f"frechet-voxels{same}-3d"].value == pytest.approx(0, abs=1e-3)
        assert found.metrics[f"kid-random{suffix}-avg"].low is not None
        assert found.metrics["volume-w1-front"].value == 0 < found.metrics["volume-w1-front"].real
        quick = Evaluator(prepared, "random").measure([volumes])
        of_all_channels = {"pairwise-l2", "nearest-l2"}
        for name in quick.keys() & found.metrics.keys() - of_all_channels:
            assert found.metrics[name].value == pytest.approx(quick[name], rel=1e-3, abs=1e-5), name
    assert (found.facts["data"], found.facts["images"]) == (prepared.content_hash, ["t1", "t2"])
    assert suite.first.shape[1] == 4
    images = prepared.volumes("all")[:, :, 2]
    flat = Suite(prepared, settings).images([np.concatenate([images[:, :1], -images[:, 1:]], axis=1)]).metrics
    assert flat["frechet-random-t2-2d"].value > flat["frechet-random-2d"].value + 1


def test_a_class_is_compared_with_its_own_real_volumes(prepared):
    volumes, manifest = prepared.volumes("all"), prepared.manifest
    labels = [scan.labels for scan in manifest.scans]
    darker = np.array([each["sex"] == "M" for each in labels])
    volumes[darker, 0] = -volumes[darker, 0]
    settings = SuiteSettings(("random",), volume_extractor="none", replicates=0)
    found = Suite(prepared, settings).volumes([volumes], labels).metrics
    same, changed = (found[f"kid-random-sex-{value}-avg"] for value in ("F", "M"))
    assert abs(same.value) < 0.1 * changed.value
    assert same.real is not None
    assert not any("-sex-" in name for name in Suite(prepared, settings).volumes([volumes]).metrics)


def test_the_audit_looks_at_all_channels_and_keeps_them(prepared, monkeypatch):
    auditor = Auditor(prepared, random_network())
    volumes = prepared.volumes("train")[:6]
    whole = auditor.run([volumes]).samples
    assert [near.neighbour for near in whole] == list(range(len(volumes)))
    assert all(near.correlation > 0.999 for near in whole)
    assert all(near.features < 1e-3 for near in whole)
    monkeypatch.setattr(module, "flags", lambda near, thresholds: ("correlation",))
    pairs = auditor.run([volumes]).pairs
    for number, volume in enumerate(volumes):
        np.testing.assert_allclose(pairs[number], [volume, volume])
    for channel in (1, 3):
        mixed = volumes.copy()
        mixed[:, channel] = np.roll(volumes, 3, axis=0)[:, channel]
        part = auditor.run([mixed]).samples
        assert all(b.correlation < a.correlation - 0.05 for a, b in zip(whole, part, strict=True)), channel
        if channel < 2:
            assert all(near.features > 1e-3 for near in part)
    for measure in (Suite(prepared, SuiteSettings(("random",))).volumes, auditor.run):
        with pytest.raises(VoxflateError, match="samples have the shape"):
            measure([volumes[:, :1]])


def test_channels_count_alike_in_an_audit_whatever_their_contrast():
    rng = np.random.default_rng(0)
    volumes = torch.from_numpy(rng.uniform(-1, 1, (6, 2, 8, 8, 8)).astype(np.float32))
    faint = volumes * torch.tensor([1.0, 0.01])[:, None, None, None]
    mixed = torch.stack([volumes[3, 0], volumes[4, 1]])
    plain, scaled = (
        Neighbours(each).correlations(one)[0]
        for each, one in ((volumes, mixed), (faint, mixed * torch.tensor([1.0, 0.01])[:, None, None, None]))
    )
    torch.testing.assert_close(plain, scaled, rtol=1e-3, atol=1e-4)
    assert plain[3] == pytest.approx(float(plain[4]), abs=0.1)
    assert min(plain[3], plain[4]) > plain[[0, 1, 2, 5]].max()
