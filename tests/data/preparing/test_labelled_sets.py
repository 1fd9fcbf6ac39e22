"""Sets whose subjects have labels; interrupted calls; what the report says of channels and labels."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.data.preparing.test_channels import SHAPE, refusal
from voxflate._system.errors import VoxflateError
from voxflate.data import prepare
from voxflate.data.prepared import PreparedSet, Scan
from voxflate.data.preparing.labels import label_columns
from voxflate.data.preparing.summary import summary_lines
from voxflate.data.sources.account import Account
from voxflate.data.sources.source import Reading


def _change(path: Path, change: Callable[[Any, Any], tuple[Any, Any]]) -> None:
    image = nib.load(path)
    array, affine = change(np.asarray(image.dataobj), image.affine.copy())
    nib.Nifti1Image(array, affine).to_filename(path)


@pytest.fixture
def table(pairs: Path) -> Path:
    rows = [f"MUSTERMANN-{i}\t{30.5 + i}\t{'FM'[i % 2]}\t{i}" for i in range(6)]
    path = pairs / "participants.tsv"
    path.write_text("\n".join(["participant_id\tage\tsex\tgrade", *rows, ""]))
    return path


LABELLED = Reading(mask="labels/*", labels=("age", "sex"))


def test_labels_come_from_the_participants(pairs: Path, table: Path, tmp_path: Path) -> None:
    made = prepare(pairs, tmp_path / "set", "mr", SHAPE, reading=LABELLED)
    age, sex = made.layout.labels
    ages = [scan.labels["age"] for scan in made.manifest.scans]
    assert sorted(ages) == [30.5, 31.5, 32.5, 33.5, 34.5, 35.5]
    assert (age.low, age.high) == (30.5, 35.5)
    assert (age.mean, age.deviation) == pytest.approx((np.mean(ages[:5]), np.std(ages[:5])))
    assert sex.values == ("F", "M")
    assert all(scan.labels["sex"] == "FM"[int(scan.labels["age"] - 30.5) % 2] for scan in made.manifest.scans)
    np.testing.assert_allclose(made.labels("train")[:, 0].mean(), 0, atol=1e-6)
    assert list(summary_lines(made))[2].startswith("label age: 3")
    alone = prepare(pairs / "images", tmp_path / "alone", "mr", SHAPE, reading=Reading(labels=("sex",)))
    assert np.load(alone.root / "train.npy").ndim == 4


def test_a_class_of_held_out_volumes_alone_gets_a_note(pairs: Path, tmp_path: Path) -> None:
    rows = [
        f"images/MUSTERMANN-{i}.nii.gz,{'val' if i == 5 else 'train'},{'{M}' if i == 5 else 'F'}"
        for i in range(6)
    ]
    (pairs / "list.csv").write_text("\n".join(["file,split,sex", *rows, ""]))
    account, reading = Account(), Reading(labels=("sex",))
    made = prepare(pairs / "list.csv", tmp_path / "set", "mr", SHAPE, reading=reading, account=account)
    assert made.layout.labels[0].values == ("F", "{M}")
    assert (
        "label sex: 1 of 2 classes ({M}) occur only in held-out volumes, so the generator learns nothing of "
        "them" in account.notes
    )


@pytest.mark.parametrize(
    ("ages", "ends"),
    [([19.98, 40, 86.2], (15, 90)), ([20, 40], (20, 40)), ([-0.3, 0.1], (-0.3, 0.1)), ([7], (7, 7))],
)
def test_a_range_is_known_no_better_than_anybody_s_value(
    ages: list[float], ends: tuple[float, float]
) -> None:
    scan = Scan("s", "train", "", [], (0.0, 1.0))
    (column,) = label_columns(["age"], [replace(scan, labels={"age": age}) for age in ages])
    assert (column.low, column.high) == ends


def test_a_missing_label_is_refused_by_count_and_moves_nobody(
    pairs: Path, table: Path, tmp_path: Path
) -> None:
    whole = prepare(pairs, tmp_path / "whole", "mr", SHAPE, held_out=0.4, reading=LABELLED)
    table.write_text(table.read_text().replace("\t33.5\t", "\tn/a\t"))
    message = refusal(pairs, tmp_path / "set", held_out=0.4, reading=LABELLED)
    assert (
        "1 of 6 scans have no age in participants.tsv (images/MUSTERMANN-3.nii.gz); fill them in" in message
    )
    refused: list[VoxflateError] = []
    made = prepare(pairs, tmp_path / "set", "mr", SHAPE, 0.4, refuse=refused.append, reading=LABELLED)
    assert "has no value for the label age" in str(refused[0])
    split = {scan.source_sha256: scan.split for scan in whole.manifest.scans}
    assert all(split[scan.source_sha256] == scan.split for scan in made.manifest.scans)
    assert len(made.manifest.scans) == 5


def test_ids_in_another_spelling_are_not_called_missing(pairs: Path, table: Path, tmp_path: Path) -> None:
    text = table.read_text()
    table.write_text(text.replace("MUSTERMANN-5", "mustermann-5"))
    message = refusal(pairs, tmp_path / "set", reading=LABELLED)
    assert "1 of 6 scans have no age or sex" in message
    assert "(images/MUSTERMANN-5.nii.gz), 1 of them because they have no row; fill them in" in message
    table.write_text(text.replace("MUSTERMANN", "mustermann"))
    message = (
        "no scan has a row in participants.tsv: its ids are such as mustermann-0, mustermann-1, "
        "mustermann-2, ..., the scans are such as images/MUSTERMANN-0.nii.gz; write the ids as the names of "
        "the files begin"
    )
    assert message in refusal(pairs, tmp_path / "set", reading=LABELLED)
    with pytest.raises(VoxflateError, match=r"no scan has a row in participants\.tsv"):
        prepare(pairs, tmp_path / "set", "mr", SHAPE, refuse=lambda error: None, reading=LABELLED)
    table.write_text("participant_id\tage\tsex\n")
    assert "participants.tsv: it has no rows, the scans" in refusal(pairs, tmp_path / "set", reading=LABELLED)


class _Stop(Exception):
    pass


@pytest.mark.parametrize("change", ["nothing", "mask", "label"])
def test_an_interrupted_call_goes_on_unless_something_changed(
    pairs: Path, table: Path, tmp_path: Path, change: str
) -> None:
    def stop(done: int, total: int) -> None:
        if done == 4:
            raise _Stop

    def arguments(out: str) -> Any:
        return pairs, tmp_path / out, "mr", SHAPE

    with pytest.raises(_Stop):
        prepare(*arguments("set"), progress=stop, reading=LABELLED)
    if change == "mask":
        for path in (pairs / "labels").iterdir():
            _change(path, lambda a, m: (np.where(a == 7, 9, a).astype(np.uint8), m))
    if change == "label":
        table.write_text(table.read_text().replace("30.5", "90.5"))
    resumed = prepare(*arguments("set"), reading=LABELLED)
    fresh = prepare(*arguments("fresh"), reading=LABELLED)
    assert resumed.manifest == fresh.manifest
    resumed.verify()
    assert _report(resumed) == _report(fresh)


def _report(made: PreparedSet) -> str:
    return (made.root / "report.html").read_text()


def test_the_report_shows_classes_labels_and_the_mask_in_colour(
    pairs: Path, table: Path, tmp_path: Path
) -> None:
    made = prepare(pairs, tmp_path / "set", "mr", SHAPE, reading=LABELLED)
    page = _report(made)
    for text in (
        "mask-2",
        "mask-7",
        "6 of 6",
        '<h2 id="labels">Labels</h2>',
        "<td>F</td>",
        "over the first image",
    ):
        assert text in page
    manifest = json.loads((made.root / "manifest.json").read_text())
    assert manifest["layout"]["labels"][1]["values"] == ["F", "M"]
