"""Generated scans with their masks and labels: files, the API, exports."""

import csv
import json
import pickle

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

import voxflate
from tests.exports import export_generator
from tests.strategies import OF_PAIRS, PAIRS, run_config, write_prepared
from voxflate._system.errors import VoxflateError
from voxflate.cli import app
from voxflate.runs.exported import CONFIG, read_exported
from voxflate.runs.verify import verify_export
from voxflate.sampling.generate import generate
from voxflate.sampling.volumes import Volumes
from voxflate.training.run import train_run


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("data") / "pairs", layout=PAIRS)


@pytest.fixture(scope="module")
def run(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    train_run(run_config(prepared, training__kimg=0.008, **OF_PAIRS), folder)
    return folder


@pytest.fixture(scope="module")
def export(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("exports") / "export"
    export_generator(run, out)
    return out


def table(folder):
    with open(folder / "labels.csv", newline="") as file:
        return list(csv.DictReader(file))


def read(path):
    return np.asarray(nib.load(path).dataobj)


def test_every_modality_and_the_mask_lie_at_one_place_in_their_own_values(run, prepared, tmp_path):
    paths = generate(run, 2, out=tmp_path / "new", batch=1)
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    stems = ["sample-0000", "sample-0001"]
    files = [f"{stem}_{part}.nii.gz" for stem in stems for part in ("seg", "t1", "t2")]
    assert names == ["generation.json", "labels.csv", *files]
    assert [path.name for path in paths] == [f"{stem}_t1.nii.gz" for stem in stems]
    for name in files:
        image = nib.load(tmp_path / "new" / name)
        np.testing.assert_allclose(image.affine, prepared.affine)
        assert image.shape == prepared.shape[::-1]
        assert b"synthetic" in image.header["descrip"].tobytes()
    first, second = (read(tmp_path / "new" / f"sample-0000_{name}.nii.gz") for name in ("t1", "t2"))
    assert first.min() >= 100
    assert first.max() <= 300
    assert second.min() >= 0
    assert second.max() <= 50
    mask = nib.load(tmp_path / "new" / "sample-0000_seg.nii.gz")
    assert mask.get_data_dtype().kind in "iu"
    assert set(np.unique(read(tmp_path / "new" / "sample-0000_seg.nii.gz"))) <= {0, 2, 7}


def test_labels_are_drawn_and_written_beside_the_volumes(run, tmp_path):
    generate(run, 6, seed=3, out=tmp_path / "six")
    generate(run, 2, seed=3, out=tmp_path / "two", batch=1)
    six, two = table(tmp_path / "six"), table(tmp_path / "two")
    assert two == six[:2]
    assert list(six[0]) == ["sample", "sex", "age"]
    assert six[5]["sample"] == "sample-0005"
    assert {row["sex"] for row in six} <= {"F", "M"}
    assert all(20 <= float(row["age"]) <= 80 for row in six)
    assert len({row["age"] for row in six}) > 1
    for name in ("t1", "seg"):
        files = [read(tmp_path / folder / f"sample-0001_{name}.nii.gz") for folder in ("six", "two")]
        np.testing.assert_allclose(*files, atol=1e-2)


def test_labels_can_be_asked_for_and_change_the_volume(run, tmp_path):
    generate(run, 2, out=tmp_path / "old", labels={"age": "80", "sex": "F"})
    generate(run, 2, out=tmp_path / "young", labels={"age": 20, "sex": "F"})
    rows = table(tmp_path / "old")
    assert [(row["sex"], row["age"]) for row in rows] == [("F", "80")] * 2
    assert json.loads((tmp_path / "old" / "generation.json").read_text())["labels"] == {"sex": "F", "age": 80}
    old, young = (read(tmp_path / name / "sample-0000_t1.nii.gz") for name in ("old", "young"))
    assert np.abs(old - young).max() > 0


def test_a_label_outside_the_range_gets_a_warning_and_an_unknown_one_an_error(run, tmp_path):
    said = []
    generate(run, 1, out=tmp_path / "new", labels={"age": 95}, warn=said.append)
    assert said == [
        "label age = 95: outside the training set's 20 to 80; the generator has learned nothing there"
    ]
    mistakes = (
        ({"agee": 4}, "did you mean age?"),
        ({"sex": "X"}, "the prepared set has F, M"),
        ({"age": None}, "age = None: is not a number; the training set has 20 to 80"),
    )
    for labels, message in mistakes:
        with pytest.raises(VoxflateError, match=message):
            generate(run, 1, out=tmp_path / "other", labels=labels)
    assert not (tmp_path / "other").exists()


def test_the_command_takes_labels(run, tmp_path):
    def call(*options):
        arguments = ["generate", str(run), "-n", "1", "--out", str(tmp_path / "new"), *options]
        return CliRunner().invoke(app, arguments)

    assert 'sex = "F"' in call("--label", "sex=F", "--dry-run").stdout
    for options, message in (
        (["--label", "sex"], "write it as NAME=VALUE"),
        (["--label", "sex=F", "--label", "sex=M"], "sex was already given"),
        (["--label", "sox=F", "--dry-run"], "did you mean sex?"),
    ):
        result = call(*options)
        assert result.exit_code
        assert message in " ".join(result.output.split())
    result = call("--label", "sex=F", "--label", "age=90")
    assert result.exit_code == 0
    assert "warning: label age = 90: outside" in result.stderr
    assert table(tmp_path / "new") == [{"sample": "sample-0000", "sex": "F", "age": "90"}]


def test_a_generator_without_labels_takes_none(tmp_path):
    prepared = write_prepared(tmp_path / "set")
    train_run(run_config(prepared, training__kimg=0.004), tmp_path / "run")
    with pytest.raises(VoxflateError, match="label sex: the generator does not know it; it knows no labels"):
        generate(tmp_path / "run", 1, out=tmp_path / "new", labels={"sex": "F"})
    generate(tmp_path / "run", 1, out=tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "generation.json",
        "sample-0000.nii.gz",
    ]
    sample = voxflate.load(tmp_path / "run").sample(2)
    assert (sample.shape[0], sample.masks, sample.labels) == (2, None, None)


def test_an_export_makes_the_run_s_pairs_and_names_nobody(run, export, prepared):
    assert {check.matches for check in verify_export(export, prepared.root)} == {True}
    ours, theirs = (voxflate.load(folder).sample(3, seed=5) for folder in (run, export))
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(ours.masks, theirs.masks)
    assert ours.labels == theirs.labels
    content = json.loads((export / CONFIG).read_text())
    assert content["geometry"]["scans"] == []
    assert content["label_rows"] == sorted(content["label_rows"])
    assert read_exported(export).geometry.layout == PAIRS


@pytest.mark.parametrize("change", [{"label_rows": [["F", 99]]}, {"label_rows": None}])
def test_an_export_with_damaged_labels_is_refused(change, export, tmp_path):
    content = json.loads((export / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps({**content, **change}))
    with pytest.raises(VoxflateError, match="do not fit its label columns"):
        read_exported(tmp_path)


def test_samples_know_their_masks_and_labels(run, prepared):
    generator = voxflate.load(run)
    assert [channel.name for channel in generator.layout.channels] == ["t1", "t2", "front", "back"]
    assert [column.name for column in generator.layout.labels] == ["sex", "age"]
    pairs = generator.sample(3, labels={"sex": "M"})
    assert pairs.shape == (3, 2, *prepared.shape)
    assert (pairs.masks.shape, pairs.masks.dtype) == ((3, *prepared.shape), np.int16)
    assert [one["sex"] for one in pairs.labels] == ["M"] * 3
    one = pairs[1]
    assert (one.shape, one.masks.shape) == ((2, *prepared.shape), prepared.shape)
    assert one.labels == pairs.labels[1]
    assert pairs[[2, 0]].labels == [pairs.labels[2], pairs.labels[0]]
    assert type(one[0]) is np.ndarray
    np.testing.assert_allclose(pairs.intensities()[:, 1], 25 + 25 * np.asarray(pairs[:, 1]), rtol=1e-4)
    np.testing.assert_allclose(one.intensities()[0], 200 + 100 * np.asarray(one[0]), rtol=1e-4)
    again = pickle.loads(pickle.dumps(pairs))
    np.testing.assert_array_equal(again.masks, pairs.masks)
    assert again[0].labels == pairs.copy()[0].labels == pairs.labels[0]
    with pytest.warns(UserWarning, match="label age = 99: outside"):
        generator.sample(1, labels={"age": 99})


def test_pairs_are_saved_side_by_side(prepared, tmp_path):
    """World position: the mask's voxel lies where the scan's does, from array to file."""
    values = np.full((2, 2, *prepared.shape), -1, np.float32)
    masks = np.zeros((2, *prepared.shape), np.int16)
    place = (1, 2, 3)
    values[:, :, *place] = 1
    masks[:, *place] = 7
    files = Volumes(values, prepared, masks=masks).save(tmp_path / "x.nii.gz")
    assert [file.name for file in files[:3]] == ["x-0000_t1.nii.gz", "x-0000_t2.nii.gz", "x-0000_seg.nii.gz"]
    worlds = []
    for file, top in zip(files[:3], (300, 50, 7), strict=True):
        image = nib.load(file)
        (index,) = np.argwhere(np.isclose(np.asarray(image.dataobj), top))
        worlds.append(nib.affines.apply_affine(image.affine, index))
    np.testing.assert_array_equal(worlds[0], worlds[1])
    np.testing.assert_array_equal(worlds[0], worlds[2])
    np.testing.assert_array_equal(worlds[0], prepared.affine[:3] @ [*place[::-1], 1])
    with pytest.raises(VoxflateError, match="already exists"):
        Volumes(values[0], prepared, masks=masks[0]).save(tmp_path / "x-0000.nii.gz")


@pytest.mark.parametrize(
    ("layout", "scan", "mask", "labels"),
    [
        ("nnunet", "imagesTr/sample-0001_0000.nii.gz", "labelsTr/sample-0001.nii.gz", "participants.tsv"),
        ("monai", "images/sample-0001_t1.nii.gz", "labels/sample-0001.nii.gz", "dataset.json"),
        ("bids", "sub-0001/anat/sub-0001_T1w.nii.gz", "", "participants.tsv"),
    ],
)
def test_other_tools_find_their_layout(run, tmp_path, layout, scan, mask, labels):
    paths = generate(run, 2, out=tmp_path / "new", layout=layout)
    assert paths[1] == tmp_path / "new" / scan
    for name in (scan, mask, labels, "generation.json"):
        assert (tmp_path / "new" / name).exists(), name
    flat = generate(run, 2, out=tmp_path / "flat")
    np.testing.assert_array_equal(read(paths[1]), read(flat[1]))


def test_layouts_that_cannot_be_are_refused_before_anything_is_made(run, tmp_path):
    with pytest.raises(VoxflateError, match="--layout brats: choose one of flat, nnunet, bids, monai"):
        generate(run, 1, out=tmp_path / "new", layout="brats")
    with pytest.raises(VoxflateError, match="--layout bids: needs NIfTI files"):
        generate(run, 1, out=tmp_path / "new", layout="bids", file_format="dicom")
    assert not (tmp_path / "new").exists()


def test_dicom_has_a_series_per_modality_and_a_segmentation(run, tmp_path):
    pytest.importorskip("highdicom")
    generate(run, 1, out=tmp_path / "new", file_format="dicom")
    names = sorted(path.name for path in (tmp_path / "new" / "sample-0000").iterdir())
    assert names == ["mask.dcm", "t1", "t2"]
    assert len(table(tmp_path / "new")) == 1


def test_an_export_does_not_tell_labels_that_its_generator_does_not_know(tmp_path):
    prepared = write_prepared(tmp_path / "set", layout=PAIRS)
    settings = run_config(prepared, training__kimg=0.004, network__image_channels=4)
    train_run(settings, tmp_path / "run")
    export_generator(tmp_path / "run", tmp_path / "export")
    text = (tmp_path / "export" / CONFIG).read_text()
    assert "label_rows" not in text
    assert json.loads(text)["geometry"]["layout"]["labels"] == []
    assert voxflate.load(tmp_path / "export").sample(1).labels is None
