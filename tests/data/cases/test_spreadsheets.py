"""Lists as spreadsheets write them: read, or one line that names the list, the row and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.data.cases.phantoms import body, prepared, refusal, volumes, write_nifti
from voxflate._system.errors import VoxflateError
from voxflate.data.sources.lists import Columns, read_list

ROWS = ["file,subject,split", *(f"s/{n}.nii,{n},{'train' if n < 3 else 'heldout'}" for n in range(4))]
TEXT = "\n".join(ROWS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(4):
        write_nifti(tmp_path / "in" / "s" / f"{number}.nii", body(number))
    write_nifti(tmp_path / "in" / "s" / "J\u00f6rg.nii", body(5))
    write_nifti(tmp_path / "in" / "s" / "a, b.nii", body(6))
    (tmp_path / "in" / "circle.nii").symlink_to("circle.nii")
    return tmp_path / "in"


READ = {
    "comma at the end of rows": ("l.csv", "\n".join([ROWS[0], *(row + "," for row in ROWS[1:])]), "utf-8"),
    "comma at the end of all": ("l.csv", "\n".join(row + "," for row in ROWS), "utf-8"),
    "byte order mark": ("l.csv", TEXT, "utf-8-sig"),
    "UTF-16": ("l.csv", TEXT, "utf-16"),
    "semicolons": ("l.csv", TEXT.replace(",", ";"), "utf-8"),
    "semicolons, mark, UTF-16": ("L.CSV", TEXT.replace(",", ";"), "utf-16"),
    "tabs": ("l.tsv", TEXT.replace(",", "\t"), "utf-8"),
    "backslashes": ("l.csv", TEXT.replace("s/", "s\\"), "utf-8"),
    "empty rows": ("l.csv", TEXT + "\n,,\n\n,,\n", "utf-8"),
    "capitals": ("l.csv", TEXT.replace("file,subject,split", "FILE, Subject ,SPLIT"), "utf-8"),
    "a first line for Excel": ("l.csv", "sep=;\n" + TEXT.replace(",", ";"), "utf-8"),
    "a first line for Excel, mark": ("l.csv", "sep=;\r\n" + TEXT.replace(",", ";"), "utf-8-sig"),
    "line ends of Windows": ("l.csv", TEXT.replace("\n", "\r\n") + "\r\n", "utf-8"),
    "line ends of old Macs": ("l.csv", TEXT.replace("\n", "\r"), "utf-8"),
}


@pytest.mark.parametrize(("name", "text", "encoding"), READ.values(), ids=READ.keys())
def test_a_table_in_any_dress_is_read(folder: Path, name: str, text: str, encoding: str) -> None:
    (folder / name).write_bytes(text.encode(encoding))
    entries = read_list(folder / name)
    assert [entry.path.name for entry in entries] == ["0.nii", "1.nii", "2.nii", "3.nii"]
    assert [entry.subject for entry in entries] == ["0", "1", "2", "3"]
    assert [entry.split for entry in entries] == ["train"] * 3 + ["heldout"]


def test_names_with_umlauts_and_commas(folder: Path, tmp_path: Path) -> None:
    (folder / "l.csv").write_bytes('file,subject\ns/J\u00f6rg.nii,9\n"s/a, b.nii",8\n'.encode("cp1252"))
    assert len(volumes(prepared(folder / "l.csv", tmp_path / "out")[0])) == 2


def test_a_datalist_with_a_byte_order_mark(folder: Path) -> None:
    (folder / "l.json").write_bytes(
        b'\xef\xbb\xbf{"training": [{"image": "./s/0.nii"}], "test": ["s/1.nii"]}'
    )
    assert [entry.split for entry in read_list(folder / "l.json")] == ["train", "heldout"]


REFUSED = {
    "a comma in a path": ("s/a, b.nii,6,train", "line 2 has 4 cells, the header 3; put a path"),
    "a circle of links": ("circle.nii,1,train", "line 2, column file lists circle.nii, which does not exist"),
    "an endless name": ("x" * 5000 + ".nii,1,train", "xxx..., which does not exist (File name too long)"),
    "a zero byte": ("s/0\0.nii,1,train", "lists s/0\\x00.nii, which does not exist"),
    "a drive of Windows": ("C:\\scans\\0.nii,1,train", "lists C:\\scans\\0.nii, which does not exist"),
    "other letters": ("S/0.NII,1,train", "there is s/0.nii; correct the list"),
    "the same file": ("s/0.nii,1,train\n./s/../s/0.nii,1,train", "twice, line 2 and line 3"),
    "a subject on both sides": (
        "s/0.nii,1,train\ns/1.nii,1,heldout",
        "l.csv: subject '1' is listed for training",
    ),
    "an unknown split": ("s/0.nii,1,dev", "line 2 has the split 'dev'"),
    "a split for some": ("s/0.nii,1,train\ns/1.nii,2,", "line 3 has none"),
    "a subject for some": (
        "s/0.nii,1,train\ns/1.nii,,train",
        "a subject to only some scans (line 3 has none)",
    ),
    "a folder and a file in it": ("s,1,train\ns/0.nii,1,train", "names "),
}


@pytest.mark.parametrize(("rows", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_list_that_is_wrong_names_its_row(folder: Path, tmp_path: Path, rows: str, message: str) -> None:
    (folder / "l.csv").write_text(f"file,subject,split\n{rows}\n", encoding="utf-8")
    text = refusal(folder / "l.csv", tmp_path / "out")
    assert message in text
    assert str(folder / "l.csv") in text
    assert len(text) < 500


def test_a_column_that_is_there_twice_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "l.csv").write_text("file,file,subject\ns/0.nii,s/1.nii,a\ns/2.nii,s/3.nii,b\n")
    assert "l.csv: has two columns called file" in refusal(folder / "l.csv", tmp_path / "out")


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\xd0\xcf\x11\xe0"])
def test_a_spreadsheet_is_named_and_not_shown(folder: Path, tmp_path: Path, start: bytes) -> None:
    (folder / "l.csv").write_bytes(start + bytes(range(256)) * 4)
    text = refusal(folder / "l.csv", tmp_path / "out")
    assert "is a spreadsheet or an archive, not text; save the table as CSV" in text
    (folder / "l.csv").write_bytes(b"\x1b[31mred\x00\x07,b\n1,2\n")
    assert refusal(folder / "l.csv", tmp_path / "out").isprintable()


def test_subjects_of_a_datalist_are_told_apart_by_their_text(folder: Path) -> None:
    images = [{"image": f"s/{number}.nii", "subject": who} for number, who in enumerate((0, " 0", "1 ", 1))]
    (folder / "l.json").write_text(json.dumps({"training": images}))
    assert [entry.subject for entry in read_list(folder / "l.json")] == ["0", "0", "1", "1"]


def test_no_list_of_a_datalist_is_lost(folder: Path, tmp_path: Path) -> None:
    first, second = [{"image": "s/0.nii"}], [{"image": "s/1.nii"}]
    (folder / "l.json").write_text(json.dumps({"Training": first, "TEST": second}))
    assert [entry.split for entry in read_list(folder / "l.json")] == ["train", "heldout"]
    (folder / "l.json").write_text(json.dumps({"training": first, "fold1": second, "labels": {"0": "air"}}))
    text = refusal(folder / "l.json", tmp_path / "out")
    assert "has a list of scans called 'fold1', which is not a split; call it one of train" in text
    (folder / "l.json").write_text('{"training": ["s/0.nii"], "training": ["s/1.nii"]}')
    assert "it has 'training' twice" in refusal(folder / "l.json", tmp_path / "out")


@pytest.mark.parametrize(
    "other",
    [["s/1.nii"], [["s/1.nii"]], {"training": ["s/1.nii"]}, {"a": [{"Image": "s/1.nii"}]}, [{"t1": "x"}]],
)
def test_no_list_of_a_datalist_is_lost_in_any_form(folder: Path, other: object) -> None:
    content = {"training": [{"t1": "s/0.nii"}], "file_ending": ".nii.gz", "labels": ["air", "liver"]}
    (folder / "l.json").write_text(json.dumps(content))
    assert len(read_list(folder / "l.json", Columns(("t1",)))) == 1
    (folder / "l.json").write_text(json.dumps({**content, "unlabelled": other}))
    with pytest.raises(VoxflateError, match="has a list of scans called 'unlabelled', which is not a split"):
        read_list(folder / "l.json", Columns(("t1",)))
