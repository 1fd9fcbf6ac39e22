import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch

from tests.sharing.generators import an_export
from tests.strategies import PAIRS, run_config, write_prepared
from voxflate._system.errors import VoxflateError
from voxflate._system.version import __version__
from voxflate.config.toml import save_config
from voxflate.data.channels import LabelColumn, Layout
from voxflate.runs.load import open_source
from voxflate.sampling.generate import check_generation, generate
from voxflate.training.run import train_run


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="module")
def run(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    train_run(run_config(prepared, training__kimg=0.008), folder)
    return folder


def voxels(paths):
    return np.stack([np.asarray(nib.load(path).dataobj) for path in paths])


def test_volumes_lie_where_the_data_lay_in_their_intensities(run, prepared, tmp_path):
    told = []
    paths = generate(run, 3, out=tmp_path / "new", batch=2, progress=lambda *args: told.append(args))
    assert [path.name for path in paths] == [f"sample-000{i}.nii.gz" for i in range(3)]
    assert told == [(1, 3), (2, 3), (3, 3)]
    for path in paths:
        image = nib.load(path)
        assert image.shape == prepared.shape[::-1]
        np.testing.assert_allclose(image.affine, prepared.affine)
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
        np.testing.assert_allclose(image.header.get_zooms(), prepared.spacing[::-1])
    values = voxels(paths)
    assert values.min() >= 100  # the set's intensities of -1 and 1
    assert values.max() <= 300
    assert values.std() > 1
    facts = json.loads((tmp_path / "new" / "generation.json").read_text())
    assert facts["n"] == 3
    assert facts["n_images"] == 8


def test_a_volume_depends_on_its_seed_and_number_alone(run, tmp_path):
    state = torch.get_rng_state()
    many = voxels(generate(run, 5, seed=4, out=tmp_path / "many", batch=5))
    few = voxels(generate(run, 2, seed=4, out=tmp_path / "few", batch=1))
    other = voxels(generate(run, 2, seed=5, out=tmp_path / "other"))
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_allclose(few, many[:2], atol=1e-2)  # of 200
    assert not any(np.allclose(one, another, atol=1) for one in many for another in other)


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_files_have_the_same_bytes_whatever_n_is(run, tmp_path, batch):
    one, two, five = (
        [path.read_bytes() for path in generate(run, n, seed=4, out=tmp_path / f"{n}", batch=batch)]
        for n in (1, 2, 5)
    )
    assert one == five[:1]
    assert two == five[:2]


def test_a_generation_says_what_made_it(run, prepared, tmp_path):
    generate(run, 2, seed=3, truncation=0.5, out=tmp_path / "new", snapshot="0.008")
    facts = json.loads((tmp_path / "new" / "generation.json").read_text())
    assert facts == {
        "voxflate": __version__,
        "run": run.name,  # the file goes with the volumes: no path
        "snapshot": "0.008",
        "n_images": 8,
        "kimg": 0.008,
        "generator_sha256": open_source(run).load().weights_sha256,
        "trained_on": prepared.content_hash,
        "data": prepared.content_hash,
        "seed": 3,
        "truncation": 0.5,
        "n": 2,
        "batch": 8,
        "format": "nifti",
        "layout": "flat",
        "air_hu": None,
    }


def test_truncation_takes_variety_away(run, tmp_path):
    full, cut = (
        voxels(generate(run, 6, truncation=psi, out=tmp_path / f"{psi}")).std(axis=0).mean()
        for psi in (1.0, 0.0)
    )
    assert cut < full


@pytest.mark.parametrize(("n", "batch", "seed"), [(0, 8, 0), (1, 0, 0), (1, 1, -1)])
def test_numbers_out_of_range_are_refused(n, batch, seed, run, tmp_path):
    with pytest.raises(VoxflateError, match="must be at least"):
        generate(run, n, batch=batch, seed=seed, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_nothing_is_written_over(run, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "file").touch()
    for out in ("full", "file"):
        with pytest.raises(VoxflateError, match="is not an empty folder"):
            generate(run, 1, out=tmp_path / out)
    (tmp_path / "empty").mkdir()
    assert generate(run, 1, out=tmp_path / "empty")


def test_more_volumes_than_the_disk_has_room_for_are_refused_after_the_first(run, tmp_path):
    with pytest.raises(
        VoxflateError, match=r"1000000000000 volumes need about [\d,]+\.\d GB, and .* free; ch"
    ):
        generate(run, 10**12, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("stop", "shown"),
    [(KeyboardInterrupt(), KeyboardInterrupt), (OSError(28, "No space left on device"), VoxflateError)],
)
def test_an_interruption_leaves_nothing_and_the_same_call_works(run, tmp_path, stop, shown):
    def progress(done, total):
        if done == 2:
            raise stop

    out = tmp_path / "new" / "samples"
    with pytest.raises(shown):
        generate(run, 3, out=out, batch=1, progress=progress)
    assert not (tmp_path / "new").exists()
    assert len(generate(run, 3, out=out)) == 3


def test_data_that_moved_is_named(prepared, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(prepared.root, folder)
    train_run(run_config(folder, training__kimg=0.004), tmp_path / "run")
    folder.rename(tmp_path / "moved")
    with pytest.raises(VoxflateError, match=r"no such folder.* with --data FOLDER"):
        generate(tmp_path / "run", 1, out=tmp_path / "new")
    (path,) = generate(tmp_path / "run", 1, out=tmp_path / "new", data=tmp_path / "moved")
    np.testing.assert_allclose(nib.load(path).affine, prepared.affine)


def test_the_generator_goes_to_the_device_that_is_asked_for(run, tmp_path, monkeypatch):
    asked = []

    def choose(name):
        asked.append(name)
        return torch.device("meta")

    monkeypatch.setattr("voxflate.runs.load.choose_device", choose)
    for device in (None, "auto"):
        generator = open_source(run, device=device).load().network
        assert generator.synthesis.const.device.type == "meta"
    assert asked == ["cpu", "auto"]
    with pytest.raises(VoxflateError, match=r"--device: training\.device = 'gpu'"):
        generate(run, 1, out=tmp_path / "new", device="gpu")


def test_a_run_without_a_snapshot_is_refused_before_a_network_is_built(prepared, tmp_path):
    save_config(run_config(prepared), tmp_path / "run")
    with pytest.raises(VoxflateError, match="no snapshot to load"):
        check_generation(tmp_path / "run", tmp_path / "new")


def test_a_2d_run_and_a_folder_that_is_no_run_are_refused(prepared, tmp_path):
    train_run(run_config(prepared, training__phase="2d", training__kimg=0.004), tmp_path / "flat")
    with pytest.raises(VoxflateError, match="is a 2D run"):
        generate(tmp_path / "flat", 1, out=tmp_path / "new")
    with pytest.raises(VoxflateError, match="no such file or run folder"):
        generate(tmp_path / "nothing", 1, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.fixture
def no_work(monkeypatch):
    """What is refused is refused before anything is generated."""
    monkeypatch.setattr("voxflate.runs.load.Source.load", lambda *_, **__: pytest.fail("this is the work"))


def test_what_the_format_cannot_hold_is_refused_before_the_work(tmp_path, no_work):
    run = an_export(tmp_path / "oblique")
    with pytest.raises(VoxflateError, match=r"--format dicom: .*oblique: the axes are .* off a right angle"):
        generate(run, 1, out=tmp_path / "new", file_format="dicom")
    run = an_export(tmp_path / "pet", modality="PT")
    with pytest.raises(VoxflateError, match=r"--format dicom: .*pet: the modality is PT, .* write NIfTI$"):
        generate(run, 1, out=tmp_path / "new", file_format="dicom")
    columns = (LabelColumn("label", ("F", "M")), *PAIRS.labels[1:])
    run = an_export(tmp_path / "clash", channels=8, layout=Layout(PAIRS.channels, columns))
    with pytest.raises(VoxflateError, match="--layout monai: a datalist has files under label"):
        generate(run, 1, out=tmp_path / "new", layout="monai")


def test_a_diverged_generator_is_named(run, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "voxflate.sampling.generate.sample", lambda *_, **__: [torch.full((1, 1, 4, 8, 8), torch.nan)]
    )
    with pytest.raises(VoxflateError, match=r"run: sample 0 has 256 NaN voxels: .*an earlier --snapshot"):
        generate(run, 1, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()
