"""The stored notebooks: run from top to bottom, without errors, with pictures, and naming only what exists.

`make notebooks` runs them; here is what can be seen without running them.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from voxflate.cli import app

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
GROUP: Any = get_command(app)
LARGEST = 1_000_000  # bytes


def cells(path: Path, kind: str) -> list[Any]:
    return [cell for cell in json.loads(path.read_text("utf-8"))["cells"] if cell["cell_type"] == kind]


def test_there_are_three() -> None:
    assert len(NOTEBOOKS) == 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_ran_from_top_to_bottom_without_an_error(path: Path) -> None:
    code = cells(path, "code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert path.stat().st_size < LARGEST


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_holds_nothing_of_the_machine_that_ran_it(path: Path) -> None:
    text = path.read_text("utf-8")
    for place in (r"/home/", r"/root/", str(FOLDER.parent), r"/tmp/", r"Traceback", r"\u001b", "━━━━━ "):
        assert place not in text, place


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_its_commands_exist_with_their_options(path: Path) -> None:
    code = "".join(line for cell in cells(path, "code") for line in [*cell["source"], "\n"])
    found = re.findall(r"^!(voxflate .*)$", code, flags=re.MULTILINE)
    assert found
    for line in found:
        words = shlex.split(line)
        options = {name for one in GROUP.commands[words[1]].params for name in one.opts}
        assert not {word for word in words[2:] if word.startswith("-")} - options, line


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_its_links_lead_somewhere(path: Path) -> None:
    text = "".join(line for cell in cells(path, "markdown") for line in cell["source"])
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (FOLDER / link).exists(), link
