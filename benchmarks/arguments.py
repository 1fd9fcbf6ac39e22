"""The command line of the scripts in this folder."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from voxflate._system.files import write_json


def parser_of(docstring: str | None) -> ArgumentParser:
    """A parser whose help shows a script's docstring as it stands, with its line breaks."""
    return ArgumentParser(description=docstring, formatter_class=RawDescriptionHelpFormatter)


def add_outputs(parser: ArgumentParser) -> None:
    """Add the file to write, and the choice to print only the table of an earlier one."""
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path, help="print a Markdown table of this JSON and measure nothing")


def show(content: dict[str, Any], table: Callable[[dict[str, Any]], str], out: Path | None) -> None:
    """Print the table of what was measured, and write it as JSON."""
    print(table(content))
    if out:
        write_json(out, content)
