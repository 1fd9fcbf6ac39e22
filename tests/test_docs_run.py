"""Every block of shell and Python in the documentation runs, or a comment before it says why not.

A page's blocks run in order in a folder that has what a reader has by then: scans, prepared sets, runs, an
export. Trainings get tiny budgets; everything else runs as it stands.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from voxflate.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?:<!-- (not run\b[^\n]*?) -->\n)?```(sh|bash|console|python)\n(.*?)```", flags=re.DOTALL
)
SETTINGS = (
    "training.batch=4",
    "training.kimg=0.008",
    "training.snapshot_kimg=0.008",
    "training.precision=fp32",
    "training.threads=1",
    "evaluation.samples=6",
    "evaluation.extractor=random",
)
TINY = [
    word
    for setting in (*SETTINGS, "network.channels=8", "network.mapping_layers=2")
    for word in ("--set", setting)
]
QUICKER = {
    "pretrain": TINY,
    "train": TINY,
    "evaluate": ["--replicates", "5", "--no-tsne"],
    "audit": ["--allow", "1"],  # scans of noise look alike to the audit
    "invert": ["--steps", "2"],
}
"""Command -> words that make it short."""


class Block(NamedTuple):
    """A fenced block: why it does not run (empty if it does), its language, its text."""

    reason: str
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in BLOCK.findall(page.read_text(encoding="utf-8"))]


RUN = [page for page in PAGES if any(not block.reason for block in blocks(page))]
OF_PAIRS = [page for page in RUN if any("pairs" in block.text and not block.reason for block in blocks(page))]
SLOW = [ROOT / "README.md", *OF_PAIRS]  # the README's commands run in test_end_to_end.py too


def voxflate(*words: object) -> None:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, f"{shlex.join(map(str, words))}\n{result.output}"


def write_scans(folder: Path, masks: bool) -> None:
    """Twenty subjects, so that two are held out; with masks a second folder, and a table of labels."""
    rng, affine = np.random.default_rng(0), np.diag([2.0, 2, 4, 1])
    for name in ("images", "labels") if masks else ("",):
        (folder / name).mkdir(parents=True)
    rows = ["participant_id\tsex\tage"]
    for subject in range(20):
        name, voxels = f"s{subject}.nii.gz", rng.random((16, 16, 8), dtype=np.float32)
        nib.save(nib.Nifti1Image(voxels, affine), folder / ("images" if masks else "") / name)
        if masks:
            inside = np.zeros(voxels.shape, np.uint8)
            inside[4:10, 4 : 8 + subject % 3, 2:6] = 1
            nib.save(nib.Nifti1Image(inside, affine), folder / "labels" / name)
        rows.append(f"s{subject}\t{'FM'[subject % 2]}\t{40 + 2 * subject}")
    if masks:
        (folder / "participants.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def make_home(folder: Path, masks: bool) -> Path:
    """What readers have by then: scans, data, runs and exports, of brains or of pairs."""
    kind, suffix = ("pairs", "-pairs") if masks else ("brains", "")
    write_scans(folder / "scans", masks)
    data, flat = folder / "data" / kind, folder / "runs" / f"2d{suffix}"
    deep = folder / "runs" / ("pairs" if masks else "3d")
    channels = ["--mask", "labels/*", "--label", "sex", "--label", "age"] if masks else []
    voxflate("prepare", folder / "scans", data, "--shape", "8,16,16", *channels)
    voxflate("pretrain", data, "--out", flat, *TINY)
    voxflate("train", data, "--start", flat, "--out", deep, *TINY)
    voxflate("export", deep, "--out", folder / "brains-generator")
    if not masks:
        shutil.copy(folder / "scans" / "s5.nii.gz", folder / "new-patient.nii.gz")
    return folder


@pytest.fixture(scope="module")
def home_of_brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("brains"), masks=False)


@pytest.fixture(scope="module")
def home_of_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("pairs"), masks=True)


def furnish(folder: Path, home: Path, page: Path) -> None:
    """Copy what the page takes for granted, and leave out what it makes itself."""
    run = "\n".join(block.text for block in blocks(page) if not block.reason)
    made = set(re.findall(r"(?:--out|prepare scans/) (\S+)", run))
    given = [path for name in ("data", "runs") for path in (home / name).iterdir()]
    for path in (*given, *(path for path in home.iterdir() if path.name not in ("data", "runs"))):
        name = path.relative_to(home)
        if str(name) not in made:
            (folder / name).parent.mkdir(exist_ok=True)
            copy = shutil.copytree if path.is_dir() else shutil.copy
            copy(path, folder / name)
    for name, text in re.findall(r"```toml\n# (\S+)\n(.*?)```", page.read_text("utf-8"), flags=re.DOTALL):
        (folder / name).write_text(text, encoding="utf-8")


def run_shell(text: str) -> None:
    lines = text.replace("\\\n", " ").splitlines()
    for words in filter(None, (shlex.split(line, comments=True) for line in lines)):
        assert words[0] == "voxflate", f"{shlex.join(words)}: cannot run in a test; say why before its block"
        dry = "--dry-run" in words
        voxflate(*words[1:], *([] if dry else QUICKER.get(words[1], [])))


def run_page(page: Path, home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    furnish(folder, home, page)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    for block in blocks(page):
        if block.reason:
            continue
        if block.language == "python":
            exec(compile(block.text, page.name, "exec"), names)
        else:
            run_shell(block.text)


@pytest.mark.parametrize("page", [page for page in RUN if page not in SLOW], ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(
    page: Path, home_of_brains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_page(page, home_of_brains, tmp_path, monkeypatch)


@pytest.mark.slow
def test_the_blocks_of_the_readme_run(
    home_of_brains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_page(ROOT / "README.md", home_of_brains, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("page", OF_PAIRS, ids=lambda page: page.stem)
def test_the_blocks_about_pairs_run(
    page: Path, home_of_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(home_of_pairs / "runs" / "pairs", tmp_path / "runs" / "3d")  # where a page has both
    run_page(page, home_of_pairs, tmp_path, monkeypatch)


def test_a_reason_is_more_than_a_word() -> None:
    reasons = [(page.name, block.reason) for page in PAGES for block in blocks(page) if block.reason]
    assert reasons
    for name, reason in reasons:
        assert re.fullmatch(r"not run( here)?: .{5,}", reason), f"{name}: {reason}"


def test_a_block_that_cannot_run_and_does_not_say_so_is_found() -> None:
    with pytest.raises(AssertionError, match="say why before its block"):
        run_shell("make demo")
