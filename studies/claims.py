"""Tests the paper's claims and questions about our rows: means over seeds and paired tests."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from studies.collect import Entry
from studies.own import OWN, STARTS, own_key
from voxflate.config.paper_rows import PAPER_ROWS
from voxflate.evaluation.seeds import LEVEL, Paired, paired

MARGIN = 0.1
"""A row is as good as another if its distance is larger by less than this share of the other's mean.

Seeds of one row differ by as much. FD-avg of the three preserving starts in docs/benchmarks/starts-0.002
deviates by 10.6% of its mean at the evaluated snapshots, which decide about the paper's rows, and by 8.6% as
a mean of the last snapshots, which decides about ours. Their KID deviates by 13.1% and 11.4%, so it settles
"as good" less often.
"""

_ABSENT = "not measured"

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
_HALVED = [(_SCRATCH[-1], _SCRATCH[0]), (_INFLATED[-1], _INFLATED[0])]
_BY_MODULE = ("inflate-1", "inflate-asc", "inflate-nwi")

CLAIMS: Sequence[Claim] = (
    Claim("Inflation helps: Inflate-1 against no inflation (Table 1)", [(_ROWS_OF_1[1], _ROWS_OF_1[0])]),
    Claim(
        "Inflate-ASC and Inflate-NWI help too (Table 1)",
        [(row, _ROWS_OF_1[0]) for row in _ROWS_OF_1[4:]],
    ),
    Claim("Inflate-1 is the best of the five strategies (Table 1)", _against(_ROWS_OF_1[1], _ROWS_OF_1[1:])),
    Claim(
        "The more weights come from 2D, the worse: Inflate-1, Inflate-2, Inflate-3 (Table 1)",
        [*pairwise(_ROWS_OF_1[1:4])],
    ),
    Claim(
        "Inflating G and D is better than either alone (Table 2)",
        [
            (f"coca64-baseline-{name}", f"coca64-baseline-{name}-{module}")
            for name in _BY_MODULE
            for module in ("g", "d")
        ],
    ),
    Claim(
        "Inflating G matters more than inflating D (Table 2)",
        [(f"coca64-baseline-{name}-g", f"coca64-baseline-{name}-d") for name in _BY_MODULE],
    ),
    Claim("Split&Shuffle, with half the parameters, is better than the baseline (Tables 3 and 4)", _HALVED),
    Claim(
        "It maintains the quality: as good as the baseline or better (abstract; Tables 3 and 4)",
        _HALVED,
        strict=False,
    ),
    Claim(
        "Split without shuffle is the worst architecture (Tables 3 and 4)",
        [*_worst(_SCRATCH[4], _SCRATCH), *_worst(_INFLATED[4], _INFLATED)],
    ),
    Claim(
        "With Inflate-1, other discriminators alone are worse than the baseline (Table 4)",
        [(_INFLATED[0], row) for row in _INFLATED[1:4]],
    ),
    Claim(
        "Split&Shuffle with Inflate-1 is the best of all (Tables 1, 3 and 4)",
        _against(_OURS, [*dict.fromkeys([*_ROWS_OF_1, *_SCRATCH, *_INFLATED])]),
    ),
    Claim(
        "Split&Shuffle is better than the baseline at 128x128 (Table 5)",
        [("coca128-split-shuffle-inflate-1", "coca128-baseline")],
    ),
    *(
        Claim(
            f"Split&Shuffle is better than every comparison model on {organ} (Table {number})",
            _against(ours, [key for key, row in PAPER_ROWS.items() if number in row.labels]),
        )
        for organ, number, ours in (("hearts", 6, _OURS), ("brains", 7, "adni64-split-shuffle-inflate-1"))
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
        verdict: By the Frechet distance: holds, does not hold, not settled, or not tested.
        kid: The verdict of the same tests on the KID, after "disagrees" if it is the opposite, or "differs"
            if only one of the two is settled; "not measured" without one.
        detail: The comparisons behind them.
    """

    claim: str
    verdict: str
    kid: str
    detail: str


@dataclass(frozen=True)
class _Comparison:
    """Two rows by one metric.

    Attributes:
        outcome: "for" the claim, "against" it, or "open".
        said: Its numbers, over the shared seeds.
        difference: Of the means; None without a shared seed.
    """

    outcome: str
    said: str
    difference: float | None


