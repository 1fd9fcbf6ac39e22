from pathlib import Path

import pytest

from voxflate._system.errors import VoxflateError
from voxflate.data.preparing.labels import typed
from voxflate.data.sources.labels import Wanted, wanted_labels
from voxflate.data.sources.labels import known_labels as find_labels
from voxflate.data.sources.source import Reading, Source


def scan(root: Path, name: str, subject: str = "", **labels: str) -> Source:
    return Source(root / name, name, subject or name, labels=labels)


def known_labels(
    source: Path, scans: list[Source], wanted: tuple[Wanted, ...]
) -> tuple[list[dict[str, str]], str]:
    known = find_labels(source, scans, wanted)
    return known.values, known.table.name


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("sub-07/anat/sub-07_T1w.nii.gz", "07"),
        ("07.nii.gz", ""),
        ("brain/07_brain_2mm.nii.gz", ""),
        ("07/t1.nii.gz", ""),
        ("IM0001", "07"),
    ],
)
@pytest.mark.parametrize("written", ["07", "sub-07"])
def test_a_row_finds_its_subject(tmp_path: Path, name: str, subject: str, written: str) -> None:
    (tmp_path / "participants.tsv").write_text(f"participant_id\tage\tSex\n{written}\t63.5\tF\n0\t1\tM\n")
    found, table = known_labels(tmp_path, [scan(tmp_path, name, subject)], wanted_labels(["age", "sex"]))
    assert found == [{"age": "63.5", "sex": "F"}]
    assert table == "participants.tsv"


def test_accents_may_be_spelled_in_two_ways(tmp_path: Path) -> None:
    (tmp_path / "participants.tsv").write_text("id\tage\nM\u00fcller\t20\nSo\u0301s\t30\n", encoding="utf-8")
    scans = [scan(tmp_path, "Mu\u0308ller_t1.nii"), scan(tmp_path, "S\u00f3s/t1.nii")]
    found, _ = known_labels(tmp_path, scans, wanted_labels(["age"]))
    assert found == [{"age": "20"}, {"age": "30"}]


def test_the_longest_name_counts_and_a_table_may_lie_above(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "participants.csv").write_text("id,age\nIXI1,20\nIXI1-HH,30\n")
    scans = [scan(tmp_path, "IXI1-HH_t1.nii"), scan(tmp_path, "IXI1_t1.nii"), scan(tmp_path, "IXI11_t1.nii")]
    found, _ = known_labels(tmp_path / "scans", scans, wanted_labels(["age"]))
    assert found == [{"age": "30"}, {"age": "20"}, {}]


@pytest.mark.parametrize("name", ["3/1/t1.nii", "3/1.nii", "3/1_t1.nii"])
def test_a_path_with_the_names_of_two_subjects_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "participants.csv").write_text("id,age\n1,20\n2,20\n3,40\n")
    with pytest.raises(
        VoxflateError, match=r"has the names of two subjects of participants.csv, 1 and 3; say"
    ):
        known_labels(tmp_path, [scan(tmp_path, "1/1/t1.nii"), scan(tmp_path, name)], wanted_labels(["age"]))
    known = [scan(tmp_path, name, "3"), scan(tmp_path, "sub-3/1/t1.nii"), scan(tmp_path, "1/1/t1.nii")]
    found, _ = known_labels(tmp_path, known, wanted_labels(["age"]))
    assert found == [{"age": "40"}, {"age": "40"}, {"age": "20"}]


def test_a_known_subject_without_a_row_gets_nobody_else_s(tmp_path: Path) -> None:
    (tmp_path / "participants.csv").write_text("id,age\n1,20\n")
    by_folder = Source(tmp_path / "99/1/t1.nii", "99/1/t1.nii", "99", reading=Reading(subjects="folder"))
    scans = [by_folder, scan(tmp_path, "sub-99/1/t1.nii", "99")]
    assert known_labels(tmp_path, scans, wanted_labels(["age"]))[0] == [{}, {}]


