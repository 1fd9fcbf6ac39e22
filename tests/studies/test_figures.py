"""Figures from a folder of results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from studies import figures
from studies.collect import collect
from studies.figures import FIG_4, FIG_5, FIG_6, FIG_9, FIGURES, chosen, write_figures
from tests.studies.fakes import a_result
from tests.studies.test_tables import MODELS, NONE, ONE, seeds, written
from voxflate.drawing import charts


def test_figures_are_drawn_where_their_rows_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[str] = []
    draw = charts.embedding
    monkeypatch.setattr(charts, "embedding", lambda sets, *more: (groups.extend(sets), draw(sets, *more)))
    keys = [*FIG_4, "coca64-split-shuffle-inflate-1", "coca64-alpha-wgan-gp", "adni64-baseline"]
    folder = written(tmp_path / "results", [r for key in keys for r in seeds(key, 100, 110)])
    found = write_figures(folder, tmp_path / "figures")
    drawn = [name for name in FIGURES if not found[name]]
    assert drawn == ["figure-4.png", "figure-5.png", "figure-7.png", "figure-9.png"]
    assert groups == ["real", MODELS[5], MODELS[3], MODELS[4]]  # as in Table 6
    for name in drawn:
        with Image.open(tmp_path / "figures" / name) as picture:
            assert min(picture.size) > 50
    assert "2 of the rows adni64-split-shuffle-inflate-1" in found["figure-8.png"]
    assert json.loads((tmp_path / "figures" / "figures.json").read_text()) == found


def test_runs_without_metrics_at_snapshots_have_no_curves(tmp_path: Path) -> None:
    empty = {"n_images": [], "seconds": [], "sample-sha256": []}
    folder = written(tmp_path / "results", [a_result(NONE, 0, 50, snapshots=empty, best=None)])
    found = write_figures(folder, tmp_path / "figures")
    assert found["figure-4.png"] == "no row has metrics at snapshots"
    assert found["figure-5.png"] == ""


def test_a_sheet_is_not_called_best_where_the_best_is_not_known() -> None:
    assert chosen(a_result(NONE, 0, 5)) == "best (40 kimg)"
    assert chosen(a_result(NONE, 0, 5, best=None)) == "last (60 kimg)"


def test_a_figure_whose_rows_are_gone_is_removed(tmp_path: Path) -> None:
    folder = written(tmp_path / "results", seeds(NONE, 100))
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "figure-6.png").write_bytes(b"old")
    write_figures(folder, tmp_path / "figures")
    assert not (tmp_path / "figures" / "figure-6.png").exists()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the charts of curves and points are given."""
    found: list[Any] = []
    draw = charts.bands

    def recorded(*arguments: Any) -> None:
        found.append(arguments)
        draw(*arguments)

    monkeypatch.setattr(charts, "bands", recorded)
    monkeypatch.setattr(charts, "embedding", lambda points, path, title: found.append(title))
    return found


def test_figure_4_has_the_best_snapshot_of_a_row_and_says_what_a_band_is(
    tmp_path: Path, drawn: list[Any]
) -> None:
    results = [*seeds(NONE, 100, 110), *seeds(ONE, 70, 80)]
    figures.curves(collect(results), tmp_path / "a.png")
    panels, _, _, _, best, note = drawn[-1]
    assert best == {"No Inflate": 40.0, "Inflate-1": 40.0}  # of 0, 20, 40 and 60 kimg
    assert note.startswith(
        "Line: mean over 2 seeds; band: \N{PLUS-MINUS SIGN} standard deviation. Ring: best "
    )
    assert panels["axial"]["Inflate-1"][2][:2] == (40.0, 75.0)
    figures.curves(collect([*results, a_result(ONE, 2, 90)]), tmp_path / "b.png")
    panels, _, _, _, best, note = drawn[-1]
    assert list(best) == list(panels["axial"]) == ["No Inflate (n = 2)", "Inflate-1 (n = 3)"]
    assert note.startswith("Line: mean over seeds (n); ")
    figures.curves(collect(seeds(NONE, 100)), tmp_path / "c.png")
    assert drawn[-1][-1].startswith("One seed. Ring: ")


def test_a_ring_and_a_note_are_drawn(tmp_path: Path) -> None:
    panels = {"axial": {"row": [(0.0, 9.0, 1.0), (5.0, 3.0, 1.0)]}}
    pictures = []
    for number, more in enumerate(({}, {"best": {"row": 5.0}}, {"note": "a note"})):
        charts.bands(panels, tmp_path / f"{number}.png", "distance", **more)
        pictures.append((tmp_path / f"{number}.png").read_bytes())
    assert len(set(pictures)) == 3


def test_samples_say_their_seed(tmp_path: Path, drawn: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    captions: list[str] = []
    monkeypatch.setattr(
        figures, "_stack", lambda parts, *more, **options: captions.extend(c for c, _ in parts)
    )
    collection = collect([a_result(name, 1, 50) for name in (*FIG_5, *FIG_6, *FIG_9)])
    figures.starts_and_ends(FIG_5, 1)(collection, tmp_path / "5.png")
    figures.finest(collection, tmp_path / "6.png")
    assert captions == [
        "No Inflate, seed 1, kimg 0", "No Inflate, seed 1, best (40 kimg)", "Inflate-1, seed 1, kimg 0",
        "Inflate-1, seed 1, best (40 kimg)", "Baseline, seed 1", "Split&Shuffle, seed 1",
    ]  # fmt: skip
    captions.clear()
    figures.starts_and_ends(FIG_9, 7)(collection, tmp_path / "9.png")
    assert captions[::2] == [f"{name}, seed 1, kimg 0" for name in MODELS]  # in the order of Table 7
    figures.embedded(["adni64-baseline", "adni64-wgan-gp"], 7)(collection, tmp_path / "8.png")
    assert drawn == ["t-SNE of centre slices, seed 1"]
    mixed = collect([a_result("adni64-baseline", 0, 50), a_result("adni64-wgan-gp", 2, 50)])
    figures.embedded(["adni64-baseline", "adni64-wgan-gp"], 7)(mixed, tmp_path / "8.png")
    assert drawn[1:] == ["t-SNE of centre slices, seed 0 and 2"]
