"""What a whole evaluation gives: figures with intervals and floors, and what they depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from voxflate._system.errors import VoxflateError

FORMAT = 1


@dataclass(frozen=True)
class Figure:
    """One figure beside the same among real volumes.

    Attributes:
        value: Of generated against real.
        low: Lower end of its 95% interval; None where there is none.
        high: Upper end.
        error: Standard error.
        real: The floor: real volumes among themselves (halves, or pairs of subjects); None if there is none.
        real_low: Lower end of the floor's range.
        real_high: Upper end.
    """

    value: float
    low: float | None = None
    high: float | None = None
    error: float | None = None
    real: float | None = None
    real_low: float | None = None
    real_high: float | None = None


@dataclass(frozen=True)
class Assessment:
    """A run's figures.

    Attributes:
        figures: Name -> figure.
        facts: What they depend on: numbers of volumes, extractors and weights, seed, data, budget.
        warnings: What a reader must know before quoting a figure, one sentence each.
        seconds: Stage -> seconds taken.
    """

    figures: Mapping[str, Figure]
    facts: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    def value(self, name: str) -> float | None:
        """A figure's value, or None if it was not taken."""
        return self.figures[name].value if name in self.figures else None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for metrics.json."""
        return {
            "format": FORMAT,
            "figures": {name: asdict(figure) for name, figure in self.figures.items()},
            "facts": dict(self.facts),
            "warnings": list(self.warnings),
            "seconds": {stage: round(seconds, 2) for stage, seconds in self.seconds.items()},
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], source: object) -> Assessment:
        """Back from `as_dict`.

        Args:
            content: What it gave.
            source: The file, for the message.

        Raises:
            VoxflateError: If it is something else or of another version.
        """
        if not isinstance(content, Mapping) or content.get("format") != FORMAT:
            raise VoxflateError(f"{source}: was not written by this version; run voxflate evaluate again")
        return cls(
            {name: Figure(**figure) for name, figure in content["figures"].items()},
            content["facts"],
            tuple(content["warnings"]),
            content["seconds"],
        )
