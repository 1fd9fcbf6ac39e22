"""Tests the paper's claims and questions about our rows: means over seeds and paired tests."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from studies.collect import Entry
from studies.own import OWN, STARTS, own_key
from voxflate.evaluation.seeds import LEVEL, Paired, paired

MARGIN = 0.1
"""A row is as good as another if its distance is larger by less than this share of the other's mean.

Seeds of one row differ by as much: FD-avg of the three in docs/benchmarks/starts deviates by 9% of its mean.
"""

_STRATEGIES = ("inflate-1", "inflate-2", "inflate-3", "inflate-asc", "inflate-nwi")
_ARCHITECTURES = ("baseline", "group-d", "depthwise-d", "split-shuffle-d", "split", "split-shuffle")
_ROWS_OF_1 = ("coca64-baseline", *(f"coca64-baseline-{name}" for name in _STRATEGIES))
_OURS = "coca64-split-shuffle-inflate-1"


@dataclass(frozen=True)
class Claim:
    """A statement of the paper about distances.

    Attributes:
        text: The claim in words.
        pairs: (row that should be nearer to the real volumes, row that should be farther).
        strict: Whether it must be nearer; otherwise it may be as good, within `MARGIN`.
        metric: The distance to compare; "" for that of the leading feature network.
    """

    text: str
    pairs: Sequence[tuple[str, str]]
    strict: bool = True
    metric: str = ""


def _against(best: str, others: Sequence[str]) -> list[tuple[str, str]]:
    return [(best, other) for other in others if other != best]


def _worst(worst: str, others: Sequence[str]) -> list[tuple[str, str]]:
    return [(other, worst) for other in others if other != worst]


_SCRATCH = [f"coca64-{name}" for name in _ARCHITECTURES]
_INFLATED = [f"coca64-{name}-inflate-1" for name in _ARCHITECTURES]

CLAIMS: Sequence[Claim] = (
    Claim("Inflation helps: Inflate-1 against no inflation (Table 1)", [(_ROWS_OF_1[1], _ROWS_OF_1[0])]),
    Claim("Inflate-1 is the best of the five strategies (Table 1)", _against(_ROWS_OF_1[1], _ROWS_OF_1[1:])),
    Claim(
        "Inflating G and D is better than either alone (Table 2)",
        [
            (f"coca64-baseline-{name}", f"coca64-baseline-{name}-{module}")
            for name in ("inflate-1", "inflate-asc", "inflate-nwi")
            for module in ("g", "d")
        ],
    ),
    Claim(
        "Split&Shuffle, with half the parameters, is as good as the baseline or better (Tables 3 and 4)",
        [(_SCRATCH[-1], _SCRATCH[0]), (_INFLATED[-1], _INFLATED[0])],
        strict=False,
    ),
    Claim(
        "Split without shuffle is the worst architecture (Tables 3 and 4)",
        [*_worst(_SCRATCH[4], _SCRATCH), *_worst(_INFLATED[4], _INFLATED)],
    ),
    Claim(
        "Split&Shuffle with Inflate-1 is the best of all (Tables 1, 3 and 4)",
        _against(_OURS, [*dict.fromkeys([*_ROWS_OF_1, *_SCRATCH, *_INFLATED])]),
    ),
)

_INFLATIONS = [start for start in STARTS if start != "none"]
_SLICES_HELP = [(own_key(start, slices=True), own_key(start, slices=False)) for start in STARTS]

QUESTIONS: Sequence[Claim] = (
    Claim("Ours: the slice discriminator helps, from every start", _SLICES_HELP),
    Claim(
        "Ours: the same by the voxels, which no network has seen", _SLICES_HELP, metric="frechet-voxels-3d"
    ),
    *(
        Claim(
            f"Ours: inflation helps, {'with' if slices else 'without'} the slice discriminator",
            [(own_key(start, slices), own_key("none", slices)) for start in _INFLATIONS],
        )
        for slices in (False, True)
    ),
    *(
        Claim(
            f"Ours: preserving is better than Inflate-1, {'with' if slices else 'without'} the slice "
            "discriminator",
            [(own_key("preserving", slices), own_key("inflate-1", slices))],
        )
        for slices in (False, True)
    ),
)
"""About our own rows (Tables 9 and 10)."""


@dataclass(frozen=True)
class Finding:
    """The result for a claim.

    Attributes:
        claim: The claim in words.
        verdict: holds, does not hold, not settled, or not tested.
        detail: The comparisons behind it.
    """

    claim: str
    verdict: str
    detail: str


def judge(claim: Claim, entries: Mapping[str, Entry]) -> Finding:
    """Decide whether a claim holds among the available rows.

    It holds if a paired t-test over seeds supports it for every pair, and does not hold if one supports the
    opposite. "As good or better" is supported if the 95% interval of the difference ends below `MARGIN` of
    the other row's mean, and no test shows that the row is worse.
    """
    known = [(near, far) for near, far in claim.pairs if near in entries and far in entries]
    if not known:
        return Finding(claim.text, "not tested", "none of its rows were trained")
    verdicts, parts = [], []
    for near, far in known:
        verdict, detail = _compared(claim, entries[near], entries[far])
        verdicts.append(verdict)
        parts.append(f"{_short(near)} and {_short(far)}: {detail}")
    missing = len(claim.pairs) - len(known)
    if missing:
        parts.append(f"{missing} of {len(claim.pairs)} comparisons were not trained")
    if "against" in verdicts:
        verdict = "does not hold"
    elif missing or "open" in verdicts:
        verdict = f"not settled ({verdicts.count('for')} of {len(claim.pairs)} comparisons)"
    else:
        verdict = "holds"
    return Finding(claim.text, verdict, "; ".join(parts))


def _compared(claim: Claim, near: Entry, far: Entry) -> tuple[str, str]:
    """The outcome of one comparison ("for" the claim, "against" it, or "open"), and its numbers."""
    metric = claim.metric or near.distance
    values = " against ".join(
        "-" if each is None else f"{each.mean:.4g}" for each in (near.spread(metric), far.spread(metric))
    )
    test = paired(near.by_seed(metric), far.by_seed(metric))
    if test is None:
        return "open", f"{values} (one shared seed or none)"
    margin = MARGIN * statistics.fmean(far.by_seed(metric).values())
    reach = "" if claim.strict else f", difference at most {test.high:.3g}, margin {margin:.3g}"
    detail = f"{values} (p = {test.p:.2g}, {test.n} seeds{reach})"
    return _outcome(test, None if claim.strict else margin), detail


def _outcome(test: Paired, margin: float | None) -> str:
    """The outcome of one test; with a margin, smaller differences count as good."""
    if test.p < LEVEL:
        return "for" if test.difference < 0 else "against"
    return "for" if margin is not None and test.high < margin else "open"


def _short(key: str) -> str:
    return key.removeprefix("coca64-")


def findings(entries: Mapping[str, Entry]) -> list[Finding]:
    """Every claim about rows of the paper, and every question about ours, if there are such rows."""
    asked = [*CLAIMS] if any(entry.paper for entry in entries.values()) else []
    asked += QUESTIONS if any(key in OWN for key in entries) else []
    return [judge(claim, entries) for claim in asked]
