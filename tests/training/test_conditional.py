"""Runs on several channels with labels: resumed, inflated, verified; what is not used changes nothing."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.exports import export_generator
from tests.strategies import OF_PAIRS, PAIRS, run_config, write_prepared
from tests.training.test_run import same
from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json, write_json
from voxflate.config.toml import save_config
from voxflate.data.channels import LabelColumn, Layout
from voxflate.data.labels import joint_labels
from voxflate.data.prepared import Manifest, open_prepared
from voxflate.runs.facts import FACTS_NAME
from voxflate.runs.load import open_source
from voxflate.runs.log import METRICS_NAME, read_rows
from voxflate.runs.snapshots import load_newest
from voxflate.runs.verify import verify_run
from voxflate.training.run import train_run

SLICES = {
    "slice_discriminator__weight": 0.5,
    "slice_discriminator__features": "random",
    "slice_discriminator__side": 32,
}
KINDS = {
    "2d": {"training__phase": "2d", **SLICES},
    "planar": {"training__phase": "2d", "training__twin": "planar", "network__position": True},
    "3d": {"evaluation__every": 1, "training__micro_batch": 2, "training__reuse_fakes": True, **SLICES},
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("data") / "pairs", layout=PAIRS)


@pytest.fixture(scope="module")
def twin(prepared, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "twin"
    train_run(run_config(prepared, training__phase="2d", training__kimg=0.008, **OF_PAIRS), run)
    return run


@pytest.mark.parametrize("kind", KINDS)
def test_training_in_two_parts_is_training_in_one_go(kind, prepared, twin, tmp_path):
    start = {"start__strategy": "preserving", "start__twin": str(twin)} if kind == "3d" else {}
    config = run_config(prepared, **OF_PAIRS, **KINDS[kind], **start)
    train_run(config, tmp_path / "whole")
    train_run(config, tmp_path / "parts", stop_at=8)
    torch.manual_seed(12345)
    train_run(config, tmp_path / "parts", resume=True)
    whole, parts = load_newest(tmp_path / "whole")[0], load_newest(tmp_path / "parts")[0]
    same(whole, parts)
    assert {check.matches for check in verify_run(tmp_path / "parts")} <= {True, None}


@pytest.mark.parametrize("phase", ["2d", "3d"])
def test_labels_that_are_not_used_change_nothing_to_the_bit(phase, tmp_path):
    runs = {}
    for name, layout in {"plain": Layout(), "labelled": Layout(labels=PAIRS.labels)}.items():
        data = write_prepared(tmp_path / f"{name}-data", layout=layout)
        train_run(run_config(data, training__phase=phase), tmp_path / name)
        runs[name] = load_newest(tmp_path / name)[0]
    same(runs["plain"], runs["labelled"])
    assert not any("embed" in name for name in runs["labelled"]["gan"]["generator"])


def test_labels_that_are_used_decide_what_is_learnt(tmp_path):
    data = write_prepared(tmp_path / "data", layout=Layout(labels=PAIRS.labels))
    train_run(run_config(data, network__label_width=3), tmp_path / "run")
    state = load_newest(tmp_path / "run")[0]
    generator = open_source(tmp_path / "run").load().network
    z, noise = torch.zeros(1, 6), [torch.zeros(1, *s) for s in generator.synthesis.noise_shapes()]
    young, old = (
        generator(z + 1, noise=noise, labels=torch.from_numpy(data.layout.encode([{"sex": "F", "age": age}])))
        for age in (20, 80)
    )
    assert (young - old).abs().max() > 1e-4
    assert any("embed" in name for name in state["gan"]["discriminator"])


def test_every_modality_and_every_structure_is_measured(prepared, tmp_path):
    train_run(run_config(prepared, evaluation__every=1, training__kimg=0.008, **OF_PAIRS), tmp_path / "run")
    row = read_rows(tmp_path / "run" / METRICS_NAME)[-1]
    for name in ("frechet-random-avg", "frechet-random-t2-avg", "volume-w1-front", "volume-w1-back"):
        assert np.isfinite([row[name], row[f"real-{name}"]]).all(), name
    assert "frechet-random-front-avg" not in row


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {},
            r"have 4 channels \(t1, t2, front, back\), the network 1; set network.image_channels=4",
        ),
        (
            {"network__image_channels": 4, "network__label_width": 2},
            r"labels \(sex, age\) make vectors of 3, the network takes 2; set network.label_width=3, or 0",
        ),
    ],
)
def test_networks_of_other_channels_or_labels_are_refused(values, message, prepared, tmp_path):
    with pytest.raises(VoxflateError, match=message):
        train_run(run_config(prepared, **values), tmp_path / "run")
    assert not (tmp_path / "run" / "config.toml").exists()


def test_a_twin_that_knows_other_labels_is_refused(twin, tmp_path):
    """Their vectors are as long: shapes would not tell."""
    columns = (LabelColumn("hand", ("left", "right")), *PAIRS.labels[1:])
    others = {
        "other labels": replace(PAIRS, labels=columns),
        "pre-train on the same channels": replace(PAIRS, channels=PAIRS.channels[::-1]),
    }
    for message, layout in others.items():
        data = write_prepared(tmp_path / message, layout=layout)
        config = run_config(data, start__strategy="inflate-1", start__twin=str(twin), **OF_PAIRS)
        with pytest.raises(VoxflateError, match=message):
            train_run(config, tmp_path / "run")


def relabelled(prepared, folder, change):
    """The same volumes, prepared again with the labels that `change` makes of (layout, labels of a scan)."""
    shutil.copytree(prepared.root, folder)
    manifest = Manifest.read(folder)
    layout = change(prepared.layout, {})[0]
    scans = [replace(scan, labels=change(prepared.layout, scan.labels)[1]) for scan in manifest.scans]
    replace(manifest, layout=layout, scans=scans).write(folder)
    assert open_prepared(folder).content_hash == prepared.content_hash
    return open_prepared(folder)


def in_other_words(layout, labels):
    """F is called w and M m, so that their order and with it their places in the vector are swapped."""
    columns = (LabelColumn("sex", ("m", "w")), *layout.labels[1:])
    return replace(layout, labels=columns), labels | {"sex": {"F": "w", "M": "m"}[labels.get("sex", "F")]}


def swapped(layout, labels):
    """The same columns, but everybody of the other sex."""
    return layout, labels | {"sex": {"F": "M", "M": "F"}[labels.get("sex", "F")]}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A set with labels, and a run trained on it."""
    folder = tmp_path_factory.mktemp("labelled")
    data = write_prepared(folder / "data", layout=Layout(labels=PAIRS.labels))
    train_run(run_config(data, network__label_width=3, training__kimg=0.004), folder / "run")
    return data, folder / "run"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (in_other_words, r"has other labels than .*run was trained with: sex \(m, w\), .* not sex \(F, M\)"),
        (swapped, r"gives its scans other labels than when .*run was trained \(sha256 "),
    ],
    ids=["other-columns", "other-people"],
)
def test_equal_voxels_with_other_labels_are_not_the_same_data(labelled, tmp_path, change, message):
    data, run = labelled
    other = relabelled(data, tmp_path / "other", change)
    config = run_config(other, network__label_width=3, training__kimg=0.008)
    shutil.copytree(run, tmp_path / "run")
    with pytest.raises(VoxflateError, match=f"{other.root}: {message}.*; give its folder with --set data="):
        train_run(config, tmp_path / "run", resume=True)
    with pytest.raises(VoxflateError, match=f"{other.root}: {message}.*; give its folder with --data"):
        open_source(tmp_path / "run", data=other.root)
    remark = open_source(tmp_path / "run", data=other.root, other_data=True).other_data
    assert "other labels than" in remark
    assert open_source(tmp_path / "run", data=data.root).other_data == ""
    moved = shutil.copytree(data.root, tmp_path / "moved")
    train_run(run_config(moved, network__label_width=3, training__kimg=0.008), tmp_path / "run", resume=True)


