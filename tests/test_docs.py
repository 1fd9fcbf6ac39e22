"""The documentation names what exists, and what it names exists."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from voxflate import __version__
from voxflate.cli import app
from voxflate.config.schema import ARCHITECTURES, MODELS, STRATEGIES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXTENDING = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RECORDS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
GROUP: Any = get_command(app)


def shell_commands(text: str) -> list[list[str]]:
    blocks = re.findall(r"```(?:sh|console|bash)\n(.*?)```", text, flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.mark.parametrize("command", GROUP.commands)
def test_the_readme_names_every_command(command: str) -> None:
    assert f"`voxflate {command}`" in README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_the_documentation_exists_with_its_options(page: Path) -> None:
    for words in shell_commands(page.read_text(encoding="utf-8")):
        if words[0] == "voxflate":
            options = {name for p in GROUP.commands[words[1]].params for name in p.opts}
            for word in words[2:]:
                assert not word.startswith("-") or word in options, " ".join(words)


def test_the_documented_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {words[1] for words in shell_commands(README) if words[0] == "make"}
    assert named >= {"demo", "test"}
    for target in named:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def table_entries() -> list[str]:
    from voxflate.data.preparing.recipes import RECIPES
    from voxflate.data.readers.table import READERS
    from voxflate.data.sources.lists import LISTS
    from voxflate.metrics.extractors.table import EXTRACTORS, VOLUME_EXTRACTORS
    from voxflate.metrics.table import FEATURE_METRICS, PAIR_METRICS
    from voxflate.sampling.files import FORMATS

    return [
        *MODELS,
        *ARCHITECTURES,
        *STRATEGIES,
        *RECIPES,
        *READERS,
        *LISTS,
        *FORMATS,
        *EXTRACTORS,
        *VOLUME_EXTRACTORS,
        *FEATURE_METRICS,
        *PAIR_METRICS,
    ]


@pytest.mark.parametrize("entry", table_entries())
def test_the_guide_names_every_table_entry(entry: str) -> None:
    assert f"`{entry}`" in EXTENDING


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path in re.findall(r"`(src/[\w/.]+)`", text):
        assert (ROOT / path).exists(), path
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_a_decision_record_has_question_choice_reason_and_cost(record: Path) -> None:
    text = record.read_text(encoding="utf-8")
    assert text.startswith(f"# {record.name[:4]} ")
    for part in ("Question", "Choice", "Reason", "Cost"):
        assert f"**{part}.**" in text, part


def test_decision_records_are_numbered_once_and_every_mention_has_one() -> None:
    numbers = [record.name[:4] for record in RECORDS]
    assert len(numbers) == len(set(numbers))
    for path in [*PAGES, *(ROOT / "src").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        for number in re.findall(r"[Dd]ecision (\d{4})", path.read_text(encoding="utf-8")):
            assert number in numbers, f"{path} mentions decision {number}"


def test_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == __version__
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
