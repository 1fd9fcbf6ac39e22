"""Configurations as text: TOML in and out, overrides from a command line, errors in one line."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from voxflate._system.errors import VoxflateError
from voxflate._system.files import whole_file
from voxflate.config.schema import RunConfig, Section, migrate

CONFIG_NAME = "config.toml"
"""Name of the saved configuration in a run folder."""
LARGEST = 65_536
"""Bytes; a file of settings has some thousands, and the parser is slow on long keys made to harm."""


def from_dict(content: Mapping[str, Any], origin: str) -> RunConfig:
    """Check a nested mapping and make it a configuration.

    Args:
        content: Sections and values, as TOML gives them; what is left out takes its default.
        origin: Where the values come from (a file, "--set"), for the error message.

    Raises:
        VoxflateError: On an unknown key (the nearest known one is proposed), a bad value, or an unknown
            version; older versions are migrated.
    """
    try:
        return RunConfig.model_validate(migrate(content))
    except ValidationError as error:
        raise VoxflateError(f"{origin}: {_first_problem(error)}") from error
    except ValueError as error:
        raise VoxflateError(f"{origin}: {error}") from error


def from_toml(text: str, origin: str) -> RunConfig:
    """Read a configuration from TOML text; `origin` names it in errors.

    Raises:
        VoxflateError: If the text is not TOML, or as `from_dict`.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise VoxflateError(f"{origin}: is not valid TOML ({error})") from error
    except (RecursionError, ValueError) as error:  # nested too deeply, or a number of too many digits
        raise VoxflateError(f"{origin}: is no TOML of settings ({error})") from error
    return from_dict(content, origin)


def to_toml(config: RunConfig) -> str:
    """Write every setting as TOML; `from_toml` of the result equals `config`.

    >>> from_toml(to_toml(RunConfig()), "text") == RunConfig()
    True
    """
    return tomli_w.dumps(config.model_dump(mode="json"))


def load_config(path: str | Path) -> RunConfig:
    """Read a TOML file, or the `config.toml` of a run folder.

    Raises:
        VoxflateError: If there is no such file, or as `from_toml`.
    """
    path = Path(path)
    if path.is_dir():
        path = path / CONFIG_NAME
        if not path.exists():
            raise VoxflateError(f"{path.parent}: is no run folder, it has no {CONFIG_NAME}")
    try:
        if path.stat().st_size > LARGEST:
            raise VoxflateError(f"{path}: is larger than {LARGEST:,} bytes; is it a file of settings?")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise VoxflateError(f"{path}: no such file or run folder") from error
    except (OSError, UnicodeDecodeError) as error:
        raise VoxflateError(f"{path}: cannot be read as text ({error})") from error
    return from_toml(text, str(path))


def save_config(config: RunConfig, run: str | Path) -> Path:
    """Write `config` as `config.toml` into the folder `run`, whole or not at all."""
    path = Path(run) / CONFIG_NAME
    with whole_file(path) as temporary:
        temporary.write_text(to_toml(config), encoding="utf-8")
    return path


def with_values(config: RunConfig, values: Mapping[str, Any], origin: str = "settings") -> RunConfig:
    """Replace values by dotted key, and check the result as a whole.

    >>> with_values(RunConfig(), {"training.kimg": 5}).training.kimg
    5.0

    Raises:
        VoxflateError: As `from_dict`.
    """
    content = config.model_dump(mode="json")
    for key, value in values.items():
        *sections, name = key.split(".")
        target = content
        for section in sections:
            target = target.setdefault(section, {})
            if not isinstance(target, dict):
                raise VoxflateError(f"{origin}: {key}: {section} has no keys of its own")
        target[name] = value
    return from_dict(content, origin)


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Turn `key=value` texts into values by dotted key; the last one of a key wins.

    Values are read as TOML where they can be (`true`, `0.002`, `[2, 4, 4]`) and as text otherwise.

    >>> parse_assignments(["training.batch=4", "network.architecture=split"])
    {'training.batch': 4, 'network.architecture': 'split'}

    Raises:
        VoxflateError: If a text has no `=` or no key before it.
    """
    values: dict[str, Any] = {}
    text_keys = {key for key, default, _ in describe_settings() if isinstance(default, str)}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key, text = key.strip(), text.strip()
        if not key or not equals:
            raise VoxflateError(f"--set {assignment}: expected key=value, such as training.kimg=10")
        value = _toml_value(text)
        # A folder named 2024 is still a folder name.
        values[key] = text if key in text_keys and not isinstance(value, str) else value
    return values


def describe_settings() -> Iterator[tuple[str, Any, str]]:
    """Every setting as (dotted key, default, meaning), in the order of the TOML file."""
    yield from _describe(RunConfig(), "")


def _describe(section: Section, prefix: str) -> Iterator[tuple[str, Any, str]]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _describe(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value, " ".join((field.description or "").split())


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _first_problem(error: ValidationError) -> str:
    """One line about the first problem; a misspelt key comes before the values."""
    problems = error.errors(include_url=False, include_context=False)
    unknown = [problem for problem in problems if problem["type"] == "extra_forbidden"]
    problem = (unknown or problems)[0]
    key = ".".join(str(part) for part in problem["loc"])
    if unknown:
        return f"unknown key {key}{_suggestion(key)}"
    message = problem["msg"].removeprefix("Value error, ")
    if isinstance(problem["input"], dict | Section):  # the problem is between several keys
        return f"{key}.{message}" if key else message
    return f"{key} = {problem['input']!r}: {message[0].lower()}{message[1:]}"


def _suggestion(key: str) -> str:
    """The known key nearest to a misspelt one, as the end of a sentence."""
    settings = [name for name, _, _ in describe_settings()]
    known = [*settings, *{name.partition(".")[0]: None for name in settings}]
    leaf = key.rpartition(".")[2]
    same_leaf = [name for name in known if name.rpartition(".")[2] == leaf]
    if nearest := same_leaf or difflib.get_close_matches(key, known, n=1, cutoff=0.5):
        return f"; did you mean {nearest[0]}?"
    return "; `voxflate presets --keys` lists every key"
