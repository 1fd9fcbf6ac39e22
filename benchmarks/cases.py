"""Prepares every folder and list of a collection of odd inputs, and checks that each ends well.

    python -m benchmarks.cases FOLDER [--only 23] [--verbose]

FOLDER has scripts that write their inputs into a given folder (`python NN-name.py OUT`), or such inputs
already written (NN-name/situation). Every situation is prepared. It ends well if there is a set, or one
line that names a path; if every file below the situation is in the account, used or left out with a reason;
and if the volumes equal those of the situation called `ref` beside it, if there is one. As root, situations
with unreadable files are prepared as another user.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from benchmarks.arguments import parser_of
from typer.testing import CliRunner

from voxflate.cli import app
from voxflate.data.prepared import PreparedSet, open_prepared
from voxflate.data.sources.lists import LISTS

SHAPE = "8,16,16"
REFERENCES = ("ref",)
NOBODY = 65534
OPTIONS = {"18-hu-lost": ["--recipe", "ct"], "31-crop": ["--crop"]}
"""Case -> recipe, if its files do not tell."""


@dataclass
class Outcome:
    """The outcome of a situation.

    Attributes:
        status: Exit status.
        text: What the command said, without progress.
        prepared: The set, if there is one.
        faults: Its faults.
    """

    status: int
    text: str
    prepared: PreparedSet | None = None
    faults: list[str] = field(default_factory=list)

    @property
    def line(self) -> str:
        """The outcome on one line."""
        if self.prepared is None:
            return next(iter(self.text.splitlines()), "")
        counts = [len(self.prepared.stored(split)) for split in ("train", "heldout")]
        files = self.prepared.manifest.files
        return f"{counts[0]}+{counts[1]} volumes, {files['used']} of {files['seen']} files"


def situations(folder: Path) -> Iterator[Path]:
    """Folders and lists in a case's folder, references first."""
    found = [one for one in sorted(folder.iterdir()) if one.is_dir() or one.suffix in LISTS]
    yield from sorted(found, key=lambda one: one.name not in REFERENCES)


def recipe_of(folder: Path) -> str:
    """The recipe for a situation by its DICOM files; mr for all others."""
    import pydicom

    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        try:
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=["Modality"])
        except Exception:
            continue
        if header.get("Modality"):
            return "ct" if header.Modality == "CT" else "mr"
    return "mr"


@contextlib.contextmanager
def without_privileges(wanted: bool) -> Iterator[None]:
    """If this is root, become a user who cannot read everything."""
    if not wanted or os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def run(source: Path, out: Path, options: list[str]) -> Outcome:
    """Prepare a situation and check for faults that any situation can have."""
    words = ["prepare", str(source), str(out), "--shape", SHAPE, *options]
    with warnings.catch_warnings(record=True) as warned, contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("always")
        result = CliRunner().invoke(app, words)
    outcome = Outcome(result.exit_code, result.stderr + result.stdout)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        trace = "".join(traceback.format_exception(result.exception)[-2:])
        outcome.faults.append(f"traceback: {trace}")
    elif result.exit_code == 0:
        outcome.prepared = open_prepared(out)
        outcome.faults += _check_account(source, outcome.prepared)
    elif "\n" in result.stderr.strip() or not result.stderr.startswith("voxflate: "):
        outcome.faults.append("the refusal is not one line")
    if warned:
        outcome.faults.append(f"warning: {warned[0].message}")
    return outcome


def _check_account(source: Path, prepared: PreparedSet) -> list[str]:
    """Check that every file is used or left out, and that folders not searched are listed."""
    files = prepared.manifest.files
    faults = []
    if files["used"] + sum(row["files"] for row in files["left_out"]) != files["seen"]:
        faults.append(f"the account does not add up: {files}")
    unknown = [row for row in files["left_out"] if row["reason"].startswith("not part of")]
    if unknown:
        faults.append(f"files left out without a reason: {unknown}")
    if source.is_dir() and not files["folders"]:
        there = sum(len(names) for _, _, names in os.walk(source, followlinks=True))
        if there != files["seen"]:
            faults.append(f"{there} files are there, {files['seen']} were seen")
    return faults


def differs(one: PreparedSet, reference: PreparedSet) -> str:
    """Tell on a separate line by how much the first volumes of two sets differ; empty if they do not."""
    first, second = (each.volumes("all")[0, 0] for each in (one, reference))
    apart = float(np.abs(first - second).max())
    spacing = np.abs(np.array(one.spacing) / reference.spacing - 1).max()
    if apart <= 0.02 and spacing <= 0.01:
        return ""
    return f"\n(differs from ref by {apart:.2g}, spacing by {spacing:.1%})"


def main() -> None:
    """Print the outcome of every situation; exit status 1 if one has a fault."""
    parser = parser_of(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="cases whose name starts with this")
    parser.add_argument("--verbose", action="store_true", help="print the command's whole output")
    arguments = parser.parse_args()
    bad = count = 0
    with tempfile.TemporaryDirectory(prefix="voxflate-cases-") as scratch:
        os.chmod(scratch, 0o777)
        codecs.lookup("unicode-escape")  # for the report's templates: user nobody may be unable to load it
        salt = Path(scratch) / "salt"
        salt.write_text("a salt that anybody may read")
        os.environ["VOXFLATE_SALT_FILE"] = str(salt)
        for case in sorted(arguments.folder.iterdir()):
            if not case.name.startswith(arguments.only):
                continue
            folder = case
            if case.suffix == ".py":
                folder = Path(scratch) / case.stem
                subprocess.run([sys.executable, str(case), str(folder)], check=True)
            if not folder.is_dir():
                continue
            reference: PreparedSet | None = None
            for number, situation in enumerate(situations(folder)):
                out = Path(scratch) / f"set-{count}-{number}"
                options = OPTIONS.get(case.stem) or ["--recipe", recipe_of(situation)]
                with without_privileges("unreadable" in case.name):
                    outcome = run(situation, out, options)
                if situation.name in REFERENCES:
                    reference = outcome.prepared
                elif reference is not None and outcome.prepared is not None:
                    outcome.text += differs(outcome.prepared, reference)
                count, bad = count + 1, bad + bool(outcome.faults)
                print(f"{case.stem}/{situation.name}: {outcome.status} {outcome.line}")
                shown = outcome.text.splitlines()[1 if outcome.prepared is None else 0 :]
                for line in [
                    *(f"FAULT {one}" for one in outcome.faults),
                    *(shown if arguments.verbose else ()),
                ]:
                    print(f"    {line}")
    print(f"{count - bad} of {count} situations ended without a fault")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
