"""Claims by the Frechet distance, and whether the KID, which few volumes do not bias, agrees."""

from __future__ import annotations

import pytest

from studies.claims import QUESTIONS, Claim
from studies.collect import collect
from studies.findings import Finding, about, findings, judge
from studies.own import OWN
from studies.pages import html, latex, markdown
from tests.studies.fakes import a_result, a_start, evaluated
from voxflate.evaluation import Metric

DASH = "\N{EN DASH}"
NONE, ONE = "coca64-baseline", "coca64-baseline-inflate-1"
LESS, MORE, MIXED = [0.050, 0.061, 0.070], [0.080, 0.090, 0.101], [0.090, 0.050, 0.096]


def found(distances: list[list[float]], kids: list[list[float]]) -> Finding:
    results = [
        a_result(key, seed, distance, kid)
        for key, of_row, kid_of_row in zip((ONE, NONE), distances, kids, strict=True)
        for seed, (distance, kid) in enumerate(zip(of_row, kid_of_row, strict=True))
    ]
    return judge(Claim("text", [(ONE, NONE)], tables=(1,)), collect(results).entries)


@pytest.mark.parametrize(
    ("kids", "verdict", "words"),
    [
        ([LESS, MORE], "holds", "KID 0.06033 and 0.09033 (p = "),
        ([MORE, LESS], "disagrees: does not hold", ", 3 seeds) disagrees"),
        ([MIXED, MORE], "differs: not settled, in its order", ", 3 seeds)"),
        ([MORE, MIXED], "differs: not settled, in the other order", ", 3 seeds), in the other order"),
    ],
)
def test_the_distance_decides_and_the_kid_is_told(kids: list[list[float]], verdict: str, words: str) -> None:
    finding = found([[50, 61, 70], [80, 90, 101]], kids)
    assert (finding.verdict, finding.kid) == ("holds", verdict)
    assert finding.detail.startswith(
        "Inflate-1 against No Inflate: 60.33 and 90.33 (p = 0.00037, 3 seeds), KID "
    )
    assert finding.p == "0.00037"
    assert words in finding.detail
    assert ("other order" in finding.detail) == ("other order" in words)
    assert ("disagrees" in finding.detail) == ("disagrees" in verdict)


def test_the_kid_may_settle_what_the_distance_does_not() -> None:
    mixed = [[90.0, 50.0, 96.0], [80.0, 90.0, 101.0]]
    finding = found(mixed, [LESS, MORE])
    assert (finding.verdict, finding.kid) == ("not settled, in its order", "differs: holds")
    finding = found(mixed, [MIXED, MORE])
    assert finding.kid == finding.verdict == "not settled, in its order"


def test_one_seed_settles_nothing_by_either_metric() -> None:
    finding = found([[50], [90]], [[0.09], [0.05]])
    assert (finding.verdict, finding.kid) == ("not settled, in its order", "not settled, in the other order")
    assert "KID 0.09 and 0.05 (one shared seed), in the other order" in finding.detail
    assert finding.p == DASH


def test_the_numbers_are_those_of_the_shared_seeds() -> None:
    """All seeds together would show the order that the test rejects."""
    finding = found([[50, 51, 130], [60, 61.5]], [[0.05, 0.051, 0.13], [0.06, 0.0615]])
    said = "50.5 and 60.75 (p = 0.016, 2 seeds), KID 0.0505 and 0.06075 (p = 0.016, 2 seeds)"
    assert (finding.verdict, finding.detail) == ("holds", f"Inflate-1 against No Inflate: {said}")
    results = [a_result(ONE, 0, 50), a_result(NONE, 1, 90)]
    apart = judge(Claim("text", [(ONE, NONE)], tables=(1,)), collect(results).entries)
    assert apart.kid == apart.verdict == "not settled, no shared seed"
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
    assert "51 and 51 (p = 1, 3 seeds)" in finding.detail


