"""Sets of scans with masks, several modalities and labels: from files to tensors and back."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from voxflate._system.errors import VoxflateError
from voxflate.data import open_prepared, prepare
from voxflate.data.preparing.recipes import RecipeOptions
from voxflate.data.preparing.summary import summary_lines
from voxflate.data.sources.account import Account
from voxflate.data.sources.source import Reading
from voxflate.data.writers.nifti import write_mask_nifti, write_nifti

WriteScan = Callable[..., Path]
SHAPE = (8, 16, 16)
MASKED = Reading(mask="labels/*")


def refusal(source: Path, out: Path, **values: Any) -> str:
    with pytest.raises(VoxflateError) as caught:
        prepare(source, out, "mr", SHAPE, **values)
    assert "\n" not in str(caught.value)
    assert not out.exists()
    return str(caught.value)


EARLIER = {
    ("mr", False): "bc02c01c7a483757b3a1e9a518afe1c1a4dd8d0ba5591b912fa769daefb1bbe1",
    ("mr", True): "f8517de37a17a2605d1b28ca801bf844c9ff58424951d6354dbccd1bf6256486",
    ("ct", False): "7948d67aecd63623d91f660cf6e2c0cf84f94da8210e17668928aa99c9baa772",
    ("coca", False): "f74ad6f8299f49474c69a6fd69d6af3634b2844934dae3b07ecdc108327821f0",
}
"""Recipe and crop -> hash that the version before channels gave to the scans below."""


@pytest.mark.parametrize(("recipe", "crop"), EARLIER)
def test_one_channel_without_labels_is_what_it_was_to_the_bit(
    tmp_path: Path, recipe: str, crop: bool
) -> None:
    (tmp_path / "in").mkdir()
    for i in range(6):
        array = np.zeros((20 + i, 24, 18), np.int16)
        array[4:-4, 5:-5, 3:-3] = np.random.default_rng(i).integers(200, 600, (12 + i, 14, 12))
        nib.Nifti1Image(array, np.diag([2.0, -1.5, 3.0, 1.0])).to_filename(tmp_path / "in" / f"s{i}.nii.gz")
    options = RecipeOptions(crop=crop)
    made = prepare(tmp_path / "in", tmp_path / "set", recipe, SHAPE, options=options, salt=b"0" * 16)
    assert made.content_hash == EARLIER[recipe, crop]
    assert np.load(made.root / "train.npy").ndim == 4


def test_a_scan_and_its_mask_become_channels(pairs: Path, tmp_path: Path) -> None:
    account = Account()
    made = prepare(pairs, tmp_path / "set", "mr", SHAPE, reading=MASKED, account=account)
    alone = prepare(pairs / "images", tmp_path / "alone", "mr", SHAPE)
    assert [(one.name, one.kind, one.label) for one in made.layout.channels] == [
        ("image", "image", 0),
        ("mask-2", "mask", 2),
        ("mask-7", "mask", 7),
    ]
    assert made.layout.channels[0].intensity == pytest.approx(made.manifest.intensity)
    assert made.stored("train").shape == (5, 3, *SHAPE)
    assert open_prepared(made.root).manifest == made.manifest
    made.verify()
    # The mask changes nothing about the scan.
    by_source = {volume.tobytes() for volume in alone.volumes("all")[:, 0]}
    assert {volume.tobytes() for volume in made.volumes("all")[:, 0]} == by_source
    assert (account.seen, len(account.used)) == (12, 12)
    for path in made.root.iterdir():
        assert b"MUSTERMANN" not in path.read_bytes()
    assert list(summary_lines(made))[1].startswith("mask, share of the voxels: mask-2 ")


def test_a_prepared_voxel_holds_the_share_of_the_class(tmp_path: Path, write_scan: WriteScan) -> None:
    """Voxels of 2 mm become voxels of 4 mm: each is the mean of 8 of the indicator, never of the labels."""
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, 200], (32, 32, 16)).astype(np.int16)
    write_scan(tmp_path / "in" / "a.nii", rng.uniform(0, 9, labels.shape).astype(np.float32))
    write_scan(tmp_path / "in" / "a_seg.nii", labels)
    made = prepare(tmp_path / "in", tmp_path / "set", "mr", (8, 16, 16), reading=Reading(mask="*_seg*"))
    assert [one.label for one in made.layout.channels[1:]] == [1, 200]
    shares = (made.volumes("train")[0, 1:] + 1) / 2
    for share, value in zip(shares, (1, 200), strict=True):
        np.testing.assert_allclose(share, _shrunk(value == labels.T), atol=1e-4)
    assert shares.sum(0).max() <= 1 + 1e-4


def _shrunk(array: Any) -> Any:
    """Halved along each axis by a triangle over four voxels, 1 3 3 1, as the recipe does."""
    for axis in range(3):
        array = np.moveaxis(np.asarray(array, float), axis, 0)
        weights = np.zeros((len(array) // 2, len(array)))
        for new in range(len(weights)):
            for offset, weight in zip((-1, 0, 1, 2), (1, 3, 3, 1), strict=True):
                if 0 <= 2 * new + offset < len(array):
                    weights[new, 2 * new + offset] = weight
        weights /= weights.sum(1, keepdims=True)
        array = np.moveaxis(np.tensordot(weights, array, 1), 0, axis)
    return array


def _oblique(angle: float) -> Any:
    affine = np.eye(4)
    affine[:3, :3] = [
        [np.cos(angle), -np.sin(angle), 0],
        [np.sin(angle), np.cos(angle), 0],
        [0, 0, 1],
    ] @ np.diag([1.5, 1.5, 3.0])
    affine[:3, 3] = [-11, 22, 33]
    return affine


def _centre(path: Path, value: int | None = None) -> Any:
    """World position of the middle of a label, or of the bright voxels."""
    image = nib.load(path)
    values = image.get_fdata()
    index = np.argwhere(values == value if value else values > values.max() / 2).mean(axis=0)
    return (image.affine @ [*index, 1])[:3]


@pytest.mark.parametrize("angle", [0.0, 0.2])
@pytest.mark.parametrize(
    ("scan_codes", "mask_codes"), [("RAS", "RAS"), ("LPS", "LPS"), ("PIL", "RAS"), ("RAS", "SAR")]
)
def test_the_mask_stays_where_its_scan_is_from_file_to_file(
    tmp_path: Path, write_scan: WriteScan, angle: float, scan_codes: str, mask_codes: str
) -> None:
    """A bright box and its mask, also where the mask's file has other axes: in the tensor and out again."""
    box = np.zeros((32, 32, 16), np.float32)
    box[20:24, 4:8, 10:12] = 100
    affine = _oblique(angle)
    for name, array, codes in (("dot", box, scan_codes), ("dot_seg", np.uint8(box > 0) * 3, mask_codes)):
        to = nib.orientations.ornt_transform(
            nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
        )
        write_scan(
            tmp_path / "in" / f"{name}.nii.gz",
            nib.orientations.apply_orientation(array, to),
            affine @ nib.orientations.inv_ornt_aff(to, array.shape),
        )
    made = prepare(tmp_path / "in", tmp_path / "set", "mr", (8, 16, 16), reading=Reading(mask="*_seg*"))
    (tensor,) = made.volumes("all")
    expected = [[5, h, w] for h in (2, 3) for w in (10, 11)]
    assert np.argwhere(tensor[0] > 0).tolist() == expected
    assert np.argwhere(tensor[1] > 0).tolist() == expected
    own = np.array(made.manifest.scans[0].affine)
    write_nifti(tmp_path / "scan.nii.gz", tensor[0], made, own)
    write_mask_nifti(tmp_path / "mask.nii.gz", tensor, made, own)
    mask = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(mask.affine, nib.load(tmp_path / "scan.nii.gz").affine)
    assert mask.get_data_dtype() == np.uint8
    assert set(np.unique(mask.get_fdata())) == {0, 3}
    np.testing.assert_allclose(
        _centre(tmp_path / "mask.nii.gz", 3), _centre(tmp_path / "in/dot_seg.nii.gz"), atol=1e-3
    )


