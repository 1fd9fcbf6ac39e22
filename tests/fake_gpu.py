"""Training steps on a GPU that exists in name alone, so that a CPU sees which devices an operation joins.

PyTorch lets Python declare a kind of device. Fake tensors on it have a shape and a device but no numbers.
Declaring it changes the whole process and cannot be undone, so these functions run in a process of their own.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from benchmarks.straight import StraightDiscriminator, StraightGenerator
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.nn import functional as F
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.strategies import run_config
from voxflate.config import build
from voxflate.gans import GANS
from voxflate.gans.ema import Ema
from voxflate.gans.gan import Gan
from voxflate.gans.slice_features import SliceFeatures
from voxflate.nn import planar, resample

GPU = "fakegpu:0"
EXISTS = hasattr(backend_registration, "_setup_privateuseone_for_python_backend")
COPIES = ("_to_copy", "copy_")
SENT = "_to_copy in devices.py send"


class Joined(TorchDispatchMode):
    """Counts the operations whose tensors are on two devices, by name and calling function; `send` may."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        self.operations += 1
        name = func.overloadpacket.__name__
        tensors = [one for one in tree_leaves((args, kwargs, given)) if isinstance(one, Tensor)]
        if name not in COPIES:  # any operation takes a single number from the CPU
            tensors = [one for one in tensors if one.ndim or one.device.type != "cpu"]
        if len({one.device for one in tensors}) > 1 and (place := f"{name} in {_caller()}") != SENT:
            self.found[place] += 1
        return given


def _caller() -> str:
    rooms = ("/voxflate/", "/benchmarks/")
    frames = [f for f in traceback.extract_stack() if any(room in f.filename for room in rooms)]
    return f"{Path(frames[-1].filename).name} {frames[-1].name}" if frames else "a backward pass"


def joined_in_steps(values: Mapping[str, Any], straight: bool = False) -> tuple[dict[str, int], int]:
    """Take every kind of step twice; return what the second time joined, and the number of its operations.

    The first time fills caches.

    Args:
        values: Settings, as in `run_config`.
        straight: Take the straight lift of the benchmarks.
    """
    config = run_config(Path("none"), **values)
    n, network, phase = config.training.batch, config.network, config.training.phase
    with declared():
        gan = build.build_gan(config, build.build_run_networks(config))
        if straight:
            lifted = {
                "generator": StraightGenerator(gan.generator),
                "discriminator": StraightDiscriminator(gan.discriminator),
            }
            gan = Gan(GANS["stylegan2"], lifted, gan.settings)
        average = Ema(gan.generator, 0.05)
        shape = network.shape[1:] if phase == "2d" else network.shape
        reals = torch.rand(n, network.image_channels, *shape, device=GPU)
        labels = torch.zeros(n, network.label_width, device=GPU) if network.label_width else None
        positions = torch.zeros(n, dtype=torch.int64, device=GPU) if build.is_planar_twin(config) else None
        for _ in range(2):
            with Joined() as joined:
                gan.step(reals, positions, labels, number=0)
                average.update(gan.generator, n, n)
    return dict(joined.found), joined.operations


def joined_by_hand() -> dict[str, int]:
    """What is noticed of operations that join devices, and of one that may."""
    with declared(), Joined() as joined:
        image = torch.rand(1, 1, 4, 4, device=GPU)
        image * torch.ones(())
        F.conv2d(image, torch.ones(1, 1, 1, 1))
        image.cpu()
    return dict(joined.found)


@lru_cache(maxsize=1)
def declared() -> FakeTensorMode:
    """Declare the device, once; what PyTorch cannot do on it is replaced."""

    class Backend(backend_registration._DummyBackendModule):
        def get_amp_supported_dtype(self) -> list[torch.dtype]:
            return [torch.bfloat16]

    backend_registration._setup_privateuseone_for_python_backend("fakegpu", Backend())
    made = torch.tensor

    def tensor(*given: Any, device: Any = None, **values: Any) -> Tensor:
        return made(*given, **values) if device is None else made(*given, **values).to(device)

    torch.tensor = tensor
    nn.Module._apply = _apply
    # Tables of planar twins are made from numbers, so these must not be kept from a fake step.
    resample.lowpass_matrix = planar.lowpass_matrix = resample.lowpass_matrix.__wrapped__
    planar._window_tables = partial(_like_tables, planar._window_tables)
    build.choose_device = lambda name, local_rank=0: torch.device(GPU)
    SliceFeatures._equalise = lambda self, device: None  # it reads numbers, but before the first step
    return FakeTensorMode(allow_non_fake_inputs=True)


def _like_tables(tables: Callable[..., tuple[list[Tensor], ...]], *sizes: int) -> tuple[list[Tensor], ...]:
    with unset_fake_temporarily():
        real = tables(*sizes)
    return tuple([torch.empty(one.shape, dtype=one.dtype) for one in some] for some in real)


def _apply(self: nn.Module, change: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """Move a module as PyTorch's own function does, which cannot replace fake weights."""
    for child in self.children():
        child._apply(change)
    for name, weight in self._parameters.items():
        if weight is not None:
            self._parameters[name] = nn.Parameter(change(weight.detach()), weight.requires_grad)
    for name, buffer in self._buffers.items():
        if buffer is not None:
            self._buffers[name] = change(buffer)
    return self
