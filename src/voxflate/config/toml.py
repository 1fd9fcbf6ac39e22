"""Reads and writes settings: TOML, command-line assignments, errors of one line."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import tomli_w
from pydantic import ValidationError

from voxflate._system.errors import VoxflateError
from voxflate._system.files import whole_file
from voxflate.config.migrations import migrate
from voxflate.config.schema import RunConfig, Section
from voxflate.config.values import nested, overlay

CONFIG_NAME = "config.toml"
"""Name of the saved configuration in a run folder."""
_BESIDE_IT = "run.json"
_PREPARED = "manifest.json"  # of a prepared set
LARGEST = 65_536
"""Bytes. A settings file has a few thousand; the parser is slow on maliciously long keys."""

_SECTIONS = [name for name, field in RunConfig.model_fields.items() if isinstance(field.default, Section)]

Source = tuple[str, Mapping[str, Any]]
"""Where settings come from (a file, "--set"), for messages, and their nested values, as TOML gives them."""


def resolve(*sources: Source) -> RunConfig:
    """Combine sources into complete settings: later sources win, missing settings are as recommended.

    Files, `--set`, presets and Python all end up here or in `RunConfig` itself.

    Raises:
        VoxflateError: On an unknown key (suggests the nearest one) or a bad value; names the first source
            that leads to it.
    """
    try:
        return RunConfig.model_validate(merged(sources))
    except ValidationError as error:
        problem = _first_problem(error)
        prefixes = (sources[: end + 1] for end in range(len(sources)))
        origin = next(prefix[-1][0] for prefix in prefixes if _problem_of(merged(prefix)) == problem)
        raise VoxflateError(f"{origin}: {problem}") from error


def merged(sources: Iterable[Source]) -> dict[str, Any]:
    """Merge the sources, nested; later ones win.

    Raises:
        VoxflateError: If a section is not a table; another source would hide it.
    """
    found: dict[str, Any] = {}
    for origin, values in sources:
        for name, value in values.items():
            if name in _SECTIONS and not isinstance(value, Mapping | Section):
                raise VoxflateError(
                    f"{origin}: {name} = {value!r}: is a section, not a value; give its settings as "
                    f"{name}.KEY = VALUE, or below [{name}]"
                )
        found = overlay(found, values)
    return found


def from_dict(content: Mapping[str, Any], origin: str) -> RunConfig:
    """Turn a nested mapping into complete settings.

    Args:
        content: Sections and values, as TOML gives them; missing ones are as recommended, or as in the
            preset. With a `version` below the current one, named values keep their meaning, and settings that
            did not exist then get the value that runs used. Other missing ones are as recommended today,
            but as they were then in versions 0 and 1.
        origin: Where the values come from, for messages.

    Raises:
        VoxflateError: As `resolve`, or if the version is unknown.
    """
    return resolve((origin, _current(content, origin)))


def from_values(values: Mapping[str, Any], origin: str = "settings") -> RunConfig:
    """Turn values by dotted key into complete settings; missing ones are as recommended.

    >>> from_values({"training.phase": "2d", "training.kimg": 5}).training.lr_d
    0.01

    Raises:
        VoxflateError: As `resolve`.
    """
    return resolve((origin, nested(values)))


def from_toml(text: str, origin: str) -> RunConfig:
    """Read settings from TOML text; `origin` names it in messages.

    Raises:
        VoxflateError: If the text is not TOML, or as `from_dict`.
    """
    return from_dict(_parsed(text, origin), origin)


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
    return resolve((str(path), load_named(path)))


def load_named(path: str | Path) -> dict[str, Any]:
    """The settings named in a TOML file, or in the `config.toml` of a run folder, which names all.

    Returns:
        Nested settings of the current version.

    Raises:
        VoxflateError: If there is no such file, it is not TOML, or its version is unknown.
    """
    path = Path(path)
    if path.is_dir():
        path = path / CONFIG_NAME
        if not path.exists() and (path.parent / _PREPARED).exists():
            raise VoxflateError(
                f"{path.parent}: is a prepared set, not a run folder; train on it first: voxflate pretrain "
                f"{quote(str(path.parent))} --out RUN2D, then voxflate train --start RUN2D --out RUN3D"
            )
        if not path.exists():
            raise VoxflateError(f"{path.parent}: is not a run folder, it has no {CONFIG_NAME}")
    content = _parsed(_text_of(path), str(path))
    if path.name == CONFIG_NAME and (path.parent / _BESIDE_IT).exists():
        content = {"version": 0, **content}  # written by a run before versions existed, not by a user
    return _current(content, str(path))


def save_config(config: RunConfig, run: str | Path) -> Path:
    """Write `config` as `config.toml` into the folder `run`, whole or not at all."""
    path = Path(run) / CONFIG_NAME
    with whole_file(path) as temporary:
        temporary.write_text(to_toml(config), encoding="utf-8")
    return path


def with_values(config: RunConfig, values: Mapping[str, Any], origin: str = "settings") -> RunConfig:
    """Replace values by dotted key in complete settings, and check the result; all others stay as they are.

    >>> with_values(RunConfig(), {"training.kimg": 5}).training.kimg
    5.0

    Raises:
        VoxflateError: As `resolve`.
    """
    return resolve((origin, overlay(config.model_dump(mode="json"), nested(values))))


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Turn `key=value` texts into values by dotted key; if a key is repeated, the last one wins.

    Values are read as TOML if possible (`true`, `0.002`, `[2, 4, 4]`), otherwise as text.

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
        # A folder may be named 2024.
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


def _text_of(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST:
            raise VoxflateError(f"{path}: is larger than {LARGEST:,} bytes; is it a settings file?")
        return path.read_text(encoding="utf-8-sig")  # editors on Windows put a mark first
    except FileNotFoundError as error:
        raise VoxflateError(f"{path}: no such file or run folder") from error
    except (OSError, UnicodeDecodeError) as error:
        raise VoxflateError(f"{path}: cannot be read as text ({error})") from error


def _parsed(text: str, origin: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise VoxflateError(f"{origin}: is not valid TOML ({error})") from error
    except (RecursionError, ValueError) as error:  # nested too deeply, or a number of too many digits
        raise VoxflateError(f"{origin}: cannot be read as settings in TOML ({error})") from error


def _current(content: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Migrate settings to the current version; without a version, they are already of the current one."""
    try:
        return migrate(content) if "version" in content else dict(content)
    except ValueError as error:
        raise VoxflateError(f"{origin}: {error}") from error