def test_modalities_come_to_the_first_one_s_grid(tmp_path: Path, write_scan: WriteScan) -> None:
    """T2 on a grid of its own (turned, coarser, elsewhere): the box of tissue lies at the same voxels."""
    points = np.stack(np.meshgrid(*(np.arange(n) for n in (32, 32, 16)), indexing="ij"), -1)

    def phantom(affine: Any, low: float, high: float) -> Any:
        world = points @ affine[:3, :3].T + affine[:3, 3]
        inside = (np.abs(world - [5.0, -4.0, 6.0]) < [12, 9, 10]).all(-1)
        return np.where(inside, high, low).astype(np.float32)

    first = np.diag([2.0, 2.0, 3.0, 1.0])
    first[:3, 3] = [-30, -35, -20]
    second = _oblique(0.3)
    second[:3, :3] *= 1.4
    second[:3, 3] = [-20, -40, -28]
    write_scan(tmp_path / "in" / "p1" / "t1.nii.gz", phantom(first, 0, 100), first)
    write_scan(tmp_path / "in" / "p1" / "t2.nii.gz", phantom(second, 5, 2005), second)
    reading = Reading(channels={"t1": "t1.*", "t2": "t2.*"})
    made = prepare(tmp_path / "in", tmp_path / "set", "mr", (16, 32, 32), reading=reading)
    assert [one.name for one in made.layout.channels] == ["t1", "t2"]
    assert made.layout.channels[0].intensity == pytest.approx((0, 100))
    assert made.layout.channels[1].intensity == pytest.approx((5, 2005))
    assert made.manifest.scans[0].other_intensities == (made.layout.channels[1].intensity,)
    one, two = made.volumes("train")[0]
    assert ((one > 0) == (two > 0)).mean() > 0.98
    assert np.corrcoef(one.ravel(), two.ravel())[0, 1] > 0.9
    np.testing.assert_allclose(made.to_intensity(np.array([-1, 1], np.float32), 1), [5, 2005])


