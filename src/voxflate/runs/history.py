"""The history of a run's settings by image, kept in `run.json`; `config.toml` has only the last ones.

A history is a list of entries {"from_images": n, "settings": {dotted key: value}}. The first entry has every
setting, each later one the settings that change from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from voxflate.config.schema import RunConfig
from voxflate.config.values import flat

Entry = dict[str, Any]


def extended(entries: Sequence[Entry], n_images: int, config: RunConfig) -> list[Entry]:
    """The history of a run that continues at `n_images` with these settings.

    Entries from this image on are dropped, because nothing was trained with them.
    """
    kept = [entry for entry in entries if entry["from_images"] < n_images]
    before = settings_of(kept)
    now = flat(config.model_dump(mode="json"))
    changed = {key: value for key, value in now.items() if key not in before or before[key] != value}
    return [*kept, {"from_images": n_images, "settings": changed}] if changed else kept


def settings_of(entries: Sequence[Entry]) -> dict[str, Any]:
    """The last value of every setting, by dotted key."""
    found: dict[str, Any] = {}
    for entry in entries:
        found |= entry["settings"]
    return found


def changes(entries: Sequence[Entry]) -> list[str]:
    """A line for every later change, such as "training.lr_g 0.002 -> 0.001 from 4000 images"."""
    return [
        f"{key} {settings_of(entries[:number]).get(key)} -> {value} from {entry['from_images']} images"
        for number, entry in enumerate(entries)
        for key, value in entry["settings"].items()
        if number
    ]


def is_whole(entries: object) -> bool:
    """Whether an object read from a file is a history."""
    return isinstance(entries, list) and all(
        isinstance(entry, dict)
        and isinstance(entry.get("from_images"), int)
        and isinstance(entry.get("settings"), dict)
        for entry in entries
    )
