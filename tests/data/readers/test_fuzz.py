from benchmarks.fuzz_readers import KINDS, fuzz


def test_damaged_scans_end_in_a_volume_or_in_one_clear_line() -> None:
    """The short form of `python -m benchmarks.fuzz_readers`, which makes thousands."""
    ends, wrong = fuzz(cases=80, seed=1)
    assert wrong == []
    assert sum(ends.values()) == 80
    assert {end.split(": ")[1] for end in ends} == {"prepared", "refused"}
    assert {end.split()[0] for end in ends} == set(KINDS)
