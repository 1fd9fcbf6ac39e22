"""Results as if runs had been trained: metrics that a test chooses."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from studies.own import OWN
from voxflate.config.toml import from_values
from voxflate.config.values import flat
from voxflate.evaluation import Assessment, Metric
from voxflate.reports.results import Result

PLANES = ("ax", "sag", "cor", "avg")


def a_result(preset: str, seed: int, distance: float, kid: float | None = None, **changes: Any) -> Result:
    """A finished 3D run of a preset at bench scale with this Frechet distance on every plane.

    Its KID is a thousandth of the distance, unless it is given.
    """
    settings = from_values({"preset": f"{preset}@bench" if preset else "", "training.seed": seed})
    values = flat(settings.model_dump(mode="json"))
    metrics = {
        f"frechet-random-{plane}": Metric(distance, distance - 1, distance + 1, 0.5, 20.0) for plane in PLANES
    }
    metrics |= {
        "kid-random-avg": Metric(distance / 1000 if kid is None else kid, real=-0.00001),
        "recall-random-avg": Metric(0.4, real=0.9),
    }
    metrics |= {
        "psnr": Metric(20 - distance / 100, real=21.0),
        "ms-ssim": Metric(0.8, real=0.7),
        "ms-ssim-kwon2019": Metric(0.8, real=0.7),
    }
    facts = {
        "n-generated": 148, "n-real": 148, "shape": [16, 32, 32], "slices": 1, "data": "d" * 64, "seed": 0,
        "replicates": 5, "n_images": 40_000, "snapshot": "best", "budget_kimg": 60.0, "truncation": 1.0,
        "extractors": [{"name": "random", "weights-sha256": "a" * 64, "features": 8}],
    }  # fmt: skip
    name = f"{preset or 'own-preserving'}-s{seed}"
    twin = "twin-x" if values["start.strategy"] != "none" else None
    points = np.random.default_rng(seed).normal(size=(12, 4)).astype(np.float32)
    fields: dict[str, Any] = {
        "name": name,
        "settings": values,
        "data": "d" * 64,
        "twin": twin and a_reference(twin),
        "parameters": {"generator": 200_000, "discriminator": 91_000},
        "n_images": 60_000,
        "seconds": 900.0,
        "snapshots": {
            "n_images": [0, 20_000, 40_000, 60_000],
            **{
                f"frechet-random-{plane}": [4 * distance, 2 * distance, distance, distance + 3]
                for plane in PLANES
            },
        },
        "best": 40_000,
        "evaluations": [Assessment(metrics, facts)],
        "machine": {"processor": "a CPU", "threads": 1},
        "versions": {"voxflate": "0.1.0"},
        "pictures": {"start": a_picture(40), "best": a_picture(200)},
        "points": {"real": np.ones((12, 4), np.float32), "generated": points},
    }
    return Result(**{**fields, **changes})


def a_start(key: str, seed: int, distance: float, **changes: Any) -> Result:
    """A run of one of our rows: snapshots every 200 s, the last three around the distance."""
    settings = flat(
        from_values({**OWN[key].values, "training.seed": seed, "training.kimg": 60.0}).model_dump(mode="json")
    )
    snapshots = {
        "n_images": [0, 20_000, 40_000, 60_000],
        "seconds": [0.0, 200.0, 400.0, 600.0],
        "frechet-random-avg": [9 * distance, distance - 3, distance, distance + 3],
        "real-frechet-random-avg": [20.0] * 4,
        "kid-random-avg": [0.9, 0.2, 0.1, 0.3],
        "real-kid-random-avg": [0.002] * 4,
        "pairwise-l2": [90.0, 18.0, 19.0, 20.0],
    }
    fields = {
        "name": f"{key}-s{seed}",
        "settings": settings,
        "twin": a_reference(f"twin-{seed}") if OWN[key].twin else None,
        "snapshots": snapshots,
        "seconds": 600.0,
        "audits": [{"n_images": 40_000, "flagged": 1, "n-generated": 148}],
    }
    return a_result("", seed, distance, **(fields | changes))


def a_twin(name: str = "twin-x", distance: float = 12.0) -> Result:
    """A finished 2D run."""
    settings = flat(from_values({"training.phase": "2d"}).model_dump(mode="json"))
    snapshots = {"n_images": [200_000], "frechet-random-2d": [distance], "real-frechet-random-2d": [3.0]}
    weights = a_reference(name)["weights_sha256"]
    return a_result(
        "", 0, 1, name=name, settings=settings, n_images=200_000, snapshots=snapshots, evaluations=[],
        weights_sha256=weights,
    )  # fmt: skip


def a_reference(twin: str) -> dict[str, str]:
    """What a 3D run records of the 2D run that it starts from."""
    return {"name": twin, "weights_sha256": f"hash of {twin}"}


def evaluated(result: Result, warnings: tuple[str, ...] = (), **changes: Any) -> Result:
    """The result with other facts or metrics in its evaluation; those that are None are left out."""
    evaluation = result.evaluations[0]
    metrics = {**evaluation.metrics, **changes.pop("metrics", {})}
    facts = {**evaluation.facts, **changes}
    kept = {name: metric for name, metric in metrics.items() if metric is not None}
    known = {name: value for name, value in facts.items() if value is not None}
    return replace(result, evaluations=[Assessment(kept, known, warnings)])


def a_picture(grey: int) -> bytes:
    content = io.BytesIO()
    Image.new("L", (60, 30), grey).save(content, format="PNG")
    return content.getvalue()
