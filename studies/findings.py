"""Tests the paper's claims and questions about our rows: means over seeds and paired tests."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from studies.claims import CLAIMS, QUESTIONS, Claim
from studies.collect import Entry
from studies.labels import name_among
from studies.notes import share_a_2d_run
from studies.own import OWN
from voxflate.evaluation.seeds import LEVEL, Paired, paired
from voxflate.reports.tables import DASH

MARGIN = 0.1
"""A row is as good as another if its distance is larger by less than this share of the other's mean.

Seeds of one row differ by as much. FD-avg of the three preserving starts in docs/benchmarks/starts-0.002
deviates by 10.6% of its mean at the evaluated snapshots, which decide about the paper's rows, and by 8.6% as
a mean of the last snapshots, which decides about ours. Their KID deviates by 13.1% and 11.4%, so it settles
"as good" less often.
"""

_ABSENT = "not measured"


@dataclass(frozen=True)
class Finding:
    """The result for a claim.

    Attributes:
        claim: The claim in words.
        verdict: By the Frechet distance: holds, does not hold, not settled, or not tested.
        kid: The verdict of the same tests on the KID, after "disagrees" if it is the opposite, or "differs"
            if only one of the two is settled; "not measured" without one.
        p: The largest p of its pairs by the distance; a dash if one has none.
        detail: The pair that refutes it, or else the one with the largest p.
        pairs: All tested pairs, if there are several.
    """

    claim: str
    verdict: str
    kid: str
    p: str
    detail: str
    pairs: Sequence[str] = ()


@dataclass(frozen=True)
class _Comparison:
    """Two rows by one metric.

    Attributes:
        outcome: "for" the claim, "against" it, or "open".
        said: Its numbers, over the shared seeds.
        difference: Of the means; None without a shared seed.
        margin: What the claim allows; 0 if it is strict.
        p: Of the test whether the difference is the margin; None without one.
    """

    outcome: str
    said: str
    difference: float | None = None
    margin: float = 0.0
    p: float | None = None

    @property
    def in_order(self) -> bool:
        """Whether the means are as claimed."""
        return self.difference is not None and self.difference < self.margin


def judge(claim: Claim, entries: Mapping[str, Entry]) -> Finding:
    """Decide whether a claim holds among the available rows, by the rule of `about`.

    The Frechet distance decides, because the claims are about it. Few volumes bias it, so the KID takes the
    same tests beside it, except for a claim with a metric of its own. Rows of the paper are compared at their
    evaluated snapshots, ours by the means of the last ones, as in Table 9.
    """
    known = [(near, far) for near, far in claim.pairs if near in entries and far in entries]
    if not known:
        return Finding(claim.title, "not tested", "not tested", DASH, "no pair of its rows was trained")
    by_distance, by_kid, said = [], [], []
    for near, far in known:
        names = " against ".join(name_among(key, claim.tables) for key in (near, far))
        distance = _compared(claim, entries[near], entries[far], claim.metric or entries[near].distance)
        by_distance.append(distance)
        words = f"{names}: {distance.said}"
        if not claim.metric:
            by_kid.append(_compared(claim, entries[near], entries[far], entries[near].kid))
            words += _beside(distance, by_kid[-1])
        said.append(words)
    verdict = _verdict(by_distance, claim)
    tested = [each.p for each in by_distance if each.p is not None]
    return Finding(
        claim.title,
        verdict,
        _agreement(verdict, by_kid, claim),
        f"{max(tested):.2g}" if len(tested) == len(known) else DASH,
        _telling(by_distance, said) + _missing(claim, len(known)),
        said if len(said) > 1 else (),
    )


def _compared(claim: Claim, near: Entry, far: Entry, metric: str) -> _Comparison:
    rows = [_by_seed(each, metric) for each in (near, far)]
    seeds = rows[0].keys() & rows[1].keys()
    if not seeds:
        return _Comparison("open", "no shared seed" if all(rows) else _ABSENT)
    means = [statistics.fmean(row[seed] for seed in seeds) for row in rows]
    values = " and ".join(f"{mean:.4g}" for mean in means)
    margin = 0.0 if claim.strict else MARGIN * max(means[1], 0.0)  # a KID may be below 0
    found = _Comparison("open", f"{values} (one shared seed)", means[0] - means[1], margin)
    test = paired({seed: value - margin for seed, value in rows[0].items()}, rows[1])
    if test is None:
        return found
    reach = f"difference {test.low + margin:.3g} to {test.high + margin:.3g}, margin {margin:.3g}, "
    said = f"{values} ({'' if claim.strict else reach}p = {test.p:.2g}, {test.n} seeds)"
    return replace(found, outcome=_outcome(test, len(claim.pairs)), said=said, p=test.p)


def _by_seed(entry: Entry, metric: str) -> dict[int, float]:
    return entry.last_by_seed(metric) if entry.key in OWN else entry.by_seed(metric)


def _outcome(test: Paired, pairs: int) -> str:
    """The outcome of one of a claim's tests: one alone may refute it, so that takes a smaller p."""
    if test.difference < 0:
        return "for" if test.p < LEVEL else "open"
    return "against" if test.p < LEVEL / pairs else "open"


