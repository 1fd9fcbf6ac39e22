from __future__ import annotations

import pytest

from voxflate.config import NetworkConfig
from voxflate.params import (
    PAPER_COUNTS,
    Comparison,
    PaperCount,
    compare_counts,
    count_parameters,
    differences,
)

# (generator, discriminator) from the analytic count of every layer (decision 0012).
EXACT = {
    ("COCA 32x64x64", "Baseline"): (312_718, 286_977),
    ("COCA 32x64x64", "Group-D"): (312_718, 121_089),
    ("COCA 32x64x64", "Depthwise-D"): (312_718, 54_332),
    ("COCA 32x64x64", "Split&Shuffle-D"): (312_718, 102_881),
    ("COCA 32x64x64", "Split"): (188_302, 102_881),
    ("COCA 32x64x64", "Split&Shuffle"): (188_302, 102_881),
    ("ADNI 64x64x64", "3D-StyleGAN2"): (313_742, 319_745),
    ("ADNI 64x64x64", "Split&Shuffle"): (189_326, 135_649),
    ("COCA 32x128x128", "Baseline"): (1_322_641, 1_305_217),
    ("COCA 32x128x128", "Split&Shuffle"): (714_385, 699_457),
}


@pytest.fixture(scope="module")
def comparisons() -> list[Comparison]:
    pytest.importorskip("voxflate.build")
    return compare_counts()


def test_the_paper_has_18_figures() -> None:
    assert sum(row.counts for row in PAPER_COUNTS) == 18


def test_every_style_gan_row_equals_the_paper(comparisons: list[Comparison]) -> None:
    ours = [row for row in comparisons if row.paper.network and row.paper.counts]
    assert len(ours) == 10
    for row in ours:
        assert row.agrees, row
        assert (row.generator, row.discriminator) == EXACT[row.paper.setting, row.paper.model]


def test_the_reading_of_the_text_is_shown_and_not_counted(comparisons: list[Comparison]) -> None:
    (row,) = (row for row in comparisons if not row.paper.counts)
    assert row.total is not None
    assert f"{row.total / 1e6:.3f}" == "1.121"
    assert not row.agrees
    assert row not in differences(comparisons)


def test_models_that_are_not_built_count_as_differences(comparisons: list[Comparison]) -> None:
    assert [row.remark for row in differences(comparisons)] == ["not built yet"] * 8


def test_a_count_agrees_to_three_decimals_only() -> None:
    row = PaperCount("setting", "model", 0.600, NetworkConfig())
    assert Comparison(row, 312_718, 286_977).agrees
    assert not Comparison(row, 312_718, 287_800).agrees
    assert not Comparison(row, None, None).agrees


def test_the_twin_has_fewer_parameters(comparisons: list[Comparison]) -> None:
    flat, deep = (count_parameters(NetworkConfig(), dims) for dims in (2, 3))
    assert flat[0] < deep[0]
    assert flat[1] < deep[1]