@pytest.mark.parametrize("missing", [0, 8, 20])
def test_a_modality_that_does_not_cover_the_first_one_is_noted_or_refused(
    tmp_path: Path, write_scan: WriteScan, missing: int
) -> None:
    affine = np.eye(4)
    for number in range(2):
        affine[0, 3] = missing * number
        array = np.random.default_rng(number).uniform(1, 9, (32, 32, 32)).astype(np.float32)
        write_scan(tmp_path / "in" / f"a_t{number + 1}.nii", array, affine)
    account, reading = Account(), Reading(channels={"t1": "*_t1*", "t2": "*_t2*"})
    if missing > 16:
        text = refusal(tmp_path / "in", tmp_path / "set", reading=reading)
        assert "a_t2.nii: covers only 38% of the first image's field of view, at least 50% is needed" in text
        return
    prepare(tmp_path / "in", tmp_path / "set", "mr", SHAPE, reading=reading, account=account)
    note = "image channel 2 (t2) does not cover the first one's field of view in 1 of 1 volumes: 25% of it"
    assert any(one.startswith(note) for one in account.notes) == bool(missing)


def test_a_crop_cuts_all_channels_alike(tmp_path: Path, write_scan: WriteScan) -> None:
    tissue = np.zeros((40, 40, 40), np.float32)
    tissue[20:36, 4:20, 10:26] = np.random.default_rng(0).uniform(50, 100, (16, 16, 16))
    labels = np.uint8(tissue > 75)
    write_scan(tmp_path / "in" / "a.nii.gz", tissue)
    write_scan(tmp_path / "in" / "a_t2.nii.gz", tissue * 3)
    write_scan(tmp_path / "in" / "a_seg.nii.gz", labels)
    reading = Reading(channels={"t1": "a.nii.gz", "t2": "*_t2*"}, mask="*_seg*")
    made = prepare(
        tmp_path / "in",
        tmp_path / "set",
        "mr",
        (16, 16, 16),
        reading=reading,
        options=RecipeOptions(crop=True),
    )
    one, two, mask = made.volumes("train")[0]
    np.testing.assert_allclose(one, two, atol=1e-3)
    assert np.corrcoef(one.ravel(), mask.ravel())[0, 1] > 0.6
    box = made.manifest.steps[2]["box"]
    assert max(box) < 60  # of 80 mm


def _change(path: Path, change: Callable[[Any, Any], tuple[Any, Any]]) -> None:
    image = nib.load(path)
    array, affine = change(np.asarray(image.dataobj), image.affine.copy())
    nib.Nifti1Image(array, affine).to_filename(path)


def _moved(voxels: float) -> Callable[[Any, Any], tuple[Any, Any]]:
    def move(array: Any, affine: Any) -> tuple[Any, Any]:
        affine[0, 3] += 2 * voxels
        return array, affine

    return move


