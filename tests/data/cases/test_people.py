"""Whose a scan is: one person never on both sides of the split, and a word where that cannot be told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.data.cases.phantoms import body, prepared, refusal, volumes, write_nifti, write_series
from voxflate.data.prepared import PreparedSet


def sides(made: PreparedSet) -> dict[str, set[str]]:
    """Subject -> splits."""
    found: dict[str, set[str]] = {}
    for scan in made.manifest.scans:
        found.setdefault(scan.subject, set()).add(scan.split)
    return found


def test_one_patient_for_all_is_said_with_the_option_that_helps(tmp_path: Path) -> None:
    for number in range(4):
        for scan in range(2):
            write_series(
                tmp_path / "in" / f"pat{number}" / f"s{scan}", body(9 * scan + number), patient="ANONYMOUS"
            )
    made, account = prepared(tmp_path / "in", tmp_path / "out", held_out=0.3)
    assert len(sides(made)) == 1
    assert any(
        "all 8 scans are of one subject (ANONYMOUS)" in n and "--subjects folder" in n for n in account.notes
    )
    assert any("no volume is held out, because there is only 1 subject" in note for note in account.notes)
    assert "ANONYMOUS" not in (made.root / "manifest.json").read_text()
    made, account = prepared(tmp_path / "in", tmp_path / "by-folder", held_out=0.3, subjects="folder")
    assert len(sides(made)) == 4
    assert all(len(found) == 1 for found in sides(made).values())
    assert len(made.stored("heldout")) == 2
    assert not any("one subject" in note for note in account.notes)


def test_as_many_people_as_files_is_said(tmp_path: Path) -> None:
    for number in range(3):
        for visit in range(2):
            write_nifti(tmp_path / "in" / f"p{number}" / f"v{visit}" / "T1.nii", body(9 * visit + number))
    made, account = prepared(tmp_path / "in", tmp_path / "out", held_out=0.3)
    assert len(sides(made)) == 6
    assert any("the subjects of the 6 scans are unknown" in note for note in account.notes)
    made, account = prepared(tmp_path / "in", tmp_path / "by-folder", held_out=0.3, subjects="folder")
    assert len(sides(made)) == 3
    assert not any("scans are unknown" in note for note in account.notes)


@pytest.fixture
def sessions(tmp_path: Path) -> Path:
    """Two scans each of four people, whose names begin as the rows of the table do."""
    folder, people = tmp_path / "sessions", [f"IXI{n:03d}-HH-{n}" for n in (12, 13, 14, 15)]
    for number, person in enumerate(people):
        for visit in "ab":
            write_nifti(folder / f"{person}_ses{visit}.nii.gz", body(9 * number + ord(visit)))
    rows = [f"{person},{60.5 + number}" for number, person in enumerate(people)]
    (folder / "participants.csv").write_text("\n".join(["Patient ID,age", *rows, ""]))
    return folder


def test_scans_with_one_row_of_the_labels_are_of_one_person(sessions: Path, tmp_path: Path) -> None:
    made, account = prepared(sessions, tmp_path / "out", held_out=0.3, labels=("age",))
    assert len(sides(made)) == 4
    assert all(len(found) == 1 for found in sides(made).values())
    assert len(made.stored("heldout")) == 2
    ages = {(scan.subject, scan.labels["age"]) for scan in made.manifest.scans}
    assert len(ages) == 4
    note = "4 subjects were taken from participants.csv: scans with the same row are of one person"
    assert note in account.notes
    assert not any("are unknown" in one for one in account.notes)
    assert note in (made.root / "report.html").read_text()
    assert not any("IXI" in path.read_text() for path in made.root.glob("*.[hj]*"))
    assert account.left_out() == {"the table of labels": ["participants.csv"]}
    listed, _ = prepared(listing(sessions), tmp_path / "listed", held_out=0.3)
    assert set(sides(listed)) == set(sides(made))  # the same pseudonyms


def test_a_table_of_labels_that_is_not_read_is_named(sessions: Path, tmp_path: Path) -> None:
    _, account = prepared(sessions, tmp_path / "out")
    assert account.left_out() == {"a table of labels, read only with --label": ["participants.csv"]}
    (note,) = [one for one in account.notes if "are unknown" in one]
    assert "give the subjects with --label COLUMN (participants.csv is read with it), with --subjects" in note
    (sessions / "participants.csv").unlink()
    _, account = prepared(sessions, tmp_path / "again")
    (note,) = [one for one in account.notes if "are unknown" in one]
    assert "--label" not in note


def listing(sessions: Path) -> Path:
    """The same scans in a list that gives their subjects."""
    files = sorted(path.name for path in sessions.glob("*.nii.gz"))
    rows = [f"{name},{name.split('_')[0]}" for name in files]
    (sessions / "list.csv").write_text("\n".join(["file,Subject-ID", *rows, ""]))
    return sessions / "list.csv"


@pytest.mark.parametrize(("each", "told"), [(5, False), (6, True)])
def test_rows_of_many_scans_may_be_no_people(each: int, told: bool, tmp_path: Path) -> None:
    """A table of sites would make every site a person."""
    for number, site in enumerate(["ge", "siemens"] * each):
        write_nifti(tmp_path / "in" / site / f"s{number}.nii.gz", body(number))
    (tmp_path / "in" / "participants.csv").write_text("id,field\nge,1.5\nsiemens,3\n")
    _, account = prepared(tmp_path / "in", tmp_path / "out", labels=("field",))
    note = f"{2 * each} scans share 2 rows of participants.csv; if a row is not one person"
    assert any(one.startswith(note) and "--subjects file" in one for one in account.notes) == told


def test_each_file_stays_a_person_where_the_user_says_so(sessions: Path, tmp_path: Path) -> None:
    made, account = prepared(sessions, tmp_path / "out", labels=("age",), subjects="file")
    assert len(sides(made)) == 8
    assert not any("taken from" in note for note in account.notes)


def test_what_headers_say_of_people_comes_before_the_table(tmp_path: Path) -> None:
    for number in range(3):
        write_series(tmp_path / "in" / f"p{number}" / "ct", body(number), patient=f"MRN{number}")
        write_series(tmp_path / "in" / f"p{number}" / "again", body(number + 5), patient=f"MRN{number and 7}")
        write_nifti(tmp_path / "in" / f"p{number}" / "b.nii", body(number + 9), mm=2.0)
    (tmp_path / "in" / "participants.csv").write_text("id,age\np0,20.5\np1,30.5\np2,40.5\n")
    made, account = prepared(tmp_path / "in", tmp_path / "out", labels=("age",))
    # MRN7 is the second name of two people; their NIfTI files go with the first of their names.
    assert sorted(sum(one.subject == name for one in made.manifest.scans) for name in sides(made)) == [
        2,
        2,
        2,
        3,
    ]
    assert any(
        note.startswith("rows of participants.csv that several subjects share (by PatientID")
        and ": 2; " in note
        for note in account.notes
    )


def test_studies_without_a_patient_get_the_person_of_their_row(tmp_path: Path) -> None:
    for number in range(3):
        for visit in range(2):
            write_series(tmp_path / "in" / f"p{number}" / f"v{visit}", body(9 * number + visit), patient="")
    (tmp_path / "in" / "participants.tsv").write_text("id\tage\np0\t20.5\np1\t30.5\np2\t40.5\n")
    assert len(sides(prepared(tmp_path / "in", tmp_path / "plain")[0])) == 6
    made, _ = prepared(tmp_path / "in", tmp_path / "out", held_out=0.3, labels=("age",))
    assert sorted(map(len, sides(made).values())) == [1, 1, 1]


def test_files_of_unknown_people_among_named_ones_are_said(tmp_path: Path) -> None:
    for number in range(3):
        write_series(tmp_path / "in" / f"{number}", body(number), patient=f"P{number}")
    write_nifti(tmp_path / "in" / "P0.nii", body(0), mm=2.0)
    _, account = prepared(tmp_path / "in", tmp_path / "out")
    (note,) = [note for note in account.notes if "are unknown" in note]
    assert note.startswith("the subjects of 1 of the 4 scans are unknown, so each of them counts as a")
    assert "--subjects folder" in note


def test_a_label_with_hyphens_counts_whole_and_is_said(tmp_path: Path) -> None:
    for group in ("control", "patient"):
        for number in range(3):
            for session in (1, 2):
                name = f"sub-{group}-{number:02d}_ses-{session}_T1w.nii"
                write_nifti(tmp_path / "in" / name, body(10 * number + session + len(group)))
    made, account = prepared(tmp_path / "in", tmp_path / "out", held_out=0.3)
    assert len(sides(made)) == 6
    assert len(made.stored("heldout")) == 4
    (note,) = [note for note in account.notes if "hyphens" in note]
    assert "labels with hyphens (6: sub-control-00, sub-control-01, sub-control-02, ...)" in note
    assert "control" not in (made.root / "manifest.json").read_text()


def test_without_a_patient_the_study_says_whose_series_are(tmp_path: Path) -> None:
    for number in range(3):
        for scan in range(2):
            write_series(
                tmp_path / "in" / f"{number}{scan}", body(9 * scan + number), patient="",
                StudyInstanceUID=f"1.2.826.0.1.3680043.8.498.{number + 1}",
            )  # fmt: skip
    made, _ = prepared(tmp_path / "in", tmp_path / "out", held_out=0.4)
    assert len(sides(made)) == 3
    assert all(len(found) == 1 for found in sides(made).values())


@pytest.mark.parametrize(("held_out", "why"), [(0.0, "--held-out is 0"), (0.5, "there is only 1 subject")])
def test_a_set_without_held_out_volumes_says_why_and_what_that_costs(
    tmp_path: Path, held_out: float, why: str
) -> None:
    write_nifti(tmp_path / "in" / "sub-01_T1w.nii", body())
    made, account = prepared(tmp_path / "in", tmp_path / "out", held_out=held_out)
    (note,) = [one for one in account.notes if "no volume is held out" in one]
    assert why in note
    assert "evaluate" in note
    assert note in made.manifest.files["notes"]


def test_copies_on_both_sides_are_said_on_the_terminal(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from voxflate.cli import app

    for name in ("x.nii", "x.nii.gz"):
        write_nifti(tmp_path / "in" / name, body())
    words = [
        "prepare",
        str(tmp_path / "in"),
        str(tmp_path / "out"),
        "--shape",
        "8,16,16",
        "--held-out",
        "0.5",
    ]
    shown = CliRunner().invoke(app, words).stderr
    assert "(heldout and train): a held-out scan is also trained on; remove one" in shown


def test_an_unknown_way_to_tell_people_apart_is_refused(tmp_path: Path) -> None:
    write_nifti(tmp_path / "in" / "a.nii", body())
    assert "--subjects name: choose one of auto, folder, file" in refusal(
        tmp_path / "in", tmp_path / "out", subjects="name"
    )
    assert "--nan zero: the only choice is air" in refusal(tmp_path / "in", tmp_path / "out", nan="zero")


def test_two_volumes_of_one_file_have_names_of_their_own(tmp_path: Path) -> None:
    from tests.data.cases.phantoms import AXIAL, SAGITTAL, write_enhanced

    write_enhanced(tmp_path / "in" / "a.dcm", [(body(), AXIAL), (body(2), SAGITTAL)])
    made, _ = prepared(tmp_path / "in", tmp_path / "out", held_out=0.5)
    assert len({scan.scan for scan in made.manifest.scans}) == 2
    assert len(sides(made)) == 1
    assert not np.array_equal(*volumes(made))


def test_a_list_with_one_patient_on_both_sides_is_told(tmp_path: Path) -> None:
    for number in range(4):
        write_series(tmp_path / f"s{number}", body(number), patient=f"P{number // 2}")
    lines = "s0,A,train\ns1,B,heldout\ns2,C,train\ns3,D,train\n"
    (tmp_path / "list.csv").write_text(f"file,subject,split\n{lines}")
    made, account = prepared(tmp_path / "list.csv", tmp_path / "out")
    assert len(sides(made)) == 4
    assert any("trained on and held out: 1; these subjects" in note for note in account.notes)
    (tmp_path / "list.csv").write_text(f"file,subject,split\n{lines.replace('B,heldout', 'B,train')}")
    _, account = prepared(tmp_path / "list.csv", tmp_path / "all")
    assert not any("PatientID" in note for note in account.notes)


def test_equal_labels_of_two_data_sets_are_noted(tmp_path: Path) -> None:
    for number, site in enumerate(("Nord", "Sued")):
        for subject in "12":
            name = f"sub-{subject}/anat/sub-{subject}_T1w.nii.gz"
            write_nifti(tmp_path / "in" / site / name, body(9 * number + int(subject)))
    made, account = prepared(tmp_path / "in", tmp_path / "out", held_out=0.5)
    assert len(sides(made)) == 2
    (note,) = [one for one in account.notes if "occur in several folders" in one]
    assert note.startswith("subject labels that occur in several folders: 2 (sub-1 in Nord, Sued); each")
    assert "Nord" not in (made.root / "manifest.json").read_text()
    _, account = prepared(tmp_path / "in" / "Nord", tmp_path / "one", held_out=0.5)
    assert not any("occur in several folders" in one for one in account.notes)


@pytest.mark.parametrize("subjects", ["folder", "file"])
def test_patients_whom_the_option_puts_on_both_sides_are_noted(tmp_path: Path, subjects: str) -> None:
    for number in range(4):
        write_series(tmp_path / "in" / str(number), body(number), patient=f"P{number % 2}")
    notes = [
        note
        for seed in range(3)
        for note in prepared(
            tmp_path / "in", tmp_path / f"out{seed}", held_out=0.5, subjects=subjects, seed=seed
        )[1].notes
        if "that several subjects share, and that are both trained on and held out: " in note
    ]
    assert notes
    assert notes[0].endswith("or leave out --subjects")


def test_subjects_that_differ_only_in_capitals_are_noted(tmp_path: Path) -> None:
    for number, patient in enumerate(("Ab 1", "AB1", "c")):
        write_series(tmp_path / "in" / str(number), body(number), patient=patient)
    made, account = prepared(tmp_path / "in", tmp_path / "out", held_out=0.3)
    assert len(sides(made)) == 3
    (note,) = [one for one in account.notes if "differ only in capitals" in one]
    assert note.startswith("subjects that differ only in capitals or blanks: 1 (AB1 / Ab 1); each counts as")
    assert "AB1" not in (made.root / "manifest.json").read_text()


def test_unknown_subjects_of_a_list_are_not_one_person(tmp_path: Path) -> None:
    for number in range(4):
        write_nifti(tmp_path / "in" / f"{number}.nii", body(number))
    (tmp_path / "in" / "l.tsv").write_text("file\tsubject\n0.nii\tn/a\n1.nii\tN/A\n2.nii\tnan\n3.nii\tnull\n")
    made, account = prepared(tmp_path / "in" / "l.tsv", tmp_path / "out")
    assert len(sides(made)) == 4
    assert any("the subjects of the 4 scans are unknown" in note for note in account.notes)
    (tmp_path / "in" / "l.tsv").write_text("file\tsubject\n0.nii\tann\n1.nii\tn/a\n")
    assert "gives a subject to only some scans (line 3 has none)" in refusal(
        tmp_path / "in" / "l.tsv", tmp_path / "no"
    )
