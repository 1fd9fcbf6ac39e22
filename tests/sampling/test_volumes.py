import pickle
from copy import copy, deepcopy

import nibabel as nib
import numpy as np
import pytest

from tests.strategies import write_prepared
from voxflate._system.errors import VoxflateError
from voxflate.data.channels import Channel, Layout
from voxflate.data.readers.generated import SYNTHETIC
from voxflate.sampling.volumes import Volumes, write_all

SHAPE = (4, 4, 4)  # equal sides: a wrong order of axes cannot be told by the shape


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("data") / "set", shape=SHAPE)


@pytest.fixture
def volumes(prepared):
    values = np.random.default_rng(0).uniform(-1, 1, (5, *SHAPE)).astype(np.float32)
    return Volumes(values, prepared)


def test_volumes_are_an_array_of_values_from_minus_one_to_one(volumes, prepared):
    assert isinstance(volumes, np.ndarray)
    assert (volumes.shape, volumes.dtype) == ((5, *SHAPE), np.float32)
    wide = Volumes(np.linspace(-3, 3, 64).reshape(SHAPE), prepared)
    assert (wide.min(), wide.max()) == (-1, 1)


def test_place_and_units_are_those_of_the_data(volumes, prepared):
    np.testing.assert_array_equal(volumes.affine, prepared.affine)
    assert volumes.spacing == (1.0, 2.0, 3.0)
    np.testing.assert_allclose(volumes.intensities(), 200 + 100 * np.asarray(volumes), rtol=1e-5)


def test_a_choice_of_volumes_keeps_place_and_units(volumes):
    for chosen, n in ((volumes[1:3], 2), (volumes[::-1], 5), (volumes[[4, 0]], 2), (volumes[-1], None)):
        assert chosen.shape == (SHAPE if n is None else (n, *SHAPE))
        np.testing.assert_array_equal(chosen.affine, volumes.affine)
    mask = np.array([True, False, False, True, False])
    assert volumes[mask].spacing == volumes.spacing
    for number, volume in enumerate(volumes):
        np.testing.assert_array_equal(volume.intensities(), volumes.intensities()[number])


@pytest.mark.parametrize(
    "plain",
    [
        lambda x: x * 2,
        lambda x: np.abs(x),
        lambda x: x > 0,
        lambda x: x.mean(axis=0),
        lambda x: x[:, ::-1],
        lambda x: x[0][::-1],
        lambda x: x[0, 2],
        lambda x: x[x > 0],
    ],
)
def test_parts_and_computed_arrays_are_plain(volumes, plain):
    found = plain(volumes)
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, plain(np.asarray(volumes)))


def test_numbers_are_numbers(volumes):
    assert volumes[0, 0, 0, 0] == np.asarray(volumes)[0, 0, 0, 0]
    assert float(volumes.mean()) == float(np.asarray(volumes).mean())


@pytest.mark.parametrize("change", [lambda x: x.transpose(0, 3, 2, 1), lambda x: x.astype(np.float64)])
def test_a_changed_view_does_not_know_its_place(volumes, change, tmp_path):
    for use in (lambda x: x.affine, lambda x: x.intensities(), lambda x: x.save(tmp_path / "x.nii")):
        with pytest.raises(VoxflateError, match="its position and units are unknown"):
            use(change(volumes))


def test_one_volume_goes_to_the_file_that_is_named(volumes, prepared, tmp_path):
    for chosen, name in ((volumes[2], "one.nii"), (volumes[2:3], "new/one.nii.gz")):
        assert chosen.save(tmp_path / name) == [tmp_path / name]
        image = nib.load(tmp_path / name)
        np.testing.assert_allclose(image.affine, prepared.affine)
        np.testing.assert_allclose(image.get_fdata().T, volumes[2].intensities(), rtol=1e-6)


def test_files_say_that_they_are_synthetic_as_those_of_the_command_do(volumes, tmp_path):
    for path in volumes[:2].save(tmp_path / "x.nii.gz"):
        assert nib.load(path).header["descrip"].item().decode() == SYNTHETIC


def test_several_volumes_go_to_numbered_files(volumes, tmp_path):
    paths = volumes[:3].save(str(tmp_path / "brain.nii.gz"))
    assert [path.name for path in paths] == [f"brain-000{i}.nii.gz" for i in range(3)]
    assert sorted(tmp_path.iterdir()) == paths
    for path, volume in zip(paths, volumes, strict=False):
        np.testing.assert_allclose(nib.load(path).get_fdata().T, volume.intensities(), rtol=1e-6)


def test_nothing_is_written_over(volumes, tmp_path):
    (tmp_path / "x-0002.nii").write_text("mine")
    with pytest.raises(VoxflateError, match=r"x-0002\.nii: already exists"):
        volumes[:3].save(tmp_path / "x.nii")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
    volumes[:2].save(tmp_path / "x.nii")


def test_an_empty_selection_is_not_saved(volumes, tmp_path):
    with pytest.raises(VoxflateError, match=r"x\.nii: there are no volumes to write"):
        volumes[np.zeros(5, bool)].save(tmp_path / "x.nii")


def test_no_file_is_written_twice(tmp_path):
    jobs = [(tmp_path / name, lambda path: path.write_text("x")) for name in ("a", "b", "a")]
    with pytest.raises(VoxflateError, match="a: would be written twice"):
        write_all(jobs)
    assert list(tmp_path.iterdir()) == []


def test_modalities_with_names_that_no_file_can_have_are_all_saved(tmp_path):
    layout = Layout((Channel("平扫", intensity=(0.0, 1.0)), Channel("增强", intensity=(0.0, 1.0))))
    prepared = write_prepared(tmp_path / "set", shape=SHAPE, layout=layout)
    values = np.stack([np.full(SHAPE, -1.0), np.full(SHAPE, 1.0)])
    paths = Volumes(values, prepared).save(tmp_path / "x.nii")
    assert [path.name for path in paths] == ["x_image0.nii", "x_image1.nii"]
    assert [nib.load(path).get_fdata().mean() for path in paths] == [100, 1]  # the set begins at 100


def test_a_failure_leaves_none_of_the_files(volumes, tmp_path, monkeypatch):
    from voxflate.sampling import volumes as module

    write = module.write_nifti

    def full(path, *rest, **look):
        if path.name == "x-0002.nii":
            raise VoxflateError("no space")
        write(path, *rest, **look)

    monkeypatch.setattr(module, "write_nifti", full)
    with pytest.raises(VoxflateError, match="no space"):
        volumes.save(tmp_path / "x.nii")
    assert list(tmp_path.iterdir()) == []


def test_other_names_and_shapes_and_nan_are_refused(volumes, prepared, tmp_path):
    with pytest.raises(VoxflateError, match=r"must end in \.nii\.gz or \.nii"):
        volumes.save(tmp_path / "x.png")
    with pytest.raises(VoxflateError, match=r"must be of shape \(4, 4, 4\)"):
        Volumes(np.zeros((2, 4, 4, 5)), prepared)
    with pytest.raises(VoxflateError, match="64 voxels are NaN"):
        Volumes(np.full(SHAPE, np.nan), prepared)


@pytest.mark.parametrize(
    "again", [lambda x: x.copy(), copy, deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copies_and_pickles_keep_place_and_units(volumes, again):
    assert not np.shares_memory(again(volumes), volumes)
    np.testing.assert_array_equal(again(volumes), volumes)
    np.testing.assert_array_equal(again(volumes).intensities(), volumes.intensities())
    with pytest.raises(VoxflateError, match="are unknown"):
        Volumes.save(again(volumes.transpose(0, 3, 2, 1)).view(Volumes), "x.nii")
