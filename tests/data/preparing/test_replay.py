"""A scan taken through the recorded steps is the volume that preparing it gave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.conftest import WriteScan
from voxflate._system.errors import VoxflateError
from voxflate.data.prepared import from_stored
from voxflate.data.preparing.prepare import prepare
from voxflate.data.preparing.recipes import RecipeOptions
from voxflate.data.preparing.replay import STEPS, prepare_like
from voxflate.data.sources.source import Reading


@pytest.mark.parametrize(
    ("recipe", "options"),
    [("mr", RecipeOptions()), ("mr", RecipeOptions(crop=True)), ("adni", RecipeOptions(box="common"))],
    ids=str,
)
def test_a_scan_becomes_what_it_became_in_the_set(
    scans: Path, tmp_path: Path, recipe: str, options: RecipeOptions
) -> None:
    made = prepare(scans, tmp_path / "set", recipe, (4, 8, 8), options=options)
    expected = [
        (scan.voxels_sha256, scan, volume)
        for split in ("train", "heldout")
        for scan, volume in zip(
            [one for one in made.manifest.scans if one.split == split], made.stored(split), strict=True
        )
    ]
    paths = [path for path in sorted(scans.rglob("*")) if path.is_file()]
    assert len(paths) == len(expected)
    for path in paths:
        (volume,) = prepare_like(path, made.manifest).images
        close = [
            scan
            for _, scan, stored in expected
            if np.abs(np.asarray(volume.array) - from_stored(stored)).max() < 1e-4
        ]
        assert close, path
        assert volume.intensity in [scan.intensity for scan in close]
        assert any(np.allclose(volume.affine, scan.affine) for scan in close)


def test_a_subject_with_modalities_and_mask_becomes_what_it_became_in_the_set(
    tmp_path: Path, write_scan: WriteScan
) -> None:
    """The second modality lies on a grid of its own, and the crop is decided by the first one."""
    coarse = np.diag([3.0, 3, 3, 1])
    for number in range(2):
        head = np.zeros((12, 14, 10), np.float32)
        head[2:11, 3:12, 1:9] = np.random.default_rng(number).uniform(50, 100, (9, 9, 8))
        write_scan(tmp_path / "scans" / f"s{number}_t1.nii.gz", head)
        write_scan(tmp_path / "scans" / f"s{number}_t2.nii.gz", head[:8, :10, :7] + 1, coarse)
        labels = np.zeros(head.shape, np.uint8)
        labels[3:7, 4:9, 2:6], labels[7:10, 4:9, 2:6] = 2, 7
        write_scan(tmp_path / "scans" / f"s{number}_seg.nii.gz", labels)
    reading = Reading(channels={"t1": "*_t1*", "t2": "*_t2*"}, mask="*_seg*")
    options = RecipeOptions(crop=True)
    made = prepare(tmp_path / "scans", tmp_path / "set", "mr", (4, 8, 8), 0, reading=reading, options=options)
    for number in range(2):
        t1, t2, seg = (tmp_path / "scans" / f"s{number}_{name}.nii.gz" for name in ("t1", "t2", "seg"))
        found = prepare_like(t1, made.manifest, {"t2": t2}, seg)
        close = [np.abs(found.channels - volume).max() < 1e-4 for volume in made.volumes("all")]
        assert sum(close) == 1
        alone = prepare_like(t1, made.manifest, {"t2": t2})
        np.testing.assert_array_equal(alone.channels, found.channels[:2])
    with pytest.raises(VoxflateError, match="needs t2=FILE, got t3"):
        prepare_like(t1, made.manifest, {"t3": t2})


def test_how_scans_were_read_is_kept(tmp_path: Path, write_scan: WriteScan) -> None:
    values = np.random.default_rng(0).uniform(1, 100, (9, 9, 9)).astype(np.float32)
    values[0, 0, 0] = np.nan
    for number in range(3):
        write_scan(tmp_path / "scans" / f"s{number}.nii.gz", values + number)
    reading = Reading(nan="air")
    made = prepare(tmp_path / "scans", tmp_path / "set", "mr", (4, 8, 8), reading=reading)
    assert np.isfinite(prepare_like(tmp_path / "scans" / "s1.nii.gz", made.manifest).channels).all()


def test_a_scan_of_a_mixed_set_is_no_label_map(tmp_path: Path, write_scan: WriteScan) -> None:
    for number in range(2):
        values = np.random.default_rng(number).integers(0, 9, (9, 9, 9)).astype(np.int16)
        write_scan(tmp_path / "scans" / f"s{number}.nii.gz", values)
    made = prepare(tmp_path / "scans", tmp_path / "set", "mr", (4, 8, 8), 0, reading=Reading(mixed=True))
    found = prepare_like(tmp_path / "scans" / "s1.nii.gz", made.manifest).channels
    assert any(np.abs(found - volume).max() < 1e-4 for volume in made.volumes("all"))


def test_what_the_user_said_of_series_without_a_modality_is_kept(
    tmp_path: Path, write_series: Callable[..., Any]
) -> None:
    """Padding of CT is -1000, that of other scans their darkest value."""
    array = np.random.default_rng(0).integers(100, 900, (2, 9, 9))
    array[:, :3] = -2000
    write_series(tmp_path / "scans", array, Modality="", PixelPaddingValue=-2000)
    reading = Reading(modality="ct", min_slices=2)
    made = prepare(tmp_path / "scans", tmp_path / "set", "mr", (4, 8, 8), reading=reading)
    (volume,) = prepare_like(tmp_path / "scans", made.manifest).images
    assert volume.intensity is not None
    assert volume.intensity[0] == made.manifest.intensity[0] == -1000


def test_a_dicom_series_is_named_by_its_folder(
    tmp_path: Path, scans: Path, write_series: Callable[..., Any]
) -> None:
    made = prepare(scans, tmp_path / "set", "mr", (4, 8, 8))
    write_series(tmp_path / "series", np.random.default_rng(0).integers(0, 900, (6, 9, 9)))
    assert prepare_like(tmp_path / "series", made.manifest).channels.shape == (1, 4, 8, 8)


def test_a_series_of_another_modality_is_refused(
    tmp_path: Path, scans: Path, write_series: Callable[..., Any]
) -> None:
    """A CT in a generator of MR would give a picture and a PSNR, and neither means anything."""
    from dataclasses import replace

    made = prepare(scans, tmp_path / "set", "mr", (4, 8, 8)).manifest
    write_series(tmp_path / "series", np.random.default_rng(0).integers(0, 900, (6, 9, 9)), Modality="CT")
    with pytest.raises(
        VoxflateError, match="is CT, and the generator was trained on MR; give a scan of that"
    ):
        prepare_like(tmp_path / "series", replace(made, modality="MR"))
    for known in ("CT", "CT, MR", "CT, OTHER", "OTHER", ""):
        assert prepare_like(tmp_path / "series", replace(made, modality=known)).images


def test_a_ct_without_units_is_refused(tmp_path: Path, write_series: Callable[..., Any]) -> None:
    """Nothing about it tells that 1024 was added: most of it is air, and a little is soft tissue."""
    body = np.full((6, 9, 9), -1000)
    body[2:4, 3:6, 3:6] = 40
    for number in range(2):
        write_series(tmp_path / "scans" / str(number), body + number, PatientID=str(number))
    made = prepare(tmp_path / "scans", tmp_path / "set", "ct", (4, 8, 8)).manifest

    def strip(one: Any, index: int) -> None:
        del one.RescaleIntercept

    for modality in ("CT", ""):
        write_series(tmp_path / f"other{modality}", body + 1024, change=strip, Modality=modality)
        with pytest.raises(VoxflateError, match=r"without a RescaleIntercept, .* export it again with one"):
            prepare_like(tmp_path / f"other{modality}", made)
        with pytest.raises(VoxflateError, match=r"without a RescaleIntercept, .* with --hu-offset"):
            prepare(tmp_path / f"other{modality}", tmp_path / "no", "ct", (4, 8, 8))


def test_what_is_not_one_scan_is_one_line(scans: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    made = prepare(scans, tmp_path / "set", "mr", (4, 8, 8)).manifest
    first = next(path for path in sorted(scans.rglob("*")) if path.is_file())
    (tmp_path / "notes.txt").write_text("x")
    later = replace(made, steps=[{"step": "sharpen", "by": 2}])
    for path, manifest, match in (
        (scans, made, r"has \d+ scans; give one"),
        (tmp_path / "nothing", made, "no such folder"),
        (tmp_path / "notes.txt", made, "is not a scan by itself"),
        (first, later, "the step sharpen, which this version does not know"),
        (first, replace(made, shape=(8, 8, 8)), r"expected \(8, 8, 8\)"),
    ):
        with pytest.raises(VoxflateError, match=match) as caught:
            prepare_like(path, manifest)
        assert "\n" not in str(caught.value)


def test_every_step_of_a_recipe_can_be_replayed() -> None:
    from voxflate.data.preparing.recipes import RECIPES, cropping
    from voxflate.data.volume import Geometry

    options = RecipeOptions(crop=True)
    steps = cropping(options)
    for recipe in RECIPES.values():
        steps += recipe([Geometry((4, 4, 4), np.eye(4))], (4, 4, 4), RecipeOptions())
    assert {step.function.__name__ for step in steps} == set(STEPS)
