"""Where commands refuse to write: in a prepared set, and where no file can be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.calls import refused, voxflate
from tests.strategies import run_config, write_prepared
from voxflate.config.toml import save_config
from voxflate.data.writers.nifti import write_nifti
from voxflate.training.run import train_run

COMMANDS = {
    "prepare": ("prepare", "scans"),
    "pretrain": ("pretrain", "set", "--config", "flat", "--out"),
    "train": ("train", "set", "--config", "run", "--out"),
    "inflate": ("inflate", "flat", "--out"),
    "generate": ("generate", "run", "-n", "1", "--out"),
    "export": ("export", "run", "--out"),
    "export-onnx": ("export", "run", "--to", "onnx", "--out"),
    "export-hub": ("export", "run", "--to", "hub", "--out"),
    "evaluate": ("evaluate", "run", "--out"),
    "audit": ("audit", "run", "--out"),
    "utility": ("utility", "run", "--out"),
    "evaluate-volumes": ("evaluate", "volumes", "--data", "set", "--out"),
    "audit-volumes": ("audit", "volumes", "--data", "set", "--out"),
    "compare": ("compare", "run", "--out"),
    "result": ("result", "run", "--out"),
    "demo": ("demo", "--out"),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scans, a prepared set, another method's volumes of it, a 2D run and a 3D run."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "scans").mkdir()
    prepared = write_prepared(folder / "set")
    write_nifti(folder / "volumes" / "one.nii.gz", prepared.volumes("train", [0])[0, 0], prepared)
    for name, phase in (("run", "3d"), ("flat", "2d")):
        train_run(run_config(prepared, training__phase=phase, training__kimg=0.004), folder / name)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("where", ["set", "set/new", "set/new/deeper", "link/new"])
def test_no_command_writes_into_a_prepared_set(
    command: str, where: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("set", "run", "flat", "scans", "volumes"):
        shutil.copytree(home / name, tmp_path / name)
    (tmp_path / "link").symlink_to(tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    before = files(tmp_path / "set")
    line = refused(*COMMANDS[command], where)
    assert "the prepared set" in line or "already exists and is not an empty folder" in line
    assert files(tmp_path / "set") == before


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("evaluate", ("report.html", "table.md", "table.tex", "samples.npz", "metrics.json")),
        ("audit", ("audit.json", "audit-pairs.npz")),
        ("compare", ("report.html", "table.md", "table.tex")),
    ],
)
def test_files_of_the_user_are_kept(
    command: str, names: tuple[str, ...], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    for name in names:
        (tmp_path / name).mkdir()
        mine = tmp_path / name / name
        mine.write_text("mine")
        assert f"{mine}: already exists and is kept" in refused(*COMMANDS[command], mine.parent)
        assert mine.read_text() == "mine"


@pytest.mark.parametrize("command", ["train", "inflate", "generate", "export"])
@pytest.mark.parametrize("where", ["/proc/new", "/dev/null/new", "a file/new"])
def test_a_place_that_takes_no_files_is_one_line_with_the_next_step(
    command: str, where: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    (tmp_path / "a file").touch()
    place = where if where.startswith("/") else tmp_path / where
    result = voxflate(*COMMANDS[command], place)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"voxflate: {place}")
    assert "cannot be written" in line
    assert "choose another" in line


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (("export", "run", "--to", "html", "--out"), "page.html"),
        (("invert", "scan.nii.gz", "run", "--out"), "x.nii"),
    ],
)
def test_commands_that_write_a_file_look_at_its_place_before_the_work(
    command: tuple[str, ...],
    name: str,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for folder in ("set", "run"):
        shutil.copytree(home / folder, tmp_path / folder)
    shutil.copyfile(home / "volumes" / "one.nii.gz", tmp_path / "scan.nii.gz")
    monkeypatch.chdir(tmp_path)
    before = files(tmp_path / "set")
    assert "lies in the prepared set" in refused(*command, f"set/new/{name}")
    assert files(tmp_path / "set") == before
    monkeypatch.setattr("voxflate.runs.load.Source.load", lambda *_, **__: pytest.fail("this is the work"))
    line = refused(*command, f"/proc/{name}")
    assert line.startswith(f"voxflate: /proc/{name}: cannot be written")
    assert "choose another" in line


def test_names_are_not_lost_after_the_work(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "new"
    write_prepared(tmp_path / "set")
    arguments = ("prepare", home / "volumes", out, "--recipe", "mr", "--shape", "4,8,8", "--names")
    assert "/proc/names.csv: cannot be written" in refused(*arguments, "/proc/names.csv")
    assert not out.exists()
    assert list(tmp_path.glob(".tmp*")) == []


def test_a_run_that_is_in_a_prepared_set_already_can_be_resumed(tmp_path: Path) -> None:
    prepared = write_prepared(tmp_path / "elsewhere")
    config = run_config(prepared, training__kimg=0.004)
    train_run(config, tmp_path / "run")
    (tmp_path / "run").rename(prepared.root / "run")
    save_config(config, prepared.root / "run")
    more = run_config(prepared, training__kimg=0.008)
    assert train_run(more, prepared.root / "run", resume=True) is None
