import pytest

from voxflate._system.errors import VoxflateError
from voxflate.runs.chosen import find_snapshot, in_words, kimg_of
from voxflate.runs.snapshots import list_snapshots


@pytest.fixture
def run(tmp_path):
    """A run with snapshots at 0, 0.4 and 12.5 kimg, of which the second is the best; they are empty files."""
    from voxflate.runs.snapshots import snapshot_path

    for n_images in (0, 400, 12_500):
        path = snapshot_path(tmp_path, n_images)
        path.parent.mkdir(exist_ok=True)
        path.touch()
    rows = [(0, 3.0), (400, 1.0), (12_500, 2.0)]
    (tmp_path / "metrics.jsonl").write_text(
        "".join(
            f'{{"n_images": {n}, "kid-random-heldout-avg": {kid}, "extractor": "random"}}\n'
            for n, kid in rows
        )
    )
    return tmp_path


@pytest.mark.parametrize(
    ("which", "index"),
    [("newest", 2), ("best", 1), ("0.4", 1), (0.4, 1), ("12.5", 2), (12.5, 2), (0, 0), ("0", 0)],
)
def test_a_snapshot_is_found_by_name_and_by_kimg(run, which, index):
    assert find_snapshot(run, which) == list_snapshots(run)[index]


@pytest.mark.parametrize("which", ["worst", "", 400, "0.5", float("nan"), float("inf"), "1e400"])
def test_what_is_not_there_is_refused_with_what_is(run, which):
    with pytest.raises(VoxflateError, match=r"give newest, one of its kimg \(0, 0\.4, 12\.5\), or best"):
        find_snapshot(run, which)


def test_a_run_without_snapshots(tmp_path):
    with pytest.raises(VoxflateError, match="it has no snapshot"):
        find_snapshot(tmp_path, "newest")


def test_numbers_and_words():
    assert (kimg_of("2"), kimg_of("best"), in_words(3.0), in_words("newest")) == (2.0, None, "3", "newest")
