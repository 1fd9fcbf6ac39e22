import hashlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from voxflate._system.errors import VoxflateError
from voxflate._system.files import sha256
from voxflate.data import open_prepared, write_nifti
from voxflate.data.prepared import SPLITS, from_stored, to_stored
from voxflate.data.preparing.prepare import check, prepare
from voxflate.data.sources.found import Source

SHAPE = (8, 16, 16)
WriteScan = Callable[..., Path]


def test_a_folder_becomes_a_set(scans: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    prepared = prepare(scans, tmp_path / "set", "mr", SHAPE, progress=lambda *step: seen.append(step))
    assert seen == [(done, 10) for done in range(1, 11)]
    assert prepared.shape == SHAPE
    assert prepared.stored("train").shape == (9, 1, *SHAPE)
    assert prepared.stored("heldout").shape == (1, 1, *SHAPE)
    everything = prepared.volumes("all")
    assert everything.shape == (10, 1, *SHAPE)
    assert everything.dtype == np.float32
    assert -1 <= everything.min() < everything.max() <= 1
    np.testing.assert_array_equal(prepared.volumes("train", [4, 2]), everything[[4, 2]])
    # The box of the scans, 20 x 28 x 24 mm (D, H, W), over 8 x 16 x 16 voxels.
    assert prepared.spacing == pytest.approx((20 / 8, 28 / 16, 24 / 16))
    prepared.verify()
    assert repr(prepared).startswith(f"<PreparedSet {prepared.root}: ")
    assert "\n" not in repr(prepared)


def test_a_set_of_an_older_version_is_still_verified(scans: Path, tmp_path: Path) -> None:
    new = prepare(scans, tmp_path / "set", "mr", SHAPE)
    values = b"".join(new.stored(split).tobytes() for split in SPLITS)
    older = replace(new.manifest, version=3, content_sha256=hashlib.sha256(values).hexdigest())
    older.write(new.root)
    open_prepared(new.root).verify()
    replace(older, content_sha256=new.content_hash).write(new.root)
    with pytest.raises(VoxflateError, match="voxels were changed"):
        open_prepared(new.root).verify()


def test_the_same_scans_make_the_same_set_and_the_hash_knows(scans: Path, tmp_path: Path) -> None:
    first, second, third = (
        prepare(scans, tmp_path / name, "adni", SHAPE, seed=seed)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first.content_hash == second.content_hash != third.content_hash
    assert first.manifest == second.manifest


def test_the_manifest_knows_the_source_by_hash_and_not_by_name(scans: Path, tmp_path: Path) -> None:
    prepared = prepare(scans, tmp_path / "set", "mr", SHAPE)
    recorded = {scan.source_sha256 for scan in prepared.manifest.scans}
    assert recorded == {sha256(path) for path in scans.iterdir()}
    for path in prepared.root.iterdir():
        assert b"MUSTERMANN" not in path.read_bytes()
    assert [step["step"] for step in prepared.manifest.steps] == ["rescale_percentiles", "resample_box"]


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SAR", "PIL", "AIR"])
def test_a_marked_voxel_is_followed_from_file_to_file(
    tmp_path: Path, write_scan: WriteScan, codes: str
) -> None:
    """A dot in an oblique scan: in the tensor where it belongs, and out at the same place in the world."""
    ras = np.zeros((32, 32, 16), np.float32)
    ras[20:24, 4:8, 10:12] = 100  # right of, behind and above the middle
    affine = turned(0.1) @ np.diag([1.5, 1.5, 3, 1])
    affine[:3, 3] = [-11, 22, 33]
    to = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
    )
    source = write_scan(
        tmp_path / "in" / "dot.nii.gz",
        nib.orientations.apply_orientation(ras, to),
        affine @ nib.orientations.inv_ornt_aff(to, ras.shape),
    )

    prepared = prepare(tmp_path / "in", tmp_path / "set", "mr", (8, 16, 16))
    (tensor,) = prepared.volumes("all")
    assert np.argwhere(tensor[0] > 0).tolist() == [[5, h, w] for h in (2, 3) for w in (10, 11)]

    write_nifti(tmp_path / "out.nii.gz", tensor[0], prepared)
    assert nib.aff2axcodes(nib.load(tmp_path / "out.nii.gz").affine) == ("R", "A", "S")
    np.testing.assert_allclose(centre(tmp_path / "out.nii.gz"), centre(source), atol=1e-3)


def turned(angle: float) -> np.ndarray:
    """A rotation in the axial plane, radians, 4x4."""
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return matrix


def centre(path: Path) -> np.ndarray:
    """World position of the centre of mass of a file's bright voxels."""
    image = nib.load(path)
    values = image.get_fdata()
    index = np.argwhere(values > values.max() / 2).mean(axis=0)
    return nib.affines.apply_affine(image.affine, index)


def test_scans_that_disagree_on_directions_get_straight_axes(tmp_path: Path, write_scan: WriteScan) -> None:
    write_scan(tmp_path / "in" / "a.nii", affine=turned(0.2))
    write_scan(tmp_path / "in" / "b.nii", affine=turned(-0.2), seed=1)
    affine = prepare(tmp_path / "in", tmp_path / "set", "mr", SHAPE).affine
    np.testing.assert_allclose(affine[:3, :3], np.diag(np.diag(affine)[:3]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shape": (30, 60, 60)}, "the nearest that is: 32x64x64"),
        ({"recipe": "brain"}, "choose one of mr, adni, ct, coca"),
        ({"held_out": 1.5}, "share of the subjects"),
        ({"recipe": "coca"}, "not a CT in Hounsfield units"),
    ],
    ids=["shape", "recipe", "held_out", "no_ct"],
)
def test_a_bad_setting_is_one_line_and_leaves_nothing(
    tmp_path: Path, write_scan: WriteScan, settings: dict[str, object], message: str
) -> None:
    write_scan(tmp_path / "in" / "a.nii", np.arange(1000, 2000, dtype=np.int16).reshape(10, 10, 10))
    arguments = {"recipe": "mr", "shape": SHAPE, **settings}
    assert message in refusal(lambda: prepare(tmp_path / "in", tmp_path / "set", **arguments))
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((8, 8), np.float32), "2D image"),
        (np.ones((4, 4, 4, 2), np.float32), "4D image"),
        (np.full((4, 4, 4), np.nan, np.float32), "NaN"),
        (np.zeros((4, 4, 4), np.float32), "constant volume"),
        (None, "cannot be read as NIfTI"),
    ],
    ids=["2d", "4d", "nan", "constant", "text"],
)
def test_one_bad_scan_is_one_line_and_leaves_nothing(
    scans: Path, tmp_path: Path, write_scan: WriteScan, array: np.ndarray | None, message: str
) -> None:
    bad = scans / "MUSTERMANN-99.nii"
    if array is None:
        bad.write_text("not a volume")
    else:
        write_scan(bad, array)
    text = refusal(lambda: prepare(scans, tmp_path / "set", "mr", SHAPE))
    assert message in text
    assert str(bad) in text
    assert [path.name for path in tmp_path.iterdir()] == ["scans"]


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(VoxflateError) as error:
        act()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_folder_with_something_in_it_is_not_written_over(scans: Path, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    prepare(scans, tmp_path / "set", "mr", SHAPE)
    before = (tmp_path / "set" / "manifest.json").read_bytes()
    assert "already exists" in refusal(lambda: prepare(scans, tmp_path / "set", "mr", SHAPE))
    assert (tmp_path / "set" / "manifest.json").read_bytes() == before


def test_a_refusal_takes_back_the_folders_made_on_the_way(tmp_path: Path, write_scan: WriteScan) -> None:
    write_scan(tmp_path / "in" / "a.nii", np.arange(1000, 2000, dtype=np.int16).reshape(10, 10, 10))
    refusal(lambda: prepare(tmp_path / "in", tmp_path / "new" / "newer" / "set", "coca", SHAPE))
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_the_check_refuses_what_needs_no_voxel_and_writes_nothing(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    assert len(check(scans, out, "mr", SHAPE)) == 10
    assert "base of at most 8" in refusal(lambda: check(scans, out, "mr", (7, 13, 11)))
    assert "no recipe" in refusal(lambda: check(scans, out, "brain", SHAPE))
    assert "no such folder" in refusal(lambda: check(tmp_path / "nothing", out, "mr", SHAPE))
    assert "not an empty folder" in refusal(lambda: check(scans, scans, "mr", SHAPE))
    assert not out.exists()


class Reads:
    """Counts how many scans are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        read = Source.volume

        def counted(source: Source) -> object:
            self.count += 1
            return read(source)

        monkeypatch.setattr(Source, "volume", counted)


def halfway(stop: BaseException) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done == total // 2:
            raise stop

    return progress


@pytest.mark.parametrize(
    ("stop", "shown"),
    [(KeyboardInterrupt(), KeyboardInterrupt), (OSError(28, "No space left on device"), VoxflateError)],
)
def test_an_interruption_leaves_no_set_and_the_next_call_goes_on(
    scans: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop: BaseException,
    shown: type[BaseException],
) -> None:
    whole = prepare(scans, tmp_path / "whole", "ct", SHAPE)
    with pytest.raises(shown):
        prepare(scans, tmp_path / "set", "ct", SHAPE, progress=halfway(stop))
    assert not (tmp_path / "set").exists()
    (unfinished,) = tmp_path.glob(".tmp-*")
    assert "is not a prepared set" in refusal(lambda: open_prepared(unfinished))
    assert threading.active_count() == 1
    reads = Reads(monkeypatch)
    prepared = prepare(scans, tmp_path / "set", "ct", SHAPE)
    assert reads.count == 10 - 4  # the fifth was read, but not yet written
    assert prepared.manifest == whole.manifest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scans", "set", "whole"]
    assert sorted(path.name for path in prepared.root.iterdir()) == sorted(
        path.name for path in whole.root.iterdir()
    )


@pytest.mark.parametrize("lost", [0, 10], ids=["changed", "cut short"])
def test_what_was_half_written_or_made_otherwise_is_made_again(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    whole = prepare(scans, tmp_path / "whole", "mr", SHAPE)
    with pytest.raises(KeyboardInterrupt):
        prepare(scans, tmp_path / "set", "mr", SHAPE, progress=halfway(KeyboardInterrupt()))
    (unfinished,) = tmp_path.glob(".tmp-*")
    content = bytearray((unfinished / "train.npy").read_bytes())
    content[-1] ^= 1
    (unfinished / "train.npy").write_bytes(content[: len(content) - lost])
    with open(unfinished / "rows.jsonl", "ab") as log:
        log.write(b'{"job": 9, "sha2')
    reads = Reads(monkeypatch)
    made = prepare(scans, tmp_path / "set", "mr", SHAPE)
    made.verify()
    assert made.manifest == whole.manifest
    assert reads.count == 10 - 3
    for other in ({"recipe": "adni"}, {"seed": 1}):
        with pytest.raises(KeyboardInterrupt):
            prepare(scans, tmp_path / "next", "mr", SHAPE, progress=halfway(KeyboardInterrupt()))
        reads.count = 0
        prepare(scans, tmp_path / "next", **{"recipe": "mr", "shape": SHAPE, **other})
        assert reads.count == 10
        shutil.rmtree(tmp_path / "next")


def test_a_killed_process_is_taken_up_and_two_at_a_time_are_not(scans: Path, tmp_path: Path) -> None:
    whole = prepare(scans, tmp_path / "whole", "mr", SHAPE)
    program = (
        "import os, sys; from voxflate.data import prepare;"
        f"prepare(sys.argv[1], sys.argv[2], 'mr', {SHAPE}, progress=lambda done, n: done < 7 or os._exit(9))"
    )
    arguments = [sys.executable, "-c", program, str(scans), str(tmp_path / "set")]
    assert subprocess.run(arguments, check=False).returncode == 9
    assert not (tmp_path / "set").exists()

    def again(done: int, total: int) -> None:
        if done == 1:
            assert "another process" in refusal(lambda: prepare(scans, tmp_path / "set", "mr", SHAPE))

    assert prepare(scans, tmp_path / "set", "mr", SHAPE, progress=again).manifest == whole.manifest


def test_none_held_out_is_an_empty_split(scans: Path, tmp_path: Path) -> None:
    prepared = prepare(scans, tmp_path / "set", "mr", SHAPE, held_out=0)
    assert prepared.volumes("heldout").shape == (0, 1, *SHAPE)
    assert prepared.volumes("all").shape == (10, 1, *SHAPE)


def test_intensities_go_there_and_back(tmp_path: Path, write_scan: WriteScan) -> None:
    array = np.random.default_rng(0).uniform(-1000, 1000, (16, 16, 8)).astype(np.float32)
    write_scan(tmp_path / "in" / "ct.nii", array)
    prepared = prepare(tmp_path / "in", tmp_path / "set", "coca", SHAPE)
    back = prepared.to_intensity(prepared.volumes("all")[0, 0])
    np.testing.assert_allclose(back, np.clip(array.T, -250, 650), atol=0.02)
    assert prepared.to_intensity(np.array([-1, 0, 1], np.float32)).tolist() == [-250, 200, 650]


def test_storing_loses_next_to_nothing() -> None:
    values = np.linspace(-1, 1, 100_001, dtype=np.float32)
    again = from_stored(to_stored(values))
    assert np.abs(again - values).max() < 1 / 65000
    assert again[[0, 50_000, -1]].tolist() == [-1, 0, 1]


def no_manifest(root: Path) -> None:
    (root / "manifest.json").unlink()


def edited_manifest(root: Path) -> None:
    content = json.loads((root / "manifest.json").read_text())
    (root / "manifest.json").write_text(json.dumps({**content, "spacing": [1, 1, 1]}))


def cut_array(root: Path) -> None:
    content = (root / "train.npy").read_bytes()
    (root / "train.npy").write_bytes(content[:-2])


def other_array(root: Path) -> None:
    np.save(root / "train.npy", np.zeros((2, 2), np.int16))


def no_array(root: Path) -> None:
    (root / "heldout.npy").unlink()


def no_folder(root: Path) -> None:
    root.rename(root.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_manifest, "is not a prepared set"),
        (edited_manifest, "its checksum is wrong"),
        (cut_array, "cannot be read"),
        (other_array, "the manifest says int16"),
        (no_array, "heldout.npy: cannot be read (No such file or directory); prepare the scans again"),
        (no_folder, "no such folder"),
    ],
)
def test_a_damaged_set_is_refused(
    scans: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(prepare(scans, tmp_path / "set", "mr", SHAPE).root)
    assert message in refusal(lambda: open_prepared(tmp_path / "set"))


def test_a_changed_voxel_is_found_when_asked(scans: Path, tmp_path: Path) -> None:
    prepared = prepare(scans, tmp_path / "set", "mr", SHAPE)
    path = tmp_path / "set" / "train.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "voxels were changed" in refusal(open_prepared(prepared.root).verify)


def test_an_unknown_split_names_those_there_are(scans: Path, tmp_path: Path) -> None:
    prepared = prepare(scans, tmp_path / "set", "mr", SHAPE)
    assert "choose one of train, heldout" in refusal(lambda: prepared.stored("test"))


def test_nifti_alone_does_not_wait_for_other_formats(scans: Path, tmp_path: Path) -> None:
    code = """
import sys
from voxflate.data.preparing.prepare import prepare
prepare(sys.argv[1], sys.argv[2], "mr", (8, 16, 16), salt=b"salt")
print(*sorted({"SimpleITK", "matplotlib", "scipy.ndimage", "torch"} & set(sys.modules)))
"""
    command = [sys.executable, "-c", code, str(scans), str(tmp_path / "set")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_shape_may_be_a_list_and_a_seed_is_not_negative(scans: Path, tmp_path: Path) -> None:
    made = prepare(scans, tmp_path / "list", "mr", [*SHAPE])
    assert made.shape == SHAPE
    assert made.content_hash == prepare(scans, tmp_path / "array", "mr", np.array(SHAPE)).content_hash
    with pytest.raises(VoxflateError, match="seed is a whole number from 0 on, got -1"):
        prepare(scans, tmp_path / "set", "mr", SHAPE, seed=-1)