BAD = {
    "moved": (_moved(0.6), "does not match its scan: a corner is 0.6 voxels away, at most 0.5"),
    "cropped": (lambda a, m: (a[:-1], m), "a corner is 1.0 voxels away"),
    "scaled": (lambda a, m: (a, m @ np.diag([1, 1, 1.2, 1])), "does not match its scan"),
    "mirrored": (lambda a, m: (a, np.diag([-1.0, 1, 1, 1]) @ m), "does not match its scan"),
    "empty": (lambda a, m: (a * 0, m), "is a mask without foreground"),
    "negative": (lambda a, m: (a.astype(np.int16) - 1, m), "has values that are not labels (-1 to 6)"),
    "broken": (
        lambda a, m: ((a / 2 + 0.25).astype(np.float32), m),
        "has values that are not labels (0.25 to",
    ),
    "nearly whole": (
        lambda a, m: (a.astype(np.float32) * np.float32(0.9999999), m),
        ", such as ",
    ),
    "another set": (
        lambda a, m: (np.uint8(a > 0) * 255, m),
        "has a mask with the labels 255, but 5 of 6 masks have 2, 7",
    ),
    "atlas": (
        lambda a, m: (np.arange(a.size, dtype=np.int32).reshape(a.shape) + 40000, m),
        "has values that are not labels (40000",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mask_that_does_not_fit_is_refused_or_left_out(pairs: Path, tmp_path: Path, case: str) -> None:
    change, message = BAD[case]
    _change(pairs / "labels" / "MUSTERMANN-3.nii.gz", change)
    found = refusal(pairs, tmp_path / "set", reading=MASKED)
    assert message in found
    assert "MUSTERMANN-3.nii.gz: " in found
    refused: list[VoxflateError] = []
    made = prepare(pairs, tmp_path / "set", "mr", SHAPE, refuse=refused.append, reading=MASKED)
    assert len(refused) == 1
    assert len(made.manifest.scans) == 5
    assert [one.label for one in made.layout.channels[1:]] == [2, 7]


@pytest.mark.parametrize("voxels", [0.4, 1e-5])
def test_a_mask_less_than_half_a_voxel_away_is_resampled(pairs: Path, tmp_path: Path, voxels: float) -> None:
    before = prepare(pairs, tmp_path / "before", "mr", SHAPE, reading=MASKED).volumes("all")
    for path in (pairs / "labels").iterdir():
        _change(path, _moved(voxels))
    after = prepare(pairs, tmp_path / "after", "mr", SHAPE, reading=MASKED).volumes("all")
    np.testing.assert_array_equal(before[:, 0], after[:, 0])
    shift = _middle(after[:, 1]) - _middle(before[:, 1])
    # Voxels are 2 mm before and 1.5 mm after; labels touch no border.
    np.testing.assert_allclose(shift, [0, 0, voxels * 2 / 1.5], atol=0.02)


def _middle(volumes: Any) -> Any:
    """Middle of the marked voxels, D, H, W."""
    share = (volumes.sum(0) / len(volumes) + 1) / 2
    axes = [share.sum(axis=tuple(other for other in range(3) if other != axis)) for axis in range(3)]
    return np.array([along @ np.arange(len(along)) / along.sum() for along in axes])


def test_a_finer_mask_of_the_same_place_keeps_its_shares(tmp_path: Path, write_scan: WriteScan) -> None:
    """Twice the voxels along each axis: shares are those of the averaged mask."""
    rng = np.random.default_rng(1)
    coarse = rng.uniform(0, 9, (16, 16, 8)).astype(np.float32)
    fine = np.zeros((32, 32, 16), np.uint8)
    fine[5:20, 7:18, 3:11] = 1
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = -0.5
    write_scan(tmp_path / "in" / "a.nii", coarse)
    write_scan(tmp_path / "in" / "a_seg.nii", fine, affine)
    made = prepare(tmp_path / "in", tmp_path / "set", "mr", (8, 16, 16), reading=Reading(mask="*_seg*"))
    share = (made.volumes("train")[0, 1] + 1) / 2
    assert share.sum() == pytest.approx(fine.sum() / 8, rel=1e-3)
    assert share.max() == pytest.approx(1, abs=1e-3)
    assert ((share > 0.1) & (share < 0.9)).any()


def test_a_class_that_some_lack_is_noted_and_mixed_takes_other_labels(pairs: Path, tmp_path: Path) -> None:
    _change(
        pairs / "labels" / "MUSTERMANN-3.nii.gz", lambda a, m: (np.where(a == 7, 0, a).astype(np.uint8), m)
    )
    account = Account()
    made = prepare(pairs, tmp_path / "set", "mr", SHAPE, reading=MASKED, account=account)
    assert "not every mask has every class: of 6 volumes, 2 in 6, 7 in 5" in account.notes
    assert len(made.manifest.scans) == 6
    _change(pairs / "labels" / "MUSTERMANN-3.nii.gz", lambda a, m: (np.uint8(a > 0) * 255, m))
    reading = Reading(mask="labels/*", mask_name="organ", mixed=True)
    made = prepare(pairs, tmp_path / "mixed", "mr", SHAPE, reading=reading)
    assert [one.name for one in made.layout.channels] == ["image", "organ-2", "organ-7", "organ-255"]


@pytest.mark.parametrize(
    ("recipe", "options", "advice"),
    [
        ("mr", RecipeOptions(crop=True), "leave out --crop or choose --box largest"),
        ("mr", RecipeOptions(box="common"), "choose --box largest"),
        ("coca", RecipeOptions(), "use --recipe ct"),
    ],
    ids=["crop", "box", "slices"],
)
def test_a_class_that_is_cut_away_is_noted(
    tmp_path: Path, write_scan: WriteScan, recipe: str, options: RecipeOptions, advice: str
) -> None:
    for number, depth in enumerate((30, 14)):
        tissue = np.zeros((24, 24, depth), np.float32)
        tissue[4:20, 4:20, depth // 2 - 5 : depth // 2 + 5] = np.random.default_rng(number).uniform(50, 99)
        labels = np.uint8(tissue > 0)
        labels[12, 12, -1] = 9
        write_scan(tmp_path / "in" / f"{number}.nii.gz", tissue)
        write_scan(tmp_path / "in" / f"{number}_seg.nii.gz", labels)
    account, reading = Account(), Reading(mask="*_seg*")
    prepare(
        tmp_path / "in", tmp_path / "set", recipe, SHAPE, reading=reading, options=options, account=account
    )
    (note,) = [note for note in account.notes if "lies outside the part that is kept" in note]
    found = 2 if recipe == "coca" else 1
    assert note.startswith(f"class 9 lies outside the part that is kept in {found} of the 2 volumes")
    assert note.endswith(f"it is missing there; to keep more, {advice}")


def test_a_class_too_small_for_the_shape_is_noted(tmp_path: Path, write_scan: WriteScan) -> None:
    for number in range(2):
        labels = np.zeros((48, 48, 24), np.uint8)
        labels[12:36, 12:36, 6:18] = 1
        labels[4 + number, 4, 4] = 9
        noise = np.random.default_rng(number).uniform(0, 99, labels.shape).astype(np.float32)
        write_scan(tmp_path / "in" / f"{number}.nii.gz", noise)
        write_scan(tmp_path / "in" / f"{number}_seg.nii.gz", labels)
    account = Account()
    prepare(tmp_path / "in", tmp_path / "set", "mr", SHAPE, reading=Reading(mask="*_seg*"), account=account)
    (note,) = [note for note in account.notes if "too small for the shape" in note]
    assert note.startswith("class 9 is too small for the shape in 2 of the 2 volumes whose masks have it")


def test_more_classes_than_channels_make_sense_for_are_refused(pairs: Path, tmp_path: Path) -> None:
    for i in range(6):
        _change(
            pairs / "labels" / f"MUSTERMANN-{i}.nii.gz",
            lambda a, m: (np.arange(a.size).reshape(a.shape).astype(np.uint16) % 34, m),
        )
    assert "its masks have 33 classes, and each is a channel; at most 32" in refusal(
        pairs, tmp_path / "set", reading=MASKED
    )


@pytest.mark.parametrize("recipe", ["mr", "ct"])
def test_nan_in_a_mask_is_background_when_asked(pairs: Path, tmp_path: Path, recipe: str) -> None:
    plain = prepare(pairs, tmp_path / "plain", recipe, SHAPE, reading=MASKED)
    for path in (pairs / "labels").iterdir():
        mask: Any = nib.load(path)
        array = mask.get_fdata()
        nib.Nifti1Image(np.where(array == 0, np.nan, array), mask.affine).to_filename(path)
    made = prepare(pairs, tmp_path / "set", recipe, SHAPE, reading=replace(MASKED, nan="air"))
    assert made.layout == plain.layout
    assert made.content_hash == plain.content_hash
