"""The documentation names what exists, and what it names exists."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from docs.reference.generated import pages as generated_pages
from torch.distributed.run import get_args_parser
from typer.main import get_command

from voxflate import __version__
from voxflate.cli import app
from voxflate.config.schema import ARCHITECTURES, MODELS, STRATEGIES
from voxflate.config.toml import describe_settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXTENDING = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
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
            command = GROUP.commands[words[1]]
            with command.make_context(words[1], [word for word in words[2:] if not word.startswith("$")]):
                pass  # an unknown option, a missing argument or a value out of range raises


def test_torchrun_leaves_the_options_of_the_documented_commands_to_voxflate() -> None:
    """It takes a word such as --start for the beginning of one of its own, wherever it stands."""
    scaling = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    lines = [words for words in shell_commands(scaling) if "torchrun" in words]
    assert len(lines) == 2
    for words in lines:
        start, end = words.index("torchrun") + 1, words.index("&") if "&" in words else None
        given = get_args_parser().parse_args(words[start:end])
        assert (given.module, given.training_script) == (True, "voxflate")
        assert given.training_script_args[:2] == ["train", "data/hearts"]
        assert "--start" in given.training_script_args


def test_volumes_are_drawn_as_they_are_measured() -> None:
    """The next commands of these pages evaluate and audit at truncation 1."""
    for folder in ("tutorial", "how-to"):
        for page in (ROOT / "README.md", *(ROOT / "docs" / folder).glob("*.md")):
            text = page.read_text(encoding="utf-8")
            drawn = [words for words in shell_commands(text) if words[:2] == ["voxflate", "generate"]]
            assert not any("--truncation" in words for words in drawn), page
            assert not re.search(r"^[^`]*truncation=0\.", text, flags=re.MULTILINE), page


def test_the_documented_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    named = {words[1] for text in texts for words in shell_commands(text) if words[0] == "make"}
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
    from voxflate.sharing.targets import TARGETS

    return [
        *MODELS,
        *ARCHITECTURES,
        *STRATEGIES,
        *RECIPES,
        *READERS,
        *LISTS,
        *FORMATS,
        *TARGETS,
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
        made = (page.parent / link).resolve().is_relative_to(ROOT / "docs") and _is_generated(page, link)
        assert made or (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_to_a_page_that_only_the_site_has_says_so(page: Path) -> None:
    for paragraph in re.split(r"\n\n|\n(?=[-|])", page.read_text(encoding="utf-8")):
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", paragraph):
            assert (page.parent / link).exists() or "`make docs`" in paragraph, link


def _is_generated(page: Path, link: str) -> bool:
    return os.path.relpath((page.parent / link).resolve(), ROOT / "docs") in generated_pages()


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


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """Broken links and anchors, pages that the menu forgets, and names that do not exist are warnings."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    reference = tmp_path / "reference"
    api = (reference / "api.html").read_text(encoding="utf-8")
    assert all(name in api for name in ("TrainedGenerator", "interpolate", "open_prepared", "VoxflateError"))
    for page in tmp_path.rglob("*.html"):  # it must work without a network, and tell nobody who reads it
        assert not re.search(
            r'(src|href)="https?://[^"]+\.(js|css|woff2?)"', page.read_text(encoding="utf-8")
        )


def test_the_generated_pages_have_every_command_option_setting_and_record() -> None:
    made = generated_pages()
    for name, command in GROUP.commands.items():
        assert f"\n## voxflate {name}\n" in made["reference/cli.md"]
        for option in (name for one in command.params for name in one.opts if name.startswith("--")):
            assert option == "--help" or option in made["reference/cli.md"], option
    for key, _, _ in describe_settings():
        assert f"| `{key}` |" in made["reference/settings.md"]
    for record in RECORDS:
        assert f"(../decisions/{record.name})" in made["explanation/decisions.md"]


def test_the_readme_is_short_and_says_what_kimg_and_twin_are() -> None:
    assert README.count("\n") <= 150
    for word in ("**kimg**", "*twin*"):
        assert README.index(word) <= README.lower().index(word.strip("*")) + len(word)


def test_the_citation_names_the_version_and_the_paper() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {__version__}\n" in text
    assert "title: Inflating 2D Convolution Weights for Efficient Generation of 3D Medical Images" in text


def test_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == __version__
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
