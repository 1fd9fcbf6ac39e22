"""No name, number, date or UID of a patient in any file that the commands write."""

import gzip
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from voxflate._system.errors import VoxflateError
from voxflate.cli import app
from voxflate.data.prepared import open_prepared
from voxflate.data.preparing.prepare import prepare
from voxflate.data.sources.names import SALT_FILE, Pseudonyms, load_salt, salt_path

SECRETS = {
    "PatientName": "ZWIEBELFISCH^ANNA",
    "PatientID": "MRN4711-0815",
    "PatientBirthDate": "19510304",
    "StudyDate": "20190827",
    "SeriesDate": "20190828",
    "AcquisitionDateTime": "20190829101112",
    "InstitutionName": "KRANKENHAUS-AM-SEE",
    "ReferringPhysicianName": "DOKTOR^HIOB",
    "AccessionNumber": "ACC998877",
    "StudyInstanceUID": "1.2.826.0.1.99999.1234567",
    "StudyDescription": "SCHAEDEL-VERLAUF",
}
SERIES = "1.2.826.0.1.99999.7654321"
WORDS = [*SECRETS.values(), SERIES, "ZWIEBELFISCH", "zwiebelfisch", "OTTOKAR", "MRN4711", "20190827"]
TINY = [
    word
    for setting in (
        "training.batch=4", "training.kimg=0.008", "training.precision=fp32", "network.channels=8",
        "network.mapping_layers=2", "evaluation.every=0",
    )
    for word in ("--set", setting)
]  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, unpacked too, and its name."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".gz":
                content += gzip.decompress(content)
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    content += b"".join(archive.read(name) for name in archive.namelist())
            found[str(path.relative_to(folder))] = content
    return found


def check_nobody_is_named(folder: Path) -> None:
    found = contents(folder)
    assert found
    for name, content in found.items():
        for word in WORDS:
            assert word not in name
            assert word.encode() not in content, f"{word} in {name}"
            assert word.encode("utf-16-le") not in content, f"{word} in {name}"


@pytest.fixture
def pacs(tmp_path: Path, write_series: Callable[..., Any]) -> Path:
    """Scans of named people, good ones and such that are refused with what their headers say."""
    root = tmp_path / "ZWIEBELFISCH" / "pacs"
    rng = np.random.default_rng(0)

    def series(name: str, **elements: Any) -> list[Path]:
        array = rng.integers(-1000, 1000, (8, 16, 16))
        told = {**SECRETS, "SeriesInstanceUID": SERIES, **elements}
        paths: list[Path] = write_series(root / name, array, **told)
        return paths

    series("ZWIEBELFISCH^ANNA_19510304")
    for number in range(4):
        series(f"OTTOKAR{number}", PatientID=f"OTTOKAR{number}", SeriesInstanceUID=f"{SERIES}.{number}")
    series("mr", Modality="MR", SeriesInstanceUID=f"{SERIES}.7")
    series("odd", Modality="OTTOKAR", SeriesInstanceUID=f"{SERIES}.8")
    series("channels", PhotometricInterpretation="ZWIEBELFISCH", SeriesInstanceUID=f"{SERIES}.9")
    series("twice", ImagePositionPatient=[0, 0, 0], SeriesInstanceUID=f"{SERIES}.10")
    (root / "ZWIEBELFISCH.dcm").write_bytes(b"\0" * 128 + b"DICM OTTOKAR")
    image = nib.Nifti1Image(rng.integers(-1000, 1000, (16, 16, 8)).astype(np.int16), np.diag([2.0, 2, 4, 1]))
    image.header["descrip"] = b"ZWIEBELFISCH^ANNA 20190827"
    image.header["intent_name"] = b"MRN4711"
    image.to_filename(root / "sub-OTTOKAR_MRN4711.nii.gz")
    (root / "20190827.nii").write_bytes(b"OTTOKAR")
    return root