def test_columns_of_the_list_come_first(tmp_path: Path) -> None:
    (tmp_path / "participants.csv").write_text("id,age,site\na,20,x\n")
    scans = [scan(tmp_path, "a.nii", age="40")]
    assert known_labels(tmp_path / "list.csv", scans, wanted_labels(["age"]))[0] == [{"age": "40"}]
    found, _ = known_labels(tmp_path / "list.csv", scans, wanted_labels(["age", "site"]))
    assert found == [{"age": "40", "site": "x"}]


def test_a_line_without_an_id_belongs_to_nobody(tmp_path: Path) -> None:
    """Such as a mean below the column, or a merged cell of a spreadsheet."""
    (tmp_path / "participants.csv").write_text("id,age\na,20\n,30\nsub-,50\n")
    found, _ = known_labels(
        tmp_path, [scan(tmp_path, "a.nii"), scan(tmp_path, "b.nii")], wanted_labels(["age"])
    )
    assert found == [{"age": "20"}, {}]


@pytest.mark.parametrize("row", ["a,F,", "a,F,n/a", "a,F,NaN", "a,F,NA", "a,F, ", "a,F"])
def test_a_missing_value_is_no_value(tmp_path: Path, row: str) -> None:
    (tmp_path / "participants.csv").write_text(f"id,sex,age\n{row}\nb,M,40\n")
    scans = [scan(tmp_path, "a.nii"), scan(tmp_path, "b.nii")]
    found, _ = known_labels(tmp_path, scans, wanted_labels(["age", "sex"]))
    assert found == [{"sex": "F"}, {"age": "40", "sex": "M"}]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("id,sex\na,F\n", "has no column age; it has id, sex"),
        ("id,sex\n\na,F\n", "has no column age; it has id, sex"),
        ("id,age\na,1\na,2\n", "line 3 repeats a with other values; keep one"),
        (
            None,
            "no table has the label age: there is no list, and no participants.tsv or participants.csv lies",
        ),
    ],
)
def test_a_table_that_does_not_say_is_refused(tmp_path: Path, table: str | None, message: str) -> None:
    if table is not None:
        (tmp_path / "participants.csv").write_text(table)
    with pytest.raises(VoxflateError, match=message):
        known_labels(tmp_path, [scan(tmp_path, "a.nii")], wanted_labels(["age"]))


@pytest.mark.parametrize(
    "header",
    ["PatientID", "Patient ID", "patient-id", "SUBJECT_ID", "Subject", "participant", "Patient", "ID"],
)
def test_the_subjects_column_may_be_spelled_otherwise(tmp_path: Path, header: str) -> None:
    (tmp_path / "participants.csv").write_text(f"sex;{header};age\nF;a;20\n")
    found, _ = known_labels(tmp_path, [scan(tmp_path, "a.nii")], wanted_labels(["age"]))
    assert found == [{"age": "20"}]


@pytest.mark.parametrize("header", ["file,age,sex", "case,age"])
def test_a_table_of_labels_without_subjects_is_told_its_own_columns(tmp_path: Path, header: str) -> None:
    (tmp_path / "participants.csv").write_text(f"{header}\na,20\n")
    message = (
        f"participants.csv: has the columns {header.replace(',', ', ')}, expected one of participant_id, "
        "subject, subject_id, patient_id, id, participant, patient, which says whose row it is; rename the "
        "column, or prepare the table as a list if it has a column file"
    )
    with pytest.raises(VoxflateError, match=message):
        known_labels(tmp_path, [scan(tmp_path, "a.nii")], wanted_labels(["age"]))


@pytest.mark.parametrize(
    ("name", "text", "advice"),
    [
        ("labels.csv", "ID,Age\na,20\n", "labels.csv: rename it to participants.csv"),
        ("demographics.tsv", "age\tid\n", "demographics.tsv: rename it to participants.tsv"),
        ("Participants.csv", "id,age\na,20\n", "Participants.csv: rename it to participants.csv"),
        ("people.xlsx", "PK", "people.xlsx: if it has the labels, save it as participants.csv"),
        ("other.csv", "id,sex\n", None),
    ],
)
def test_a_table_under_another_name_is_named(
    tmp_path: Path, name: str, text: str, advice: str | None
) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / name).write_text(text)
    expected = f"; there is .*{advice}" if advice else "; write one with the columns participant_id and age"
    with pytest.raises(VoxflateError, match=expected):
        known_labels(tmp_path / "scans", [scan(tmp_path, "a.nii")], wanted_labels(["age"]))


