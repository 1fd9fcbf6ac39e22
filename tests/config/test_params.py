from __future__ import annotations

import pytest

from voxflate.config.paper_rows import PaperRow
from voxflate.config.params import (
    PrintedCount,
    compare_counts,
    count_parameters,
    counted_presets,
    differences,
)
from voxflate.config.presets import PRESETS, Preset
from voxflate.config.schema import NetworkConfig

# Generator, discriminator, encoder and discriminator of codes (where there are any), from the analytic count
# of every layer (decision 0012).
EXACT = {
    ("COCA 32x64x64", "No Inflate / Baseline / 3D-StyleGAN2"): (312_718, 286_977),
    ("COCA 32x64x64", "Group-D"): (312_718, 121_089),
    ("COCA 32x64x64", "Depthwise-D"): (312_718, 54_332),
    ("COCA 32x64x64", "Split&Shuffle-D"): (312_718, 102_881),
    ("COCA 32x64x64", "Split"): (188_302, 102_881),
    ("COCA 32x64x64", "Split&Shuffle"): (188_302, 102_881),
    ("ADNI 64x64x64", "3D-StyleGAN2"): (313_742, 319_745),
    ("ADNI 64x64x64", "Split&Shuffle (Ours)"): (189_326, 135_649),
    ("COCA 32x128x128", "Baseline"): (1_322_641, 1_305_217),
    ("COCA 32x128x128", "Split&Shuffle"): (714_385, 699_457),
    ("COCA 32x64x64", "3D-WGAN-GP"): (704_912, 693_937),
    ("COCA 32x64x64", "3D-VAE-GAN"): (704_912, 693_937, 4_989_816),
    ("COCA 32x64x64", "3D-alpha-GAN"): (700_816, 693_937, 1_099_540, 316_929),
    ("COCA 32x64x64", "3D-alpha-WGAN-GP"): (700_816, 693_937, 1_099_540, 316_929),
    ("ADNI 64x64x64", "3D-WGAN-GP"): (1_118_608, 698_033),
    ("ADNI 64x64x64", "3D-VAE-GAN"): (1_118_608, 698_033, 9_184_120),
    ("ADNI 64x64x64", "3D-alpha-GAN"): (1_110_416, 698_033, 1_509_140, 316_929),
    ("ADNI 64x64x64", "3D-alpha-WGAN-GP"): (1_110_416, 698_033, 1_509_140, 316_929),
}


@pytest.fixture(scope="module")
def comparisons() -> list[PrintedCount]:
    return compare_counts()


def test_the_paper_has_18_figures() -> None:
    assert sum(PRESETS[name].exact for name in counted_presets()) == 18


def test_every_row_equals_the_paper(comparisons: list[PrintedCount]) -> None:
    ours = [row for row in comparisons if row.preset.exact]
    assert len(ours) == len(EXACT) == 18
    assert not differences(comparisons)
    for row in ours:
        assert row.agrees, row
        assert tuple(row.ours.values()) == EXACT[row.row.setting, row.row.label]


def test_rows_with_the_same_networks_print_the_same_count() -> None:
    by_networks: dict[tuple[object, ...], set[float]] = {}
    for each in PRESETS.values():
        if each.exact and each.row.millions is not None:
            kind = [value for key, value in each.values.items() if key.startswith(("model", "network."))]
            by_networks.setdefault(tuple(kind), set()).add(each.row.millions)
    assert len(by_networks) == 18
    assert all(len(counts) == 1 for counts in by_networks.values())


def test_the_reading_of_the_text_is_shown_and_not_counted(comparisons: list[PrintedCount]) -> None:
    (row,) = (row for row in comparisons if not row.preset.exact)
    assert f"{row.total / 1e6:.3f}" == "1.121"
    assert not row.agrees
    assert row not in differences(comparisons)


def test_a_count_agrees_to_three_decimals_only() -> None:
    row = Preset({}, PaperRow("setting", {3: "model"}, (1, 1, 1, 1), 0.600))
    agreeing, off = (PrintedCount(row, {"g": 312_718, "d": d}) for d in (286_977, 287_800))
    assert agreeing.agrees
    assert not off.agrees
    assert differences([agreeing, off]) == [off]
    assert (agreeing.remark, off.remark) == ("equal", "differs")


def test_the_twin_has_fewer_parameters() -> None:
    flat, deep = (count_parameters(NetworkConfig(), dims) for dims in (2, 3))
    assert flat.keys() == deep.keys()
    assert all(flat[name] < deep[name] for name in flat)