def voxflate(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout + result.stderr


def test_nobody_is_named_in_any_file_that_is_written(pacs: Path, tmp_path: Path) -> None:
    data, runs = tmp_path / "made" / "set", tmp_path / "made" / "runs"
    options = ("--recipe", "ct", "--shape", "8,16,16", "--skip-bad", "--names", tmp_path / "names.csv")
    shown = voxflate("prepare", pacs, data, *options)
    assert shown.count("left out: ") == 6
    assert "ZWIEBELFISCH" in shown  # the terminal says which file it is
    assert len(open_prepared(data).manifest.scans) == 6
    assert len(open_prepared(data).manifest.left_out) == 6
    voxflate("pretrain", data, "--out", runs / "2d", *TINY)
    voxflate("train", data, "--start", runs / "2d", "--out", runs / "3d", *TINY)
    voxflate("generate", runs / "3d", "-n", 2, "--out", tmp_path / "made" / "nifti")
    voxflate("generate", runs / "3d", "-n", 2, "--out", tmp_path / "made" / "dicom", "--format", "dicom")
    check_nobody_is_named(tmp_path / "made")
    names = (tmp_path / "names.csv").read_text()
    assert not (tmp_path / "names.csv").stat().st_mode & 0o077
    for scan in (*open_prepared(data).manifest.scans, *open_prepared(data).manifest.left_out):
        assert scan.scan in names


def test_nor_in_what_an_interruption_leaves(pacs: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(pacs, tmp_path / "made" / "set", "ct", (8, 16, 16), progress=stop, refuse=lambda error: None)
    check_nobody_is_named(tmp_path / "made")


def test_a_person_has_the_same_pseudonym_in_every_set_of_one_salt(pacs: Path, tmp_path: Path) -> None:
    def subjects(out: str, salt: bytes, seed: int = 0) -> set[str]:
        prepared = prepare(
            pacs, tmp_path / out, "ct", (8, 16, 16), seed=seed, refuse=lambda error: None, salt=salt
        )
        return {scan.subject for scan in prepared.manifest.scans}

    first = subjects("a", b"a secret of sixteen bytes")
    assert first == subjects("b", b"a secret of sixteen bytes", seed=7)
    assert not first & subjects("c", b"another secret of sixteen bytes")
    assert len(first) == 6


def test_the_salt_is_made_once_for_the_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SALT_FILE, str(tmp_path / "mine" / "salt"))
    salt = load_salt()
    assert salt == load_salt() != load_salt(tmp_path / "other")
    assert (tmp_path / "mine" / "salt").stat().st_mode & 0o077 == 0
    assert len(salt) == 64
    assert "secret" not in repr(Pseudonyms(b"secret"))
    (tmp_path / "short").write_text("abc")
    with pytest.raises(VoxflateError, match="the salt has 3 bytes, at least 16"):
        load_salt(tmp_path / "short")
    with pytest.raises(VoxflateError, match="salt cannot be read"):
        load_salt(tmp_path / "short" / "salt")


def test_the_table_of_names_stays_outside_the_set(pacs: Path, tmp_path: Path) -> None:
    wrong = {tmp_path / "set" / "names.csv": "put --names elsewhere", pacs / "20190827.nii": "exists"}
    for path, message in wrong.items():
        with pytest.raises(VoxflateError, match=message):
            prepare(pacs, tmp_path / "set", "ct", (8, 16, 16), refuse=lambda error: None, names_file=path)
    assert not (tmp_path / "set").exists()


def test_names_and_salt_stay_outside_every_set(pacs: Path, tmp_path: Path) -> None:
    def again(**settings: Any) -> None:
        prepare(pacs, tmp_path / "b", "ct", (8, 16, 16), refuse=lambda error: None, **settings)

    other = prepare(pacs, tmp_path / "a", "ct", (8, 16, 16), refuse=lambda error: None).root
    before = sorted(other.iterdir())
    with pytest.raises(VoxflateError, match="csv: lies in the prepared set"):
        again(names_file=other / "names.csv")
    with pytest.raises(VoxflateError, match="salt: lies in the prepared set"):
        load_salt(other / "salt")
    with pytest.raises(VoxflateError, match="would put the salt inside the prepared set"):
        load_salt(tmp_path / "b" / "salt", tmp_path / "b")
    assert sorted(other.iterdir()) == before
    options = ("--recipe", "ct", "--shape", "8,16,16", "--salt-file", tmp_path / "b" / "salt")
    shown = CliRunner().invoke(app, [str(word) for word in ("prepare", pacs, tmp_path / "b", *options)])
    assert "would put the salt inside" in " ".join((shown.stdout + shown.stderr).split())
    assert not (tmp_path / "b").exists()


def test_a_salt_in_the_place_of_earlier_versions_stays_valid(tmp_path, monkeypatch):
    """Where the system's folder is another one (macOS): a new salt would change every pseudonym."""
    for variable in (SALT_FILE, "XDG_CONFIG_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    library = tmp_path / "Library" / "Application Support" / "voxflate"
    monkeypatch.setattr("voxflate._system.files.user_config_path", lambda name: library)
    assert salt_path() == library / "salt"
    before = tmp_path / ".config" / "voxflate" / "salt"
    salt = load_salt(before)
    assert salt_path() == before
    assert load_salt() == salt
    assert not library.exists()


def test_on_linux_the_salt_stays_where_it_was(tmp_path, monkeypatch):
    for variable in (SALT_FILE, "XDG_CONFIG_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    if sys.platform == "linux":
        assert salt_path() == tmp_path / ".config" / "voxflate" / "salt"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "mine"))
    (tmp_path / "mine" / "voxflate").mkdir(parents=True)
    assert salt_path() == tmp_path / "mine" / "voxflate" / "salt"
