"""The result of a whole evaluation: metrics with intervals and floors, and what they depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from voxflate._system.errors import VoxflateError

FORMAT = 2
"""Version of metrics.json. Version 1 called the metrics figures."""
MEASUREMENT = 2
"""Version of the measurement; raised when the same samples give other values, which are then not compared.
Version 1 measured generated images before they were clipped (decision 0205)."""


@dataclass(frozen=True)
class Metric:
    """One metric, next to the same metric among real volumes.

    Attributes:
        value: The metric of generated against real volumes.
        low: Lower end of its 95% interval; None if there is none.
        high: Upper end.
        error: Standard error.
        real: The floor: real against real volumes (halves, or pairs of subjects); None if there is none.
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
    """A run's metrics.

    Attributes:
        metrics: Name -> metric.
        facts: What they depend on: numbers of volumes, extractors and weights, seed, data, budget.
        warnings: What a reader must know before quoting a metric, one sentence each.
        seconds: Stage -> seconds taken.
    """

    metrics: Mapping[str, Metric]
    facts: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    def value(self, name: str) -> float | None:
        """A metric's value, or None if it was not measured."""
        return self.metrics[name].value if name in self.metrics else None

    def as_dict(self) -> dict[str, Any]:
        """Convert to plain values for metrics.json."""
        return {
            "format": FORMAT,
            "metrics": {name: asdict(metric) for name, metric in self.metrics.items()},
            "facts": dict(self.facts),
            "warnings": list(self.warnings),
            "seconds": {stage: round(seconds, 2) for stage, seconds in self.seconds.items()},
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], source: object) -> Assessment:
        """Make an assessment from what `as_dict` returned.

        Args:
            content: What `as_dict` returned.
            source: The file, for messages.

        Raises:
            VoxflateError: If it is not an assessment, of another version, or damaged.
        """
        if not isinstance(content, Mapping) or content.get("format") not in (1, FORMAT):
            raise VoxflateError(f"{source}: was not written by this version; run voxflate evaluate again")
        try:
            metrics = content["metrics" if content["format"] == FORMAT else "figures"]
            return cls(
                {name: Metric(**metric) for name, metric in metrics.items()},
                content["facts"],
                tuple(content["warnings"]),
                content["seconds"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise VoxflateError(
                f"{source}: is damaged ({error!r}); restore it, or run voxflate evaluate again"
            ) from error
