"""The modality that generated DICOM declares: the generator's own, or the work is refused, or it is said."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests.strategies import run_config, write_prepared
from voxflate._system.errors import VoxflateError
from voxflate.data.prepared import PreparedSet, open_prepared
from voxflate.runs import shipped
from voxflate.runs.load import open_source
from voxflate.sampling.files import format_notes
from voxflate.sampling.generate import generate
from voxflate.sharing.about import Words
from voxflate.sharing.targets import share
from voxflate.training.run import train_run


def changed(made: PreparedSet, **values: Any) -> PreparedSet:
    """The set with other values in its manifest."""
    content = json.loads((made.root / "manifest.json").read_text()) | values
    content.pop("manifest_sha256")
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (made.root / "manifest.json").write_text(json.dumps(content | {"manifest_sha256": digest}))
    return open_prepared(made.root)


def a_run(folder: Path, data: PreparedSet) -> Path:
    train_run(run_config(data, training__kimg=0.004), folder)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs and exports on PET, MR and CT, each beside its data."""
    folder = tmp_path_factory.mktemp("home")
    window = [{"step": "window_hu", "low": -250.0, "high": 650.0}]
    for seed, (name, values) in enumerate(
        {
            "PT": {"modality": "PT"},
            "MR": {"modality": "MR"},
            "CT": {"modality": "CT", "recipe": "ct", "steps": window, "intensity": [-250.0, 650.0]},
        }.items()
    ):
        data = changed(write_prepared(folder / f"{name}-set", n_train=4, n_heldout=2, seed=seed), **values)
        share(a_run(folder / name, data), "folder", folder / f"{name}-export", Words())
    return folder


@pytest.mark.parametrize("kind", ["", "-export"])
@pytest.mark.parametrize(("own", "other"), [("MR", "CT"), ("CT", "MR")])
def test_another_set_does_not_change_the_modality(
    home: Path, own: str, other: str, kind: str, tmp_path: Path
) -> None:
    run, data = home / f"{own}{kind}", home / f"{other}-set"
    with pytest.raises(VoxflateError) as caught:
        generate(run, 1, out=tmp_path / "new", file_format="dicom", data=data, other_data=True)
    assert str(caught.value) == (
        f"--format dicom: {run} makes {own}, but the files would say {other}, as {data} is; write NIfTI, or "
        "leave out --data and --other-data"
    )
    assert not (tmp_path / "new").exists()
    assert generate(run, 1, out=tmp_path / "nifti", data=data, other_data=True)


@pytest.mark.parametrize("kind", ["", "-export"])
@pytest.mark.parametrize("other", ["MR", "CT"])
def test_pet_is_not_written_with_the_data_of_something_else(
    home: Path, other: str, kind: str, tmp_path: Path
) -> None:
    run, data = home / f"PT{kind}", home / f"{other}-set"
    with pytest.raises(VoxflateError, match=r"PT.*: the modality is PT, and only CT and MR are written"):
        generate(run, 1, out=tmp_path / "new", file_format="dicom", data=data, other_data=True)


def test_equal_modalities_are_written(home: Path, tmp_path: Path) -> None:
    other = changed(write_prepared(tmp_path / "set", n_train=4, n_heldout=2, seed=9), modality="MR")
    said: list[str] = []
    options: dict[str, Any] = {"file_format": "dicom", "data": other.root, "other_data": True}
    (folder,) = generate(home / "MR", 1, out=tmp_path / "new", warn=said.append, **options)
    assert said == []
    assert pydicom.dcmread(folder / "0001.dcm").Modality == "MR"


def test_a_run_whose_data_is_gone_says_that_its_modality_is_unknown(home: Path, tmp_path: Path) -> None:
    data = changed(write_prepared(tmp_path / "set", n_train=4, n_heldout=2), modality="PT")
    run = a_run(tmp_path / "run", data)
    shutil.rmtree(data.root)
    said: list[str] = []
    options: dict[str, Any] = {"file_format": "dicom", "data": home / "MR-set", "other_data": True}
    generate(run, 1, out=tmp_path / "new", warn=said.append, **options)
    assert said == [
        f"{run}: its training data cannot be opened, so their modality is unknown; the volumes are written "
        f"as MR because {home / 'MR-set'} is MR"
    ]


def test_a_modality_from_before_it_was_recorded_is_said_to_be_the_recipe_s(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = changed(write_prepared(tmp_path / "set", n_train=4, n_heldout=2), version=6, recipe="adni")
    run, said = a_run(tmp_path / "run", data), []
    generate(run, 1, out=tmp_path / "new", file_format="dicom", warn=said.append)
    assert said == [
        f"{data.root}: was made before sets recorded their modality, so its volumes are written as MR "
        "because of its recipe, adni; to record the true one, prepare the scans again"
    ]
    generate(run, 1, out=tmp_path / "nifti", warn=pytest.fail)
    generate(home / "MR", 1, out=tmp_path / "mr", file_format="dicom", warn=pytest.fail)
    old = changed(open_prepared(shutil.copytree(home / "CT-set", tmp_path / "ct")), version=6, modality="")
    generate(home / "CT", 1, out=tmp_path / "hu", file_format="dicom", data=old.root, warn=pytest.fail)
    share(run, "folder", tmp_path / "generators" / "brains", Words())
    shared = tmp_path / "generators" / "brains"
    assert len(format_notes("dicom", open_source(shared))) == 1
    monkeypatch.setattr("voxflate.sampling.files.ROOT", tmp_path / "generators")
    assert format_notes("dicom", open_source(shared)) == []


def test_the_included_generators_need_no_warning() -> None:
    for name, folder in shipped.shipped().items():
        source = open_source(Path(name))
        assert (source.folder, source.prepared.modality) == (folder, "MR")
        assert format_notes("dicom", source) == []