def test_an_export_knows_the_labels_of_its_training(labelled, tmp_path):
    data, run = labelled
    export_generator(run, tmp_path / "export")
    other = relabelled(data, tmp_path / "other", in_other_words)
    with pytest.raises(VoxflateError, match=r"has other labels than .*export was trained with"):
        open_source(tmp_path / "export", data=other.root)
    assert open_source(tmp_path / "export", data=data.root).other_data == ""


def wider(layout, labels):
    """The same labels, with the range of ages rounded in another way, as earlier versions did."""
    columns = (replace(c, low=c.low - 5, high=c.high + 5) if not c.categorical else c for c in layout.labels)
    return replace(layout, labels=tuple(columns)), labels


def test_an_export_does_not_care_how_ranges_of_labels_were_rounded(labelled, tmp_path):
    data, run = labelled
    export_generator(run, tmp_path / "export")
    other = relabelled(data, tmp_path / "other", wider)
    assert other.layout != data.layout
    source = open_source(tmp_path / "export", data=other.root, scans=True)
    assert source.other_data == ""
    assert source.labels == joint_labels(data)
    with pytest.raises(VoxflateError, match="has other labels than"):  # a run draws the labels from its set
        open_source(run, data=other.root)


def test_other_data_does_not_change_the_labels_of_samples(labelled, tmp_path):
    data, run = labelled
    export_generator(run, tmp_path / "export")
    other = relabelled(data, tmp_path / "other", in_other_words)
    for folder in (run, tmp_path / "export"):
        assert open_source(folder, data=other.root, other_data=True).labels == joint_labels(data)
    shutil.copytree(run, tmp_path / "run")
    gone = run_config(tmp_path / "gone", network__label_width=3, training__kimg=0.004)
    save_config(gone, tmp_path / "run")
    with pytest.raises(VoxflateError, match=r"has changed or cannot be opened at .*gone; put it back there"):
        open_source(tmp_path / "run", data=other.root, other_data=True)


def test_labels_are_not_compared_where_none_are_used_or_known(labelled, tmp_path):
    data, run = labelled
    other = relabelled(data, tmp_path / "other", in_other_words)
    train_run(run_config(data, training__kimg=0.004), tmp_path / "blind")
    train_run(run_config(other, training__kimg=0.008), tmp_path / "blind", resume=True)
    shutil.copytree(run, tmp_path / "old")
    facts = read_json(tmp_path / "old" / FACTS_NAME)
    later = ("layout", "labels_sha256")
    write_json(tmp_path / "old" / FACTS_NAME, {k: v for k, v in facts.items() if k not in later})
    assert open_source(tmp_path / "old", data=other.root).other_data == ""


def test_a_run_does_not_take_data_of_other_channels(prepared, tmp_path):
    train_run(run_config(prepared, training__kimg=0.004, **OF_PAIRS), tmp_path / "run")
    other = write_prepared(tmp_path / "other")
    with pytest.raises(VoxflateError, match="is not the data of"):
        open_source(tmp_path / "run", data=other.root)
    assert open_source(tmp_path / "run").labels == joint_labels(prepared)
    save_config(run_config(prepared, network__image_channels=4), tmp_path / "run")
    assert open_source(tmp_path / "run").labels is None
