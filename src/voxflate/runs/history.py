"""The history of a run's settings by image, kept in `run.json`; `config.toml` has only the last ones.

A history is a list of entries {"from_images": n, "settings": {dotted key: value}}. The first entry has every
setting, each later one the settings that change from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from voxflate.config.schema import RunConfig
from voxflate.config.values import flat

Entry = dict[str, Any]

MAY_CHANGE = (
    "data",
    "training.kimg",
    "training.lr_g",
    "training.lr_d",
    "training.lr_decay",
    "slice_discriminator.lr_s",
    "training.snapshot_kimg",
    "training.keep",
    "training.threads",
    "training.device",
    "training.precision",
    "training.tf32",
    "training.autotune",
    "training.kernels",
    "training.compile",
    "training.micro_batch",
    "training.activation_checkpointing",
    "training.restores",
    "training.restore_lr",
    "evaluation.",
)
"""Settings that may change when a run continues: `run.json` has the image from which a change applies. After
any other change the settings would not describe the run's past; a moved prepared folder is the same data."""


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


@dataclass(frozen=True)
class Change:
    """A setting that changed during a run.

    Attributes:
        n_images: Images shown before the change.
        key: Its dotted key.
        before: Its last value; None for a setting that is newer than the run's beginning.
        after: Its value from then on.
    """

    n_images: int
    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.key} {self.before} -> {self.after} from {self.n_images} images"


def later(entries: Sequence[Entry]) -> list[Change]:
    """Every change after the start; as text such as "training.lr_g 0.002 -> 0.001 from 4000 images"."""
    return [
        Change(entry["from_images"], key, settings_of(entries[:number]).get(key), value)
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
