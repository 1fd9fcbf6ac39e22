"""Checks that the package is ready for an index: builds it, and runs the wheel in a fresh environment.

    python -m benchmarks.wheel [--keep FOLDER]

Builds sdist and wheel with `python -m build`, checks both with `twine check --strict`, and checks that the
wheel has the templates and the parts of the page. Then creates an environment that sees the packages of this
one but not this checkout, installs the wheel there, and uses only the installed package: volumes of
the included generator, a cohort, a short 2D and 3D run, volumes of that run, an export
as a page. Prints one line per step, with seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.arguments import parser_of

ROOT = Path(__file__).parents[1]
NEEDED = (
    "voxflate/generators/brains-16/generator.safetensors",
    "voxflate/py.typed",
    "voxflate/nn/fused/kernels.cpp",
    "voxflate/nn/fused/winograd.cpp",
    "voxflate/reports/templates/report.html",
    "voxflate/sharing/templates/card.jinja",
    "voxflate/sharing/web/app.js.xz",
    "voxflate/sharing/web/licences.txt",
    "voxflate/sharing/web/page.html",
    "voxflate/sharing/web/runtime.wasm.xz",
)
"""Files of the wheel that are not imported."""
TINY = ("training.batch=4", "training.kimg=0.008", "network.channels=8", "evaluation.every=0")
_SETTINGS = [word for setting in TINY for word in ("--set", setting)]

COHORT = """
from voxflate.data.synthetic.cohort import make_cohort
make_cohort("scans", n=6, shape=(16, 16, 16), seed=0)
"""
ELSEWHERE = "import voxflate, sys; sys.exit(not voxflate.__file__.startswith(sys.prefix))"
COMMANDS = (
    ("--version",),
    ("generate", "brains-16", "-n", "4", "--out", "new"),
    ("prepare", "scans", "set", "--recipe", "adni", "--shape", "16,16,16"),
    ("pretrain", "set", "--out", "2d", *_SETTINGS),
    ("train", "set", "--start", "2d", "--out", "3d", *_SETTINGS),
    ("generate", "3d", "-n", "4", "--out", "own"),
    ("export", "3d", "--to", "html", "--out", "page.html"),
    ("verify", "3d"),
)


def missing(names: Sequence[str]) -> list[str]:
    """Required files that are not among these names."""
    return [name for name in NEEDED if name not in names]


def build(folder: Path) -> Path:
    """Build sdist and wheel, check them, and return the wheel."""
    step("build", [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)])
    step(
        "twine check",
        [sys.executable, "-m", "twine", "check", "--strict", *map(str, sorted(folder.iterdir()))],
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        if lacking := missing(archive.namelist()):
            sys.exit(f"{wheel.name}: lacks {', '.join(lacking)}")
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB", flush=True)
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """Install the wheel into a new environment with this one's dependencies; return its Python."""
    step("environment", [sys.executable, "-m", "venv", "--without-pip", str(folder)])
    python = folder / "bin" / "python"
    packages = Path(run_python(python, "import site; print(site.getsitepackages()[0])").strip())
    # Paths of a .pth file come after the environment's own packages, so the wheel hides the checkout.
    shared = [path for path in sys.path if Path(path).name == "site-packages"]
    (packages / "shared.pth").write_text("\n".join(shared) + "\n", encoding="utf-8")
    step("install", [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps",
                     "--no-index", "--ignore-installed", str(wheel)])  # fmt: skip
    return python


def run_python(python: Path, code: str) -> str:
    """The output of a line of Python in an environment."""
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd="/").stdout


def try_out(python: Path, folder: Path) -> None:
    """Run the installed package in an empty folder, away from the checkout."""
    step("from the wheel", [str(python), "-c", ELSEWHERE], folder)
    step("cohort", [str(python), "-c", COHORT], folder)
    for command in COMMANDS:
        step(f"voxflate {command[0]}", [str(python.with_name("voxflate")), *command], folder)
    for name in ("new", "own"):
        made = sorted(path.name for path in (folder / name).glob("*.nii.gz"))
        if len(made) != 4:
            sys.exit(f"generate wrote {made} to {name}, not four volumes")


def step(name: str, command: Sequence[str], folder: Path = ROOT) -> None:
    """Run one command; print its time, or its output if it fails."""
    begun = time.monotonic()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name}: failed\n{done.stdout}{done.stderr}")
    print(f"{name}: {time.monotonic() - begun:.1f} s", flush=True)


def main() -> None:
    """Build, check, install, run."""
    parser = parser_of(__doc__)
    parser.add_argument("--keep", type=Path, help="folder for sdist and wheel (default: discard them)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        built = options.keep or folder / "dist"
        wheel = build(built.absolute())
        (folder / "work").mkdir()
        try_out(install(wheel, folder / "environment"), folder / "work")
    print("ready")


if __name__ == "__main__":
    main()
