"""Held-out people are new to a generator only if the 2D run did not see them either."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.strategies import run_config, write_prepared
from voxflate._system.errors import VoxflateError
from voxflate.data.prepared import MANIFEST, PreparedSet, open_prepared
from voxflate.runs.facts import read_facts
from voxflate.runs.stages import SEEN, has_two_sets, held_out_seen, remark_on_stages, started_from
from voxflate.runs.trained_on import TrainedOn
from voxflate.training.run import train_run


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    """People s0 to s9 are trained on, s10 to s13 held out."""
    return renamed(write_prepared(tmp_path_factory.mktemp("data") / "set"), "s", "s")


def other(folder: Path, n_train: int, n_heldout: int, prefix: str = "s") -> PreparedSet:
    """Another set of people, renamed with a prefix as another salt would."""
    return renamed(write_prepared(folder, n_train=n_train, n_heldout=n_heldout, seed=1), prefix, prefix)


def renamed(made: PreparedSet, prefix: str, files: str) -> PreparedSet:
    for number, scan in enumerate(made.manifest.scans):
        object.__setattr__(scan, "subject", f"{prefix}{number}")
        object.__setattr__(scan, "source_sha256", f"{files}{number}".rjust(64, "0"))
    made.manifest.write(made.root)
    return open_prepared(made.root)


def started(prepared: PreparedSet, first: PreparedSet, folder: Path) -> tuple[dict[str, object], list[str]]:
    """`started_from` of a 3D run whose 2D run was trained on the first set, and the notes of its start."""
    twin, run = folder / "2d", folder / "3d"
    train_run(run_config(first, training__phase="2d", training__kimg=0.004), twin)
    notes: list[str] = []
    config = run_config(prepared, start__strategy="inflate-1", start__twin=str(twin))
    train_run(config, run, stop_at=0, on_note=notes.append)
    assert read_facts(run)["started_from"] == started_from(run, None)
    return read_facts(run)["started_from"], [note for note in notes if "people" in note]


def test_one_set_for_both_stages_needs_no_word(prepared: PreparedSet, tmp_path: Path) -> None:
    facts, notes = started(prepared, prepared, tmp_path)
    assert SEEN not in facts
    assert not notes
    assert not has_two_sets(tmp_path / "3d", None)
    assert not remark_on_stages(tmp_path / "3d", None)


@pytest.mark.parametrize(
    ("n_train", "n_heldout", "prefix", "seen", "words"),
    [
        (12, 2, "s", 2, "trained on 2 of the people held out from the 3D run"),
        (8, 6, "s", 0, ""),
        (12, 2, "other", None, "it is unknown whether that has people"),
    ],
)
def test_another_set_in_2d_is_compared_by_its_people(
    n_train: int,
    n_heldout: int,
    prefix: str,
    seen: int | None,
    words: str,
    prepared: PreparedSet,
    tmp_path: Path,
) -> None:
    facts, notes = started(prepared, other(tmp_path / "first", n_train, n_heldout, prefix), tmp_path)
    assert facts[SEEN] == seen
    assert has_two_sets(tmp_path / "3d", None)
    assert bool(remark_on_stages(tmp_path / "3d", None)) == bool(words)
    assert bool(words) == bool(notes)
    assert all(
        words in note and note.startswith(f"warning: start.twin = {tmp_path / '2d'}: ") for note in notes
    )


def test_a_set_that_was_removed_leaves_it_open(prepared: PreparedSet, tmp_path: Path) -> None:
    first = other(tmp_path / "first", 12, 2)
    twin = tmp_path / "2d"
    train_run(run_config(first, training__phase="2d", training__kimg=0.004), twin)
    shutil.rmtree(first.root)
    assert not (first.root / MANIFEST).exists()
    notes: list[str] = []
    config = run_config(prepared, start__strategy="inflate-1", start__twin=str(twin))
    train_run(config, tmp_path / "3d", stop_at=0, on_note=notes.append)
    assert json.loads((tmp_path / "3d" / "run.json").read_text())["started_from"][SEEN] is None
    assert any("it is unknown whether that has people" in note for note in notes)


def test_another_split_of_the_same_volumes_is_another_set(prepared: PreparedSet, tmp_path: Path) -> None:
    """The content hash does not cover where the training volumes end."""
    more = renamed(write_prepared(tmp_path / "more", n_train=12, n_heldout=2), "s", "s")
    assert more.content_hash == prepared.content_hash
    facts, _ = started(prepared, more, tmp_path)
    assert facts[SEEN] == 2
    with pytest.raises(
        VoxflateError, match="it trains on 10 of the same volumes, not on 12; give its folder"
    ):
        train_run(run_config(prepared, training__phase="2d"), tmp_path / "2d", resume=True)


def test_one_file_is_one_person_by_any_pseudonym(prepared: PreparedSet, tmp_path: Path) -> None:
    """Sets prepared with and without labels name some people differently."""
    first = renamed(write_prepared(tmp_path / "first", n_train=12, n_heldout=2, seed=1), "other", "s")
    twin = tmp_path / "2d"
    train_run(run_config(first, training__phase="2d", training__kimg=0.004), twin)
    assert held_out_seen(prepared, twin, TrainedOn.of_run(twin)) == {SEEN: 2}
