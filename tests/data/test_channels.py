from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.strategies import write_prepared
from voxflate._system.errors import VoxflateError
from voxflate.data.channels import Channel, LabelColumn, Layout, mask_labels, mask_shares
from voxflate.data.prepared import PreparedSet, open_prepared, to_stored

PAIR = Layout(
    (
        Channel("t1", intensity=(0.0, 900.0)),
        Channel("front", "mask", label=2),
        Channel("back", "mask", label=7),
    ),
    (LabelColumn("sex", ("F", "M")), LabelColumn("age", low=20, high=80, mean=50, deviation=10)),
)


def test_labels_are_one_of_n_and_standard_scores() -> None:
    assert PAIR.label_width == 3
    np.testing.assert_array_equal(
        PAIR.encode([{"sex": "M", "age": 60}, {"age": "45", "sex": "F"}]), [[0, 1, 1], [1, 0, -0.5]]
    )
    assert Layout().encode([{}, {}]).shape == (2, 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sex": "X", "age": 60}, "label sex = X: the prepared set has F, M"),
        ({"sex": "F", "age": "old"}, "label age = old: is not a number; the training set has 20 to 80"),
        ({"sex": "F", "age": float("nan")}, "is not a number"),
        ({"sex": "F"}, "no value for label age; name all of sex, age"),
    ],
)
def test_values_that_cannot_be_encoded_are_refused(values: dict, message: str) -> None:
    with pytest.raises(VoxflateError, match=message):
        PAIR.encode([values])


def test_a_layout_survives_json() -> None:
    assert Layout.from_json(PAIR.as_json()) == PAIR
    assert Layout.from_json({}) == Layout()


def test_the_largest_share_wins_background_included() -> None:
    shares = np.array([[0.0, 0, 0, 0], [0.6, 0.2, 0.1, 0.45], [0.1, 0.7, 0.2, 0.4]], np.float32) * 2 - 1
    volume = shares.reshape(3, 1, 1, 4)
    np.testing.assert_array_equal(mask_labels(volume, PAIR), [[[2, 7, 0, 2]]])
    np.testing.assert_array_equal(mask_labels(volume[None], PAIR), [[[[2, 7, 0, 2]]]])


def test_label_maps_become_shares_and_come_back() -> None:
    labels = np.random.default_rng(0).choice([0, 2, 7], (3, 2, 4, 4))
    shares = mask_shares(labels, PAIR)
    assert (shares.shape, shares.dtype) == ((3, 2, 2, 4, 4), np.float32)
    image = np.zeros((3, 1, 2, 4, 4), np.float32)
    np.testing.assert_array_equal(mask_labels(np.concatenate([image, shares], axis=1), PAIR), labels)
    with pytest.raises(VoxflateError, match=r"the mask holds 3; its classes are 0 \(background\), 2, 7"):
        mask_shares(np.array([[[[0, 3]]]]), PAIR)


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedSet:
    return write_prepared(tmp_path / "one")


def test_a_set_of_several_channels_opens_as_it_was_written(prepared: PreparedSet, tmp_path: Path) -> None:
    one = prepared.volumes("all")
    three = np.concatenate([one, -one, 0 * one], axis=1)
    counts = [len(prepared.stored(split)) for split in ("train", "heldout")]
    for split, part in zip(("train", "heldout"), np.split(to_stored(three), [counts[0]]), strict=True):
        np.save(tmp_path / f"{split}.npy", part)
    scans = [
        replace(scan, labels={"sex": "F", "age": 50.0 + number})
        for number, scan in enumerate(prepared.manifest.scans)
    ]
    replace(prepared.manifest, layout=PAIR, scans=scans).write(tmp_path)
    opened = open_prepared(tmp_path)
    assert opened.layout == PAIR
    np.testing.assert_allclose(opened.volumes("all"), three, atol=1e-4)
    np.testing.assert_allclose(opened.labels("train")[:, 2], np.arange(counts[0]) / 10, atol=1e-6)
    np.save(tmp_path / "train.npy", to_stored(three[: counts[0], 0]))
    with pytest.raises(VoxflateError, match=r"the manifest says int16 .*, 3, "):
        open_prepared(tmp_path)


def test_a_one_channel_set_lies_on_the_disk_as_before(prepared: PreparedSet) -> None:
    assert np.load(prepared.root / "train.npy").ndim == 4
    assert prepared.layout == Layout()
    assert prepared.labels("train").shape == (len(prepared.stored("train")), 0)
