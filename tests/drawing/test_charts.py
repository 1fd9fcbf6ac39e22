"""The chart over the number of subjects: every interval is within the picture, every name in its legend."""

from matplotlib.figure import Figure

from voxflate.drawing import charts


def test_lines_and_levels_are_drawn_with_their_intervals(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(charts, "_save", lambda figure, path: drawn.append(figure))
    points = [(10, 0.5, 0.4, 0.6), (234, 0.8, 0.78, 0.82)]
    panels = {
        "dice": ({"real": points, "both": points[1:]}, {"generated": (0.7, 0.6, 0.75)}),
        "age": ({"real": [(10, 12.0, None, None)]}, {"mean": (14.0, None, None)}),
    }
    charts.over_subjects(panels, tmp_path / "chart.png")
    (figure,) = drawn
    assert isinstance(figure, Figure)
    first, second = figure.axes
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "real",
        "both",
        "generated",
        "mean",
    ]
    assert [label.get_text() for label in first.get_xticklabels()] == ["10", "234"]
    assert first.get_ylim()[0] < 0.4
    assert first.get_ylim()[1] > 0.82
    low, high = second.get_xlim()
    assert low < 10 < high
