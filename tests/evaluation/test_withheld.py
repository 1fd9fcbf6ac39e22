"""The audit's share of false alarms holds for people whom it has not seen."""

from __future__ import annotations

import numpy as np

from voxflate.evaluation.withheld import ALLOWED, Similarities, leads, thresholds_of, withheld_share

N_TRAIN, N_HELDOUT, N_NEW = 60, 8, 200


def a_set(seed: int, people: int = N_TRAIN + N_HELDOUT) -> tuple[Similarities, Similarities]:
    """A set of people and new ones, all of one distribution, so that none is a copy."""
    rng = np.random.default_rng(seed)
    shapes, looks = (rng.normal(size=(people + N_NEW, 6)) for _ in range(2))
    names = np.array([f"person-{number}" for number in range(people + N_NEW)])
    n_train = people - N_HELDOUT
    correlations = np.exp(-np.linalg.norm(shapes[:, None] - shapes[:n_train], axis=2) / 4)
    gaps = np.linalg.norm(looks[:, None] - looks[:n_train], axis=2)
    owners = names[:n_train]
    return (
        Similarities(correlations[:people], gaps[:people], names[:people], owners),
        Similarities(correlations[people:], gaps[people:], names[people:], owners),
    )


def share(each: Similarities, limits: np.ndarray) -> float:
    rows, columns = (np.ones(len(part), bool) for part in (each.people, each.owners))
    return float((each.distances(rows, columns) < limits).any(1).mean())


def test_unknown_people_are_flagged_as_often_as_it_says() -> None:
    said, found, own = [], [], []
    for seed in range(30):
        known, new = a_set(seed)
        limits = thresholds_of(known.distances(np.ones(len(known.people), bool), np.ones(N_TRAIN, bool)))
        expected = withheld_share(known, seed)
        assert expected is not None
        said.append(expected)
        found.append(share(new, limits))
        own.append(share(known, limits))
    error = np.hypot(np.std(said), np.std(found)) / np.sqrt(len(said))
    assert abs(np.mean(said) - np.mean(found)) < 3 * error
    assert np.mean(found) > 2 * ALLOWED
    assert np.mean(own) < np.mean(found) - 3 * error  # why the share of the volumes themselves is no answer


def test_the_share_is_the_same_each_time() -> None:
    known, _ = a_set(0)
    assert withheld_share(known, 1) == withheld_share(known, 1)


def test_few_people_give_no_share() -> None:
    assert withheld_share(a_set(0, people=9)[0], 0) is None


def test_other_volumes_of_a_person_do_not_count() -> None:
    known, _ = a_set(0)
    twice = Similarities(
        np.concatenate([known.correlations] * 2, axis=1),
        np.concatenate([known.gaps] * 2, axis=1),
        known.people,
        np.concatenate([known.owners] * 2),
    )
    everything = np.ones(len(known.people), bool)
    np.testing.assert_array_equal(
        twice.distances(everything, np.ones(2 * N_TRAIN, bool)),
        known.distances(everything, np.ones(N_TRAIN, bool)),
    )


def test_copies_under_two_names_have_no_lead_instead_of_nan() -> None:
    owners = np.array(["a", "b", "c"])
    correlations = np.array([[1.0, 1.0, 0.3], [1 + 2e-7, 1 + 1e-7, 0.3], [1.0, 0.5, 0.3]])
    assert leads(correlations, owners).tolist() == [1.0, 1.0, 2e-6]
