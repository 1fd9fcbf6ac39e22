"""Pages of the documentation site that are made from the code: commands, settings, decision records.

MkDocs calls the functions whose names begin with `on_` (mkdocs.yml names this file under `hooks`).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "docs" / "decisions"
MADE = "This page is made from the code when the site is built."


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    for path, page in pages().items():
        files.append(File.generated(config, path, content=page))
    return files


@lru_cache(maxsize=1)
def pages() -> dict[str, str]:
    """Path below docs -> Markdown."""
    return {
        "reference/cli.md": commands(),
        "reference/settings.md": settings(),
        "explanation/decisions.md": decisions(),
    }


def commands() -> str:
    """Every command with its help and options, as `voxflate COMMAND --help` has them."""
    from typer.main import get_command

    from voxflate.cli import app

    group: Any = get_command(app)
    lines = ["# Command line", "", f"{MADE} `voxflate COMMAND --help` prints the same.", ""]
    for name, command in group.commands.items():
        lines += [f"## voxflate {name}", "", *_prose(command.help), "", *_options(command), ""]
    return "\n".join(lines)


def _prose(text: str) -> Iterator[str]:
    """The help's paragraphs, its examples as code."""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        words = " ".join(paragraph.split())
        if words.startswith("Example: "):
            yield f"\n```sh\n{words.removeprefix('Example: ')}\n```\n"
        else:
            yield f"{html.escape(words, quote=False)}\n"


def _options(command: Any) -> Iterator[str]:
    yield "| argument or option | meaning | default |"
    yield "|---|---|---|"
    for one in command.params:
        if one.name == "help":
            continue
        is_option = one.param_type_name == "option"
        names = " ".join((*one.opts, *one.secondary_opts)) if is_option else (one.metavar or one.name)
        value = f" {one.metavar}" if is_option and one.metavar and not one.is_flag else ""
        meaning = _cell(html.escape(one.help or "", quote=False))
        yield f"| `{_cell(names + value)}` | {meaning} | {_default(one)} |"


def _default(one: Any) -> str:
    if one.required:
        return "required"
    if one.default in (None, "", (), []) or getattr(one, "is_flag", False):
        return ""
    return f"`{_cell(str(one.default))}`"


def settings() -> str:
    """Every setting with its meaning and its recommended values."""
    from voxflate.cli.presets import as_toml, other_values, recommended_elsewhere
    from voxflate.config.schema import RunConfig
    from voxflate.config.toml import describe_settings

    lines = [
        "# Settings",
        "",
        f"{MADE} `voxflate presets --keys` prints the same. Use a key with `--set KEY=VALUE` or in a "
        "[settings file](../how-to/settings-file.md). The first value is what a 3D run from scratch "
        "takes; recommended values for other runs follow it.",
    ]
    elsewhere = recommended_elsewhere()
    section = None
    for key, value, meaning in describe_settings():
        if section != (section := key.rpartition(".")[0]):
            lines += _section(section, RunConfig)
        values = [f"`{as_toml(value)}`"]
        for other, cases in other_values(key, value, elsewhere).items():
            values.append(f"`{other}` with {', '.join(f'`{words}`' for words in cases)}")
        lines.append(f"| `{key}` | {_cell(meaning)} | {_cell('; '.join(values))} |")
    return "\n".join(lines) + "\n"


def _section(name: str, config: Any) -> list[str]:
    field = config.model_fields.get(name)
    words = (field.description or "") if field else "Settings that stand at the top of a file."
    return [
        "",
        f"## {name or 'Top level'}",
        "",
        " ".join(words.split()),
        "",
        "| key | meaning | recommended |",
        "|---|---|---|",
    ]


def decisions() -> str:
    """The decision records by number."""
    lines = [
        "# Decisions",
        "",
        "Where the paper is silent or contradicts itself, and where a design could have gone another way, a "
        "short record gives the question, the choice, its reason and its cost.",
        "",
    ]
    for record in sorted(RECORDS.glob("*.md")):
        title = record.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        lines.append(f"- [{title}](../decisions/{record.name})")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Text that does not end a table's cell."""
    return " ".join(text.split()).replace("|", "\\|")