def test_results_without_kid_have_a_verdict_all_the_same() -> None:
    results = [
        evaluated(a_result(key, seed, distance + seed), metrics={"kid-random-avg": None})
        for key, distance in ((ONE, 50), (NONE, 90))
        for seed in range(3)
    ]
    finding = judge(Claim("text", [(ONE, NONE)], tables=(1,)), collect(results).entries)
    assert (finding.verdict, finding.kid) == ("holds", "not measured")
    assert finding.detail.endswith("KID not measured")


def test_a_claim_about_other_features_has_no_kid() -> None:
    """There is none of the voxels (decision 0199)."""
    results = [
        evaluated(a_result(key, seed, 50), metrics={"frechet-voxels-3d": Metric(near + seed)})
        for key, near in ((ONE, 30), (NONE, 60))
        for seed in range(3)
    ]
    claim = Claim("text", [(ONE, NONE)], metric="frechet-voxels-3d", tables=(1,))
    finding = judge(claim, collect(results).entries)
    assert (finding.verdict, finding.kid) == ("holds", "not measured")
    assert finding.detail == "Inflate-1 against No Inflate: 31 and 61 (p = 0, 3 seeds)"


def test_pairs_that_were_not_trained_are_counted() -> None:
    entries = collect([a_result(ONE, 0, 50), a_result(NONE, 0, 60)]).entries
    absent = [("coca64-split", NONE), ("coca64-split", ONE)]
    assert judge(Claim("text", absent), entries).detail == "no pair of its rows was trained"
    finding = judge(Claim("text", [(ONE, NONE), *absent], tables=(1,)), entries)
    assert finding.detail.endswith("; 2 of 3 pairs lack a trained row")
    assert finding.verdict == "not settled (0 of 3 hold, 1 of 3 in its order)"
    finding = judge(Claim("text", [(ONE, NONE), absent[0]], tables=(1,)), entries)
    assert finding.detail.endswith("; 1 of 2 pairs lacks a trained row")


TWO, THREE = "coca64-baseline-inflate-2", "coca64-baseline-inflate-3"


def of_several(*rows: list[float], strict: bool = True) -> Finding:
    """The claim that the first row is nearer than each of the others."""
    keys = (ONE, NONE, TWO, THREE)[: len(rows)]
    results = [
        a_result(key, seed, distance)
        for key, row in zip(keys, rows, strict=True)
        for seed, distance in enumerate(row)
    ]
    claim = Claim("text", [(ONE, key) for key in keys[1:]], strict, tables=(1,))
    return judge(claim, collect(results).entries)


def test_an_open_claim_says_how_many_pairs_hold_and_have_its_order() -> None:
    finding = of_several([50, 61, 70], [80, 90, 101], [50, 95, 60], [40, 71, 60])
    assert finding.verdict == "not settled (1 of 3 hold, 2 of 3 in its order)"
    assert finding.detail.startswith("Inflate-1 against Inflate-3: 60.33 and 57 (p = 0.67, 3 seeds)")
    assert finding.p == "0.67"
    assert [pair.partition(":")[0] for pair in finding.pairs] == [
        "Inflate-1 against No Inflate", "Inflate-1 against Inflate-2", "Inflate-1 against Inflate-3"
    ]  # fmt: skip


def test_an_open_claim_to_be_as_good_says_whether_it_is_in_the_margin() -> None:
    row = [80.0, 90.0, 101.0]
    assert of_several([81, 89, 116], row, strict=False).verdict == "not settled, in the margin"
    assert of_several([112, 80, 101.0], row, strict=False).verdict == "not settled, in the margin"
    assert of_several([112, 90, 101.0], row, strict=False).verdict == "not settled, beyond it"
    several = of_several([112, 90, 101.0], row, [100.0, 120.0, 90.0], strict=False)
    assert several.verdict == "not settled (0 of 2 hold, 1 of 2 in the margin)"


@pytest.mark.parametrize("strict", [True, False])
def test_one_of_several_pairs_refutes_by_a_smaller_p(strict: bool) -> None:
    """By chance one of many pairs is significant; with one pair there is nothing to correct."""
    far = [100.0, 90.0, 110.0]
    worse = [107.0, 101.0, 126.0] if strict else [120.0, 122.0, 139.0]
    alone = of_several(worse, far, strict=strict)
    assert 0.02 < float(alone.p) < 0.05
    assert alone.verdict == "does not hold"
    others = [value + 20 for value in worse]
    finding = of_several(worse, far, others, [each + 1 for each in others], strict=strict)
    assert finding.verdict.startswith("not settled (2 of 3 hold, 2 of 3 in ")
    much = of_several([each + 60 for each in far], far, [200.0, 180.0, 220.0], strict=strict)
    assert much.verdict == "does not hold"
    assert much.detail.startswith("refuted by Inflate-1 against No Inflate: 160 and 100 (")


