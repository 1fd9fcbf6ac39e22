"""Parses options that are more than one number or word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from voxflate._system.errors import VoxflateError


def channels_of(texts: list[str], source: Path) -> dict[str, str]:
    """Read "t1=*_T1w.nii*"; in a list the column may have the channel's name.

    Raises:
        VoxflateError: If a pattern is missing, or a name is given twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, _, pattern = text.partition("=")
        pattern = pattern or (name if source.is_file() else "")
        if not name or not pattern:
            raise VoxflateError(f"--channel {text}: expected NAME=PATTERN such as t1='*_T1w.nii*'")
        if name in found:
            raise VoxflateError(f"--channel {text}: the name {name} is given twice; one pattern per channel")
        found[name] = pattern
    return found


def named_values(option: str, texts: Sequence[str], what: str = "VALUE") -> dict[str, str]:
    """Values by name from NAME=VALUE.

    Raises:
        VoxflateError: If a text has no name or value, or a name is repeated.
    """
    values: dict[str, str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            example = "age=60" if what == "VALUE" else "t2=scan_T2w.nii.gz"
            raise VoxflateError(f"{option} {text}: write it as NAME={what}, e.g. {option} {example}")
        if name in values:
            raise VoxflateError(f"{option} {text}: {name} was already given; give each name once")
        values[name] = value
    return values


def sides_of(text: str) -> tuple[int, int, int]:
    """Read "16,32,32" or "16x32x32".

    Raises:
        VoxflateError: If these are not three whole numbers.
    """
    try:
        depth, height, width = (int(part) for part in text.replace("x", ",").split(","))
    except ValueError as error:
        raise VoxflateError(f"--shape {text}: expected three whole numbers D,H,W such as 16,32,32") from error
    return depth, height, width


def pair_of(option: str, text: str, example: str = "-250,650") -> tuple[float, float]:
    """Read two numbers, such as "-250,650".

    Raises:
        VoxflateError: If these are not two numbers.
    """
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise VoxflateError(f"{option} {text}: expected two numbers LOW,HIGH such as {example}") from error
    return low, high
