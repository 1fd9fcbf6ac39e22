"""Settings as plain values: nested as in a TOML file, or flat with dotted keys such as `training.kimg`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from voxflate._system.errors import VoxflateError

Values = Mapping[str, Any]


def nested(flat_values: Values) -> dict[str, Any]:
    """Turn dotted keys into sections.

    >>> nested({"data": "brains", "training.kimg": 5})
    {'data': 'brains', 'training': {'kimg': 5}}

    Raises:
        VoxflateError: If a key lies below another key's value, or above other keys.
    """
    found: dict[str, Any] = {}
    for key, value in flat_values.items():
        *sections, name = key.split(".")
        target = found
        for section in sections:
            target = target.setdefault(section, {})
            if not isinstance(target, dict):
                raise VoxflateError(f"{key}: {section} has no keys of its own")
        if isinstance(target.get(name), dict):
            raise VoxflateError(
                f"{key}: its own settings are given, too; give all of them as {key}.NAME=VALUE"
            )
        target[name] = value
    return found


def flat(values: Values) -> dict[str, Any]:
    """Turn sections into dotted keys; the inverse of `nested`.

    >>> flat({"data": "brains", "training": {"kimg": 5}})
    {'data': 'brains', 'training.kimg': 5}
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{key}": inner for key, inner in flat(value).items()}
        else:
            found[name] = value
    return found


def overlay(below: Values, above: Values) -> dict[str, Any]:
    """Put nested values on top of others; sections are merged.

    >>> overlay({"training": {"kimg": 5, "batch": 8}}, {"training": {"kimg": 7}})
    {'training': {'kimg': 7, 'batch': 8}}
    """
    found = dict(below)
    for name, value in above.items():
        under = found.get(name)
        both = isinstance(under, Mapping) and isinstance(value, Mapping)
        found[name] = overlay(under, value) if both else value  # type: ignore[arg-type]
    return found