def judge(claim: Claim, entries: Mapping[str, Entry]) -> Finding:
    """Decide whether a claim holds among the available rows.

    It holds if a paired t-test over seeds supports it for every pair, and does not hold if one supports the
    opposite. "As good or better" is supported if the 95% interval of the difference ends below `MARGIN` of
    the other row's mean, and refuted if it begins above it. The Frechet distance decides, because the claims
    are about it. Few volumes bias it, so the KID takes the same tests beside it, except for a claim with a
    metric of its own. Rows of the paper are compared at their evaluated snapshots, ours by the means of the
    last ones, as in Table 9.
    """
    known = [(near, far) for near, far in claim.pairs if near in entries and far in entries]
    if not known:
        return Finding(claim.text, "not tested", "not tested", "no pair of its rows was trained")
    by_distance, by_kid, parts = [], [], []
    for near, far in known:
        distance = _compared(claim, entries[near], entries[far], claim.metric or entries[near].distance)
        by_distance.append(distance)
        said = f"{_short(near)} and {_short(far)}: {distance.said}"
        if not claim.metric:
            by_kid.append(_compared(claim, entries[near], entries[far], entries[near].kid))
            said += _beside(distance, by_kid[-1])
        parts.append(said)
    missing = len(claim.pairs) - len(known)
    if missing:
        parts.append(
            f"{missing} of {len(claim.pairs)} pairs {'lacks' if missing == 1 else 'lack'} a trained row"
        )
    verdict = _verdict(by_distance, len(claim.pairs))
    return Finding(claim.text, verdict, _agreement(verdict, by_kid, len(claim.pairs)), "; ".join(parts))


def _compared(claim: Claim, near: Entry, far: Entry, metric: str) -> _Comparison:
    rows = [_by_seed(each, metric) for each in (near, far)]
    seeds = rows[0].keys() & rows[1].keys()
    if not seeds:
        return _Comparison("open", "no shared seed" if all(rows) else _ABSENT, None)
    means = [statistics.fmean(row[seed] for seed in seeds) for row in rows]
    difference = means[0] - means[1]
    values = " against ".join(f"{mean:.4g}" for mean in means)
    test = paired(*rows)
    if test is None:
        return _Comparison("open", f"{values} (one shared seed)", difference)
    margin = MARGIN * max(means[1], 0.0)  # a KID may be below 0
    reach = "" if claim.strict else f", difference {test.low:.3g} to {test.high:.3g}, margin {margin:.3g}"
    outcome = _outcome(test, None if claim.strict else margin)
    return _Comparison(outcome, f"{values} (p = {test.p:.2g}, {test.n} seeds{reach})", difference)


def _by_seed(entry: Entry, metric: str) -> dict[int, float]:
    return entry.last_by_seed(metric) if entry.key in OWN else entry.by_seed(metric)


def _outcome(test: Paired, margin: float | None) -> str:
    """The outcome of one test; with a margin, smaller differences count as good."""
    if margin is not None:
        return "for" if test.high < margin else "against" if test.low > margin else "open"
    if test.p >= LEVEL:
        return "open"
    return "for" if test.difference < 0 else "against"


def _beside(distance: _Comparison, kid: _Comparison) -> str:
    """The numbers by KID, and whether it disagrees about the two rows."""
    if {distance.outcome, kid.outcome} == {"for", "against"}:
        return f", KID {kid.said} disagrees"
    turned = (distance.difference or 0) * (kid.difference or 0) < 0
    return f", KID {kid.said}{', in the other order' if turned else ''}"


def _verdict(found: Sequence[_Comparison], wanted: int) -> str:
    """The verdict of some comparisons, of so many that a claim makes."""
    outcomes = [each.outcome for each in found]
    if "against" in outcomes:
        return "does not hold"
    if outcomes.count("for") == wanted:
        return "holds"
    return f"not settled ({outcomes.count('for')} of {wanted} comparisons)"


def _agreement(verdict: str, by_kid: Sequence[_Comparison], wanted: int) -> str:
    """The verdict by KID, and how it differs from that by the distance."""
    if all(each.said == _ABSENT for each in by_kid):
        return _ABSENT
    found = _verdict(by_kid, wanted)
    settled = [not each.startswith("not settled") for each in (verdict, found)]
    if all(settled) and found != verdict:
        return f"disagrees: {found}"
    return found if settled[0] == settled[1] else f"differs: {found}"


def _short(key: str) -> str:
    return key.removeprefix("coca64-")


def findings(entries: Mapping[str, Entry]) -> list[Finding]:
    """Every claim about rows of the paper, and every question about ours, if there are such rows."""
    asked = [*CLAIMS] if any(entry.paper for entry in entries.values()) else []
    asked += QUESTIONS if any(key in OWN for key in entries) else []
    return [judge(claim, entries) for claim in asked]
