from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxflate._system.errors import VoxflateError
from voxflate.data.sources.split import fixed_split, split_subjects, subject_of

PATHS = {Path(f"scan{i}.nii"): f"person {i}" for i in range(20)}


@given(st.integers(1, 60), st.floats(0, 0.99), st.integers(0, 1000))
def test_every_scan_is_on_one_side_and_one_is_left_to_train_on(n: int, held_out: float, seed: int) -> None:
    paths = {Path(f"{i}.nii"): str(i) for i in range(n)}
    splits = split_subjects(paths, held_out, seed)
    assert sorted(path for side in splits.values() for path in side) == sorted(paths)
    assert splits["train"]
    assert abs(len(splits["heldout"]) - held_out * n) <= 1
    assert bool(splits["heldout"]) == (held_out > 0 and n > 1)


@given(st.lists(st.integers(1, 4), min_size=2, max_size=12), st.integers(0, 1000))
def test_scans_of_one_person_stay_together(sessions: list[int], seed: int) -> None:
    paths = [
        Path(f"sub-{person:02d}/ses-{session}/anat/sub-{person:02d}_ses-{session}_T1w.nii.gz")
        for person, count in enumerate(sessions)
        for session in range(count)
    ]
    splits = split_subjects({path: subject_of(path) for path in paths}, 0.3, seed)
    sides = {split: {path.parts[0] for path in side} for split, side in splits.items()}
    assert not sides["train"] & sides["heldout"]
    assert len(sides["train"] | sides["heldout"]) == len(sessions)


@pytest.mark.parametrize(
    ("path", "subject"),
    [
        ("sub-07_ses-1/anat/a.nii", "07"),
        ("sub-07/ses-2/anat/sub-07_ses-2_T1w.nii.gz", "07"),
        ("sub-control-01.nii.gz", "control-01"),
        ("a/sub-control-01/t1.nii", "control-01"),
        ("sub-control-01-ses-2_T1w.nii", "control-01"),
        ("sub-01 copy.nii", "01"),
        ("sub-Müller.nii", "Müller"),
        ("mysub-01.nii", "mysub-01.nii"),
        ("sub-.nii", "sub-.nii"),
    ],
)
def test_a_label_goes_on_to_the_next_separator(path: str, subject: str) -> None:
    assert subject_of(Path(path)) == subject


def test_the_split_is_a_function_of_the_seed() -> None:
    assert split_subjects(PATHS, 0.2, 3) == split_subjects(dict(reversed(PATHS.items())), 0.2, 3)
    assert split_subjects(PATHS, 0.2, 3) != split_subjects(PATHS, 0.2, 4)


def test_a_list_s_split_is_kept_and_nobody_is_on_both_sides() -> None:
    sides = {path: "heldout" if int(path.stem[4:]) % 3 == 0 else "train" for path in PATHS}
    splits = fixed_split(PATHS, sides, 0)
    assert {path: split for split, paths in splits.items() for path in paths} == sides
    with pytest.raises(VoxflateError, match="'one' is listed for training and as held out"):
        fixed_split(dict.fromkeys(PATHS, "one"), sides, 0)
    with pytest.raises(VoxflateError, match="holds out every scan"):
        fixed_split(PATHS, dict.fromkeys(PATHS, "heldout"), 0)


@pytest.mark.parametrize("held_out", [-0.1, 1.0, 10])
def test_a_share_that_is_none_is_refused(held_out: float) -> None:
    with pytest.raises(VoxflateError, match="share of the subjects"):
        split_subjects(PATHS, held_out, 0)