def test_rows_of_several_tables_have_their_table() -> None:
    keys = ("coca64-split-shuffle-inflate-1", "coca64-split-shuffle")
    entries = collect([a_result(key, 0, 50) for key in keys]).entries
    detail = judge(Claim("text", [keys], tables=(1, 3, 4)), entries).detail
    assert detail.startswith("Split&Shuffle (Table 4) against Split&Shuffle (Table 3): 50 and 50 ")


def test_a_claim_is_about_its_tables() -> None:
    assert [Claim("text", (), tables=numbers).title for numbers in ((), (1,), (1, 3), (1, 3, 4))] == [
        "text", "text (Table 1)", "text (Tables 1 and 3)", "text (Tables 1, 3 and 4)"
    ]  # fmt: skip


def test_questions_whose_rows_were_not_trained_are_not_asked() -> None:
    entries = collect([a_start(key, 0, 50) for key in ("own-none", "own-none-slices")]).entries
    assert [each.claim for each in findings(entries)] == [
        "Ours: the slice discriminator helps, start none",
        "Ours: the slice discriminator helps by the voxels, which no network has seen, start none",
    ]
    assert len(QUESTIONS) == 2 * 4 + 2 * 3 + 2
    assert all({*pair} <= OWN.keys() for each in QUESTIONS for pair in each.pairs)
    assert all(len(each.pairs) == 1 for each in QUESTIONS)


def test_the_text_says_the_rule_and_which_2d_runs_the_p_values_are_about() -> None:
    one_run = collect([a_result(ONE, seed, 50) for seed in range(2)]).entries
    own_runs = collect([a_start("own-preserving", seed, 50) for seed in range(2)]).entries
    for entries in (one_run, own_runs):
        said = " ".join(about(entries))
        assert "a paired t-test over seeds supports each of its pairs (p < 0.05, two-sided" in said
        assert "the opposite at p < 0.05 divided by the number of pairs" in said
        assert "less than 10% of the other row's mean" in said
        assert ("share its 2D run, so these p-values answer for these" in said) == (entries is one_run)


def test_a_negative_kid_has_no_margin() -> None:
    """Otherwise a row could not be as good as itself."""
    rows = [a_result(key, seed, 50 + seed, -0.001) for key in (ONE, NONE) for seed in range(3)]
    finding = judge(Claim("text", [(ONE, NONE)], strict=False, tables=(1,)), collect(rows).entries)
    assert "(difference 0 to 0, margin 0, p = 1, 3 seeds)" in finding.detail.partition("KID")[2]


def test_pages_show_both_verdicts_and_say_what_they_are() -> None:
    pairs = ("A against B: 1 and 2", "A against C: 1 and 3")
    claims = [Finding("a claim", "holds", "disagrees: does not hold", "0.04", pairs[0], pairs)]
    pages = [write({}, claims, ["the rule"], ["a note"]) for write in (markdown, latex, html)]
    cells = ("a claim", "holds", "0.04", "disagrees: does not hold", pairs[0])
    assert "| --- | --- | --- | --- | --- |" in pages[0]
    assert f"| {' | '.join(cells)} |" in pages[0]
    assert " & ".join(cells[:4]) in pages[1]
    assert "".join(f"<td>{cell}</td>" for cell in cells) in pages[2]
    assert "- A against C: 1 and 3" in pages[0]
    assert "% a claim: A against C: 1 and 3" in pages[1]
    assert "<li>A against C: 1 and 3</li>" in pages[2]
    for page in pages:
        assert page.count("the rule") == page.count("a note") == 1
    assert "the rule" in pages[1].partition("\\caption")[2].partition("\\label")[0]
