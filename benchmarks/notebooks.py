"""Runs the notebooks and keeps their outputs.

    python -m benchmarks.notebooks [NAME ...] [--check]

Each runs from its first cell to its last in an empty folder with a fresh kernel; an exception ends it and
leaves the file unchanged. With --check nothing is written. Prints the seconds of each.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from benchmarks.arguments import parser_of
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

FOLDER = Path(__file__).parents[1] / "notebooks"
TIMEOUT = 300
"""Time limit of a cell, seconds."""
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
_BAR = re.compile(r"[━╸╺]{6}")
_TABLE = re.compile(r"[┏┡┗┳┃]")


def run(path: Path) -> Any:
    """The notebook with the outputs of a fresh run."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        # Shell lines of a notebook must find this environment's command.
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        os.environ["COLUMNS"] = "140"  # wide enough for tables
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3", resources=resources).execute()
    return tidy(notebook, folder)


def tidy(notebook: Any, folder: str) -> Any:
    """Remove terminal output (colours, progress bars) and details of this run (folder, versions)."""
    notebook.metadata.language_info = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = _joined([output for output in cell.outputs if not _is_blank(output, folder)])
    return notebook


def _joined(outputs: list[Any]) -> list[Any]:
    """Join adjacent streams with the same name."""
    found: list[Any] = []
    for output in outputs:
        if found and output.output_type == "stream" and found[-1].get("name") == output.name:
            found[-1].text += output.text
        else:
            found.append(output)
    return found


def _is_blank(output: Any, folder: str) -> bool:
    """Reduce a stream to what a reader needs; tell whether nothing is left."""
    if output.output_type != "stream":
        return False
    lines = _CONTROL.sub("", output.text).replace(f"{folder}/", "").splitlines(keepends=True)
    output.text = "".join(line for line in lines if _TABLE.search(line) or not _BAR.search(line))
    return not output.text.strip()


def main() -> None:
    """Run the named notebooks; without names, all."""
    parser = parser_of(__doc__)
    parser.add_argument("names", nargs="*", help="notebooks, such as 1-first-volumes (default: all)")
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    for path in sorted(FOLDER.glob("*.ipynb")):
        if options.names and path.stem not in options.names:
            continue
        begun = time.monotonic()
        try:
            notebook = run(path)
        except CellExecutionError as error:
            sys.exit(f"{path.name}: {error}")
        if not options.check:
            nbformat.write(notebook, path)
        print(f"{path.name}: {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
