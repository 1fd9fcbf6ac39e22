"""The command line of the scripts in this folder."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter


def parser_of(docstring: str | None) -> ArgumentParser:
    """A parser whose help shows a script's docstring as it stands, with its line breaks."""
    return ArgumentParser(description=docstring, formatter_class=RawDescriptionHelpFormatter)
