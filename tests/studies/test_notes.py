"""What stands below a table, and what its rows took."""

from __future__ import annotations

import doctest
import inspect

import pytest

from studies import cells
from studies.budgets import budget, budget_notes
from studies.collect import Entry
from studies.machines import clock_of, machine_of
from studies.notes import bias, learning_rates, measured_on, warnings
from tests.studies.fakes import a_result, a_start, a_twin, evaluated
from voxflate.evaluation import caveats
from voxflate.reports.measure import CHOSEN_BY_KID
from voxflate.reports.results import Result

DASH = "\N{EN DASH}"
NONE, ONE = "coca64-baseline", "coca64-baseline-inflate-1"


def entry(*results: Result, key: str = NONE) -> Entry:
    return Entry(key, results)


def test_small_and_large_numbers_keep_their_digits() -> None:
    found = doctest.testmod(cells)
    assert found.attempted >= 3
    assert not found.failed


def test_a_row_that_starts_from_a_2d_run_has_its_images_and_time() -> None:
    twins = {"twin-x": a_twin()}
    scratch, inflated = entry(a_result(NONE, 0, 50)), entry(a_result(ONE, 0, 50), a_result(ONE, 1, 60))
    assert budget(scratch, twins) == ["40", "60", DASH, "0.25 h", "0.25 h"]
    assert budget(inflated, twins) == ["40", "60", "200", "0.25 h", "0.50 h"]
    assert budget(inflated, twins, ["2D kimg", "3D time"]) == ["200", "0.25 h"]
    assert len(budget_notes([scratch, inflated], twins)) == 1


def test_the_time_of_a_2d_run_whose_result_is_missing_is_not_known() -> None:
    twins = {"twin-0": a_twin("twin-0")}
    runs = [a_start("own-preserving", seed, 50) for seed in (0, 1)]
    row = entry(*runs, key="own-preserving")
    assert budget(row, twins) == ["40", "60", "?", "0.17 h", "?"]
    assert budget_notes([row], twins)[1] == "?: the result of the 2D run is missing (own-preserving-s1)."
    recorded = a_start("own-preserving", 1, 50, twin={"name": "twin-1", "kimg": 100.0})
    assert budget(entry(runs[0], recorded), twins)[2:] == ["150", "0.17 h", "?"]


def test_the_note_names_weights_seed_and_slices() -> None:
    found = measured_on([entry(a_result(NONE, 0, 50))])
    assert "148 generated and 148 real volumes of 16x32x32, seed 0, 1 slice(s) per plane; " in found
    assert "features of random, weights (SHA-256) aaaaaaaaaaaa; " in found
    other = entry(evaluated(a_result(ONE, 0, 50), seed=3))
    assert "16x32x32, seed 0 and 3, " in measured_on([entry(a_result(NONE, 0, 50)), other])
    assert "16x32x32, 1 slice(s)" in measured_on([entry(evaluated(a_result(NONE, 0, 50), seed=None))])


def test_the_note_says_where_the_seeds_of_a_row_share_a_2d_run() -> None:
    def said(*results: Result, key: str = ONE) -> bool:
        return "share its 2D run, so deviations do not contain" in measured_on([entry(*results, key=key)])

    hashed = a_result(ONE, 0, 50), a_result(ONE, 1, 50)
    assert said(*hashed)
    assert said(hashed[0], a_result(ONE, 1, 50, twin={"name": "twin-x"}))  # of an older version
    assert not said(hashed[0])
    assert not said(hashed[0], a_result(ONE, 1, 50, twin={"name": "twin-x", "weights_sha256": "another"}))
    assert not said(a_result(NONE, 0, 50), a_result(NONE, 1, 50), key=NONE)
    assert not said(*(a_start("own-preserving", seed, 50) for seed in (0, 1)), key="own-preserving")


def test_warnings_of_evaluations_are_told_once_and_with_their_runs() -> None:
    networks = [{"name": name, "weights-sha256": "a" * 64, "features": 8} for name in ("random", "deepbet")]
    both = ("random: few volumes", "deepbet: few volumes")
    first = evaluated(a_result(NONE, 0, 50), (*both, "they are all alike"), extractors=networks)
    second = evaluated(a_result(ONE, 0, 50), both, extractors=networks)
    entries = [entry(first), entry(second)]
    assert warnings(entries, ["random"]) == [
        "Warning: random: few volumes.",
        f"Warning ({NONE}-s0): they are all alike.",
    ]
    assert "Warning: deepbet: few volumes." in warnings(entries, ["random", "deepbet"])
    assert warnings([entry(a_result(NONE, 0, 50))], ["random"]) == []


def test_the_bias_of_the_leading_network_is_for_the_caption() -> None:
    biased = (
        "random: few; Frechet distances are biased upwards",
        "deepbet: Frechet distances are biased upwards",
    )
    networks = [{"name": name, "weights-sha256": "a" * 64, "features": 8} for name in ("random", "deepbet")]
    entries = [entry(evaluated(a_result(name, 0, 50), biased, extractors=networks)) for name in (NONE, ONE)]
    assert bias(entries) == [f"{biased[0]}."]
    assert warnings(entries, ["random", "deepbet"]) == [f"Warning: {biased[1]}."]
    assert warnings(entries, ["random"]) == []
    some = [entries[0], entry(a_result(ONE, 0, 50))]
    assert bias(some) == [f"{biased[0]} ({NONE}-s0)."]


def test_the_words_of_the_bias_are_those_of_the_evaluations() -> None:
    source = inspect.getsource(caveats)
    assert "Frechet distances are biased upwards" in source


def test_how_a_snapshot_was_chosen_is_told_where_it_is_shown() -> None:
    older = "the held-out KID chose this snapshot on the same volumes"
    for words in (CHOSEN_BY_KID, older):
        row = [entry(evaluated(a_result(NONE, 0, 50), (words, "random: few volumes")))]
        assert warnings(row, ["random"]) == [f"Warning: {words}.", "Warning: random: few volumes."]
        assert warnings(row, ["random"], evaluated=False) == ["Warning: random: few volumes."]


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ({}, []),
        (
            {"training.lr_g": 0.001},
            ["Learning rates differ. Generator 0.0025: a; c. Generator 0.001: b, of two."],
        ),
        (
            {"training.lr_d": 0.01, "training.lr_decay": 0.5},
            [
                "Learning rates differ. Discriminator 0.0025, decays to a factor of 1: a; c. "
                "Discriminator 0.01, decays to a factor of 0.5: b, of two."
            ],
        ),
    ],
)
def test_learning_rates_are_named_where_rows_differ(rates: dict[str, float], said: list[str]) -> None:
    plain = a_result(NONE, 0, 50)
    other = a_result(NONE, 0, 50, settings={**plain.settings, **rates})
    assert learning_rates([("a", entry(plain)), ("b, of two", entry(other)), ("c", entry(plain))]) == said


def test_two_cards_are_two_machines() -> None:
    """Both are "cuda:0" to their processes."""
    cards = [{"device": "cuda:0", "gpu": name, "threads": 1} for name in ("H200, CUDA 13.0", "T4, CUDA 13.0")]
    runs = [a_result("coca64-baseline", 0, 50, machine=card) for card in cards]
    assert [clock_of(run)["device"] for run in runs] == ["H200, CUDA 13.0", "T4, CUDA 13.0"]
    assert [machine_of(run) for run in runs] == ["H200, CUDA 13.0, 1 thread(s)", "T4, CUDA 13.0, 1 thread(s)"]