def _beside(distance: _Comparison, kid: _Comparison) -> str:
    """The numbers by KID, and whether it disagrees about the two rows."""
    if {distance.outcome, kid.outcome} == {"for", "against"}:
        return f", KID {kid.said} disagrees"
    turned = (distance.difference or 0) * (kid.difference or 0) < 0
    return f", KID {kid.said}{', in the other order' if turned else ''}"


def _verdict(found: Sequence[_Comparison], claim: Claim) -> str:
    """The verdict of the comparisons of a claim that could be made."""
    outcomes = [each.outcome for each in found]
    if "against" in outcomes:
        return "does not hold"
    wanted, holding = len(claim.pairs), outcomes.count("for")
    if holding == wanted:
        return "holds"
    order, other = ("in its order", "in the other order") if claim.strict else ("in the margin", "beyond it")
    if wanted > 1:
        ordered = sum(each.in_order for each in found)
        return f"not settled ({holding} of {wanted} hold, {ordered} of {wanted} {order})"
    (only,) = found
    if only.difference is None:
        return f"not settled, {only.said}"
    return f"not settled, {order if only.in_order else other}"


def _telling(found: Sequence[_Comparison], said: Sequence[str]) -> str:
    """The pair that refutes a claim, or else the least clear one."""
    if len(said) == 1:
        return said[0]
    places = range(len(found))
    against = [place for place in places if found[place].outcome == "against"]
    if against:
        return f"refuted by {said[min(against, key=lambda place: found[place].p or 0.0)]}"
    return said[max(places, key=lambda place: 2.0 if (p := found[place].p) is None else p)]


def _missing(claim: Claim, known: int) -> str:
    missing = len(claim.pairs) - known
    if not missing:
        return ""
    return f"; {missing} of {len(claim.pairs)} pairs {'lacks' if missing == 1 else 'lack'} a trained row"


def _agreement(verdict: str, by_kid: Sequence[_Comparison], claim: Claim) -> str:
    """The verdict by KID, and how it differs from that by the distance."""
    if all(each.said == _ABSENT for each in by_kid):
        return _ABSENT
    found = _verdict(by_kid, claim)
    settled = [not each.startswith("not settled") for each in (verdict, found)]
    if all(settled) and found != verdict:
        return f"disagrees: {found}"
    return found if settled[0] == settled[1] else f"differs: {found}"


def findings(entries: Mapping[str, Entry]) -> list[Finding]:
    """Every claim, if there are rows of the paper, and the questions about ours whose rows were trained."""
    claims = CLAIMS if any(entry.paper for entry in entries.values()) else ()
    asked = [each for each in QUESTIONS if any({*pair} <= entries.keys() for pair in each.pairs)]
    return [judge(claim, entries) for claim in (*claims, *asked)]


def about(entries: Mapping[str, Entry]) -> list[str]:
    """The rule of the verdicts, and what they are about."""
    found = [
        f"A claim holds if a paired t-test over seeds supports each of its pairs (p < {LEVEL:g}, two-sided, "
        f"not corrected). It does not hold if a pair shows the opposite at p < {LEVEL:g} divided by the "
        f"number of pairs. As good means larger by less than {MARGIN:.0%} of the other row's mean; the tests "
        "then ask whether the difference is below that margin.",
        "The verdict is that by the Frechet distance, the paper's metric. Few volumes bias it, but not the "
        "KID, which takes the same tests.",
    ]
    if share_a_2d_run([*entries.values()]):
        found.append(
            "The seeds of a row of the paper share its 2D run, so these p-values answer for these 2D runs "
            "only."
        )
    return found
