"""On a GPU, no operation of a step joins two devices, and nothing is copied but what `send` copies."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch

from tests.fake_gpu import EXISTS, joined_by_hand, joined_in_steps

pytestmark = pytest.mark.skipif(not EXISTS, reason="this PyTorch lets Python declare no device")

SLICES = {
    "slice_discriminator__weight": 1.0,
    "slice_discriminator__side": 32,
    "slice_discriminator__features": "random",
}
CASES = {
    "parts": {
        **SLICES,
        "slice_discriminator__channels": "neighbours",
        "training__augment": "translation,cutout,intensity",
        "training__reuse_fakes": True,
        "training__micro_batch": 2,
        "training__activation_checkpointing": True,
    },
    "channels": {
        **SLICES,
        "slice_discriminator__channels": "colours",
        "slice_discriminator__spectral_norm": True,
        "network__image_channels": 5,
    },
    "planar": {
        **SLICES,
        "training__phase": "2d",
        "training__twin": "planar",
        "network__position": True,
        "network__label_width": 3,
    },
}


@pytest.fixture(scope="module")
def elsewhere():
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawned, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield pool


@pytest.mark.parametrize("case", CASES)
def test_no_operation_of_a_step_joins_two_devices(case, elsewhere):
    joined, operations = elsewhere.submit(joined_in_steps, CASES[case]).result()
    assert operations > 1000
    assert joined == {}


def test_the_straight_lift_that_steps_are_compared_with_joins_none_either(elsewhere):
    joined, operations = elsewhere.submit(joined_in_steps, {}, straight=True).result()
    assert operations > 1000
    assert [place for place in joined if "_to_copy" not in place] == []


def test_an_operation_on_two_devices_is_seen_and_a_single_number_may_be_anywhere(elsewhere):
    seen = elsewhere.submit(joined_by_hand).result()
    assert [place.split()[0] for place in seen] == ["convolution", "_to_copy"]