@pytest.mark.parametrize("text", ["age:number", ":categorical", "a{b}"])
def test_an_option_that_names_no_column_is_refused(text: str) -> None:
    with pytest.raises(VoxflateError, match="expected COLUMN, or COLUMN:categorical or COLUMN:continuous"):
        wanted_labels([text])
    with pytest.raises(VoxflateError, match="the column Age is named twice"):
        wanted_labels(["age", "Age:continuous"])


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ("sex", ["F", "M"], ["F", "M"]),
        ("sex", ["1", "2.0", "1.0"], ["1", "2", "1"]),
        ("age", ["1", "2", "3", "4", "5", "6"], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        ("age", ["30.5", "40"], [30.5, 40.0]),
        ("age:continuous", ["30", "40"], [30.0, 40.0]),
        ("age:categorical", ["30.5", "40"], ["30.5", "40"]),
        ("grade", ["2", "3", "unknown"], ["2", "3", "unknown"]),
        ("site", ["4000121", "4000122", "4000121.0"], ["4000121", "4000122", "4000121"]),
        ("site", ["90071992547409931", "90071992547409932"], ["90071992547409931", "90071992547409932"]),
        ("dose:categorical", ["0.12345678", "0.12345679", "1e3"], ["0.12345678", "0.12345679", "1000"]),
        ("stage", ["1_1", "1_2", "11"], ["1_1", "1_2", "11"]),
        ("age:categorical", ["61,5", "62"], ["61,5", "62"]),
        ("codes", ["1,2", "none"], ["1,2", "none"]),
    ],
)
def test_a_column_has_classes_or_numbers(column: str, values: list[str], expected: list[object]) -> None:
    name = column.split(":")[0]
    assert typed([column], [{name: value} for value in values]) == [{name: value} for value in expected]


def test_values_that_fit_no_kind_are_refused() -> None:
    with pytest.raises(VoxflateError, match="--label age:continuous: the value 'old' is not a number"):
        typed(["age:continuous"], [{"age": "30"}, {"age": "old"}])
    with pytest.raises(VoxflateError, match=r"the value '>89' is not a number \(of b\.nii\); correct it"):
        typed(["age:continuous"], [{"age": "30"}, {"age": ">89"}], ["a.nii", "b.nii"])
    with pytest.raises(VoxflateError, match=r"61 different values, .*, as '>89' \(of 60\)"):
        typed(["age"], [*({"age": str(n)} for n in range(60)), {"age": ">89"}], [*map(str, range(61))])
    with pytest.raises(VoxflateError, match="--label age: the value '61,5' has a comma, and may be a number"):
        typed(["age"], [{"age": "60"}, {"age": "61,5"}])
    with pytest.raises(VoxflateError, match="--label name: has 51 different values, not all of them numbers"):
        typed(["name"], [{"name": f"person {i}"} for i in range(51)])


def test_a_list_and_a_table_may_each_have_some_of_the_labels(tmp_path: Path) -> None:
    (tmp_path / "participants.tsv").write_text("participant_id\tsex\n1\tF\n2\tM\n")
    scans = [scan(tmp_path, "a.nii", "1", age="20", sex=""), scan(tmp_path, "b.nii", "2", age="30", sex="X")]
    found, _ = known_labels(tmp_path / "list.csv", scans, wanted_labels(["age", "sex"]))
    assert found == [{"age": "20"}, {"age": "30", "sex": "X"}]  # the list has both
    scans = [scan(tmp_path, "a.nii", "1", age="20"), scan(tmp_path, "b.nii", "2", age="30")]
    found, _ = known_labels(tmp_path / "list.csv", scans, wanted_labels(["age", "sex"]))
    assert found == [{"age": "20", "sex": "F"}, {"age": "30", "sex": "M"}]
    with pytest.raises(VoxflateError, match="has no column height"):
        known_labels(tmp_path / "list.csv", scans, wanted_labels(["age", "height"]))