def _problem_of(named: Mapping[str, Any]) -> str | None:
    try:
        RunConfig.model_validate(named)
    except ValidationError as error:
        return _first_problem(error)
    return None


def _first_problem(error: ValidationError) -> str:
    """Describe the first problem in one line; a misspelt key comes before bad values."""
    problems = error.errors(include_url=False, include_context=False)
    unknown = [problem for problem in problems if problem["type"] == "extra_forbidden"]
    problem = (unknown or problems)[0]
    key = ".".join(str(part) for part in problem["loc"])
    if unknown:
        return f"unknown key {key}{_suggestion(key)}"
    message = problem["msg"].removeprefix("Value error, ")
    if isinstance(problem["input"], dict) and problem["type"] != "value_error":
        return f"{key} has no keys of its own"
    if isinstance(problem["input"], dict | Section):  # the problem is between several keys
        return f"{key}.{message}" if key else message
    return f"{key} = {problem['input']!r}: {message[0].lower()}{message[1:]}"


def _suggestion(key: str) -> str:
    """Suggest the known key nearest to a misspelt one, as the end of a sentence."""
    settings = [name for name, _, _ in describe_settings()]
    known = [*settings, *{name.partition(".")[0]: None for name in settings}]
    leaf = key.rpartition(".")[2]
    same_leaf = [name for name in known if name.rpartition(".")[2] == leaf]
    if nearest := same_leaf or difflib.get_close_matches(key, known, n=1, cutoff=0.5):
        return f"; did you mean {nearest[0]}?"
    return "; `voxflate presets --keys` lists every key"
