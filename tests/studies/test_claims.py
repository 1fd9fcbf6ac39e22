"""Claims by the Frechet distance, and whether the KID, which few volumes do not bias, agrees."""

from __future__ import annotations

import pytest

from studies.claims import Claim, Finding, judge
from studies.collect import collect
from studies.pages import html, latex, markdown
from tests.studies.fakes import a_result, a_start, evaluated
from voxflate.evaluation import Metric

NONE, ONE = "coca64-baseline", "coca64-baseline-inflate-1"
LESS, MORE, MIXED = [0.050, 0.061, 0.070], [0.080, 0.090, 0.101], [0.090, 0.050, 0.096]


def found(distances: list[list[float]], kids: list[list[float]], metric: str = "") -> Finding:
    results = [
        a_result(key, seed, distance, kid)
        for key, of_row, kid_of_row in zip((ONE, NONE), distances, kids, strict=True)
        for seed, (distance, kid) in enumerate(zip(of_row, kid_of_row, strict=True))
    ]
    return judge(Claim("text", [(ONE, NONE)], metric=metric), collect(results).entries)


@pytest.mark.parametrize(
    ("kids", "verdict", "words"),
    [
        ([LESS, MORE], "holds", "KID 0.06033 against 0.09033 (p = "),
        ([MORE, LESS], "disagrees: does not hold", ", 3 seeds) disagrees"),
        ([MIXED, MORE], "differs: not settled (0 of 1 comparisons)", ", 3 seeds)"),
        ([MORE, MIXED], "differs: not settled (0 of 1 comparisons)", ", 3 seeds), in the other order"),
    ],
)
def test_the_distance_decides_and_the_kid_is_told(kids: list[list[float]], verdict: str, words: str) -> None:
    finding = found([[50, 61, 70], [80, 90, 101]], kids)
    assert (finding.verdict, finding.kid) == ("holds", verdict)
    assert "baseline-inflate-1 and baseline: 60.33 against 90.33 (p = " in finding.detail
    assert words in finding.detail
    assert ("other order" in finding.detail) == ("other order" in words)
    assert ("disagrees" in finding.detail) == ("disagrees" in verdict)


def test_the_kid_may_settle_what_the_distance_does_not() -> None:
    mixed = [[90.0, 50.0, 96.0], [80.0, 90.0, 101.0]]
    finding = found(mixed, [LESS, MORE])
    assert (finding.verdict, finding.kid) == ("not settled (0 of 1 comparisons)", "differs: holds")
    finding = found(mixed, [MIXED, MORE])
    assert finding.kid == finding.verdict == "not settled (0 of 1 comparisons)"


def test_one_seed_settles_nothing_by_either_metric() -> None:
    finding = found([[50], [90]], [[0.09], [0.05]])
    assert finding.kid == finding.verdict == "not settled (0 of 1 comparisons)"
    assert "KID 0.09 against 0.05 (one shared seed), in the other order" in finding.detail


def test_the_numbers_are_those_of_the_shared_seeds() -> None:
    """All seeds together would show the order that the test rejects."""
    finding = found([[50, 51, 130], [60, 61.5]], [[0.05, 0.051, 0.13], [0.06, 0.0615]])
    said = "50.5 against 60.75 (p = 0.016, 2 seeds), KID 0.0505 against 0.06075 (p = 0.016, 2 seeds)"
    assert (finding.verdict, finding.detail) == ("holds", f"baseline-inflate-1 and baseline: {said}")
    results = [a_result(ONE, 0, 50), a_result(NONE, 1, 90)]
    apart = judge(Claim("text", [(ONE, NONE)]), collect(results).entries)
    assert apart.kid == apart.verdict == "not settled (0 of 1 comparisons)"
    assert apart.detail.endswith("no shared seed, KID no shared seed")


def test_our_rows_are_compared_by_the_means_of_table_9() -> None:
    keys = ("own-none-slices", "own-none")
    results = [a_start(key, seed, 50 + seed) for key in keys for seed in range(3)]
    # Its evaluated snapshots are better, but not its last ones.
    results = [
        evaluated(each, metrics={"frechet-random-avg": Metric(5.0 + each.seed)})
        if "slices" in each.name
        else each
        for each in results
    ]
    finding = judge(Claim("text", [keys]), collect(results).entries)
    assert finding.verdict.startswith("not settled")
    assert "51 against 51 (p = 1, 3 seeds)" in finding.detail


def test_results_without_kid_have_a_verdict_all_the_same() -> None:
    results = [
        evaluated(a_result(key, seed, distance + seed), metrics={"kid-random-avg": None})
        for key, distance in ((ONE, 50), (NONE, 90))
        for seed in range(3)
    ]
    finding = judge(Claim("text", [(ONE, NONE)]), collect(results).entries)
    assert (finding.verdict, finding.kid) == ("holds", "not measured")
    assert finding.detail.endswith("KID not measured")


def test_a_claim_about_other_features_has_no_kid() -> None:
    """There is none of the voxels (decision 0199)."""
    results = [
        evaluated(a_result(key, seed, 50), metrics={"frechet-voxels-3d": Metric(near + seed)})
        for key, near in ((ONE, 30), (NONE, 60))
        for seed in range(3)
    ]
    finding = judge(Claim("text", [(ONE, NONE)], metric="frechet-voxels-3d"), collect(results).entries)
    assert (finding.verdict, finding.kid) == ("holds", "not measured")
    assert finding.detail == "baseline-inflate-1 and baseline: 31 against 61 (p = 0, 3 seeds)"


def test_pairs_that_were_not_trained_are_counted() -> None:
    entries = collect([a_result(ONE, 0, 50), a_result(NONE, 0, 60)]).entries
    absent = [("coca64-split", NONE), ("coca64-split", ONE)]
    assert judge(Claim("text", absent), entries).detail == "no pair of its rows was trained"
    assert judge(Claim("text", [(ONE, NONE), *absent]), entries).detail.endswith(
        "; 2 of 3 pairs lack a trained row"
    )
    assert judge(Claim("text", [(ONE, NONE), absent[0]]), entries).detail.endswith(
        "; 1 of 2 pairs lacks a trained row"
    )


def test_a_negative_kid_has_no_margin() -> None:
    """Otherwise a row could not be as good as itself."""
    rows = [a_result(key, seed, 50 + seed, -0.001) for key in (ONE, NONE) for seed in range(3)]
    finding = judge(Claim("text", [(ONE, NONE)], strict=False), collect(rows).entries)
    assert "difference 0 to 0, margin 0)" in finding.detail.partition("KID")[2]


def test_pages_show_both_verdicts_and_say_what_they_are() -> None:
    claims = [Finding("a claim", "holds", "disagrees: does not hold", "1 against 2")]
    pages = [write({}, claims, ["a note"]) for write in (markdown, latex, html)]
    assert "| a claim | holds | disagrees: does not hold | 1 against 2 |" in pages[0]
    assert "a claim & holds & disagrees: does not hold" in pages[1]
    assert "<td>a claim</td><td>holds</td><td>disagrees: does not hold</td><td>1 against 2</td>" in pages[2]
    for page in pages:
        assert "Few volumes bias it, but not the KID" in page
        assert "a note" in page
