"""The output of the command: closed, full, or read by a shell that completes words."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import voxflate
from tests.cli import calls
from tests.strategies import write_prepared
from voxflate.config.schema import RunConfig
from voxflate.config.toml import save_config

SOURCE = Path(voxflate.__file__).parents[1]


def shell(script: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    (home / "bin").mkdir(exist_ok=True)
    program = home / "bin" / "voxflate"
    program.write_text(f"#!{sys.executable}\nfrom voxflate.cli import main\nmain()\n")
    program.chmod(0o755)
    path = f"{home / 'bin'}:{os.environ['PATH']}"
    surroundings = {**os.environ, "PYTHONPATH": str(SOURCE), "HOME": str(home), "PATH": path, **variables}
    return subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        cwd=home,
        env=surroundings,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("words", ["presets", "presets --keys", "--help", "params --help"])
def test_a_reader_that_has_seen_enough_ends_it_quietly(words: str, tmp_path: Path) -> None:
    # A reader that ends before anything is written: head -1 may be quick enough to read all.
    done = shell(f"voxflate {words} | true; voxflate {words} | head -1", tmp_path)
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.parametrize("words", ["presets", "presets --keys", "--help", "--version"])
def test_a_full_disk_is_one_line(words: str, tmp_path: Path) -> None:
    done = shell(f"voxflate {words} > /dev/full", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("voxflate: the output cannot be written (No space left on device)")
    assert len(done.stderr.splitlines()) == 1


def test_names_of_any_bytes_are_printed(tmp_path: Path) -> None:
    words = "voxflate generate brains-16 -n 1 --out $'new\\xff'"
    done = shell(words, tmp_path, PYTHONIOENCODING="utf-8:strict")
    assert done.returncode == 0, done.stderr
    assert r"new\udcff: sample-0000.nii.gz" in done.stdout


def test_brackets_in_paths_are_not_markup(tmp_path: Path) -> None:
    prepared = write_prepared(tmp_path / "set [old]" / "a[" / "b]")
    shown = calls.voxflate("verify", "brains-16", "--data", prepared.root)
    assert shown.exit_code == 1, shown.output
    assert f"{prepared.root} has sha256" in shown.stdout


def test_a_closed_output_is_no_traceback(tmp_path: Path) -> None:
    done = shell("voxflate presets >&-", tmp_path)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1


def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    complete = (
        'eval "$(voxflate --completion bash)"; COMP_WORDS=({}); COMP_CWORD={}; '
        '_voxflate_completion voxflate; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = shell(complete.format("voxflate pre", 1), tmp_path)
    assert done.stdout.split() == ["prepare", "pretrain", "presets"]
    assert done.stderr == ""
    done = shell(complete.format("voxflate generate --trunc", 2), tmp_path)
    assert done.stdout.split() == ["--truncation"]


@pytest.mark.parametrize(("name", "sign"), [("zsh", "compdef"), ("fish", "complete --command voxflate")])
def test_other_shells_have_a_script_that_asks_the_command(name: str, sign: str, tmp_path: Path) -> None:
    done = shell(f"voxflate --completion {name}", tmp_path)
    assert sign in done.stdout
    assert f"_VOXFLATE_COMPLETE=complete_{name}" in done.stdout
    answered = shell(
        "voxflate",
        tmp_path,
        _VOXFLATE_COMPLETE=f"complete_{name}",
        _TYPER_COMPLETE_ARGS="voxflate pretr",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )
    assert "pretrain" in answered.stdout


def test_an_unknown_shell_is_one_line(tmp_path: Path) -> None:
    done = shell("voxflate --completion tcsh", tmp_path)
    assert done.stderr == "voxflate: --completion tcsh: choose one of bash, zsh, fish\n"
    assert (done.returncode, done.stdout) == (2, "")
    done = shell("voxflate", tmp_path, _VOXFLATE_COMPLETE="complete_tcsh")
    assert len(done.stderr.splitlines()) == 1
    assert done.returncode != 0


def next_command(shown: str) -> list[str]:
    (line,) = [one for one in shown.splitlines() if one.startswith("next: voxflate ")]
    return shlex.split(line)[2:]


@pytest.mark.parametrize(
    "given", [(), ("--preset", "coca64-split-shuffle-inflate-1@bench", "--set", "network.channels=12")]
)
def test_the_next_command_can_be_pasted_and_fits(
    given: tuple[str, ...],
    trainings: list[tuple[RunConfig, Path, bool]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = calls.voxflate("pretrain", "my data", "--out", "it's 2D [v1]", *given)
    assert shown.exit_code == 0, shown.output
    twin, out, _ = trainings[-1]
    save_config(twin, out)
    words = next_command(shown.stdout)
    assert words[:5] == ["train", str(tmp_path / "my data"), "--start", "it's 2D [v1]", *words[4:5]]
    config = calls.resolved(*words)
    assert config.preset == twin.preset
    assert config.network == twin.network
    shown = calls.voxflate(*words)
    assert shown.exit_code == 0, shown.output
    assert next_command(shown.stdout) == ["generate", "runs/3d", "-n", "20", "--out", "new-scans"]
    shown = calls.voxflate(
        "train", "my data", "--out", "it's & mine", *given[:2], "--set", "start.strategy=none"
    )
    assert next_command(shown.stdout)[1] == "it's & mine"


def test_a_command_that_is_ended_leaves_no_unfinished_folder(tmp_path: Path) -> None:
    script = """voxflate generate brains-16 -n 5000 --out new & for _ in $(seq 600); do
        sleep 0.1; compgen -G '.tmp-*/sample-0000.nii.gz' && break; done; kill -TERM $!; wait $!"""
    done = shell(script, tmp_path)
    assert done.returncode == 130
    assert "voxflate: interrupted" in done.stderr.splitlines()
    assert "sample-0000" in done.stdout
    assert [path.name for path in tmp_path.iterdir() if "tmp" in path.name or path.name == "new"] == []
