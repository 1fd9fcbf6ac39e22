"""A second discriminator that judges single slices by frozen features of a pretrained network.

A 3D discriminator sees a few hundred volumes and has to learn anatomy from scratch. This one sees slices in
all three planes through a network that already knows edges and textures; only small heads on top are
trained. It works next to the 3D discriminator, which judges the whole volume (decision 0110), and in 2D
runs next to the 2D one, where it sees the images themselves (decision 0183).

Any model can use it: `with_slices` adds the network and its optimizer; the model gets from `slice_judge` the
term for its generator's loss, and one more step.

Source: Sauer et al. 2021, "Projected GANs converge faster"; Kumari et al. 2022, "Ensembling off-the-shelf
models for GAN training". Hinge loss: Lim and Ye 2017, "Geometric GAN".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.optim import Adam

from voxflate._system.devices import send
from voxflate.gans.gan import Model, Networks, Scalars, Shown, Step, scalars_of
from voxflate.gans.settings import NetworkPlan, Settings, SliceSettings
from voxflate.gans.slice_features import REDUCTIONS, WIDTH, SliceFeatures
from voxflate.nn.draws import Draws
from voxflate.nn.slice_heads import SliceHeads

NAME = "slice_discriminator"
PLANES = 3
NEIGHBOURS = 3
"""Volumes that are the colours of one picture, if the group has as many."""
MARGIN = 0.1
"""Share of an axis at both ends from which no slice is taken, because it is mostly air."""
BETAS = (0.0, 0.99)


Fakes = Callable[[Shown], Tensor]
"""Makes as many images as in the batch."""


class NoSlices:
    """Stands for a missing slice discriminator: adds nothing and trains nothing."""

    def loss_g(self, fakes: Tensor, shown: Shown) -> float:
        """Nothing."""
        return 0.0

    def steps(self, every: int = 1, first: int = 0) -> list[Step]:
        """None."""
        return []


class SliceJudge:
    """The slice discriminator's term in the generator's loss, and the step that trains it.

    Args:
        heads: The network to train.
        settings: Settings of the slices.
        make: Makes images for batches without a generator step.
        augmented: The augmentation of images before slices are taken; None for none.
        autocast: Compute in bfloat16.
    """

    def __init__(
        self,
        heads: SliceHeads,
        settings: SliceSettings,
        make: Fakes,
        augmented: Callable[[Tensor, Shown], Tensor] | None,
        autocast: bool,
    ) -> None:
        self.heads = heads
        self.settings = settings
        self.make = make
        self.augmented = augmented
        self.autocast = autocast
        self.device = next(heads.parameters()).device
        self._view = VIEWS[settings.channels](settings)
        self.features = SliceFeatures(settings.features, settings.side, self.device)
        self._fakes: dict[int, list[list[Tensor]]] = {}

    def loss_g(self, fakes: Tensor, shown: Shown) -> Tensor:
        """The term in the generator's loss: minus the mean logit of its slices, times the weight.

        The features are kept for the heads' own step of the same batch.

        Args:
            fakes: Generated images, [N, C, *shape].
            shown: The batch.
        """
        features = self._look(fakes, shown)
        self._fakes[shown.first] = [[x.detach() for x in maps] for maps in features]
        return -torch.cat(self._judge(features)).mean() * self._weight(shown)

    def steps(self, every: int = 1, first: int = 0) -> list[Step]:
        """The step of the heads, after the generator's.

        Args:
            every: As in the generator's step.
            first: As in the generator's step.
        """
        return [Step("s", NAME, self.loss_s, every=every, first=first)]

    def loss_s(self, shown: Shown) -> tuple[Tensor, Scalars]:
        """Hinge loss of the heads."""
        fake_features = self._fakes.pop(shown.first, None)
        with torch.no_grad():
            if fake_features is None:
                fake_features = self._look(self.make(shown), shown)
            real_features = self._look(shown.reals, shown)
        # In one pass, because at these sizes a pass takes nearly as long for half of the slices.
        both = [
            [torch.cat(pair) for pair in zip(*maps, strict=True)]
            for maps in zip(real_features, fake_features, strict=True)
        ]
        logits = self._judge(both)
        real = torch.cat([plane[: len(plane) // 2] for plane in logits])
        fake = torch.cat([plane[len(plane) // 2 :] for plane in logits])
        loss = (1 - real).relu().mean() + (1 + fake).relu().mean()
        return loss, scalars_of(loss_s=loss, logits_slice_real=real, logits_slice_fake=fake)

    def _weight(self, shown: Shown) -> float:
        """Weight of the generator's term; it grows from 0 over the first `ramp_images` images."""
        ramp = self.settings.ramp_images
        return self.settings.weight * (min(1.0, shown.seen / ramp) if ramp else 1.0)

    def _look(self, images: Tensor, shown: Shown) -> list[list[Tensor]]:
        """Features of random slices of augmented images: per plane, one map per scale."""
        if self.augmented is not None:
            images = self.augmented(images, self._augmented_like(shown))
        seen = self._view(images, shown)
        planes = [seen] if images.ndim == 4 else cut(seen, shown, self.settings.per_volume)
        squares = [self.features.resize(slices) for slices in planes]
        counts = [len(slices) for slices in squares]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            maps = self.features(torch.cat(squares))
        return [list(one) for one in zip(*(x.split(counts) for x in maps), strict=True)]

    def _augmented_like(self, shown: Shown) -> Shown:
        """The random numbers of the augmentation; images that are colours of one picture share them."""
        return share_numbers(shown, self.settings.group) if self.settings.channels == "neighbours" else shown

    def _judge(self, features: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """Logits of the slices of each plane, [n, P]."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            return [self.heads(plane, maps).float() for plane, maps in enumerate(features)]


def colours(images: Tensor, shown: Shown) -> Tensor:
    """Use the channels as colours of an image: grey for one, else red for the first, and two others.

    An image of scan and mask together shows whether they match (decision 0127).

    Args:
        images: [N, C, *spatial].
        shown: With more than three channels, its random numbers choose the two.

    Returns:
        [N, 1, *spatial] for one channel, else [N, 3, *spatial].
    """
    count, channels = images.shape[:2]
    if channels in (1, 3):
        return images
    if channels == 2:
        return torch.cat([images, images[:, 1:]], dim=1)
    draws = shown.draws or Draws(count, images.device)
    others = draws.uniform(channels - 1).argsort(dim=1)[:, :2] + 1  # [N, 2]
    wanted = others.reshape(count, 2, *(1,) * (images.ndim - 2)).expand(-1, -1, *images.shape[2:])
    return torch.cat([images[:, :1], images.gather(1, wanted)], dim=1)


def grey(images: Tensor, shown: Shown) -> Tensor:
    """One channel of every image, which its random numbers choose.

    Args:
        images: [N, C, *spatial].
        shown: Its random numbers say which.

    Returns:
        [N, 1, *spatial].
    """
    return _one_channel(images, shown, torch.arange(len(images), device=images.device))


def neighbours(images: Tensor, shown: Shown, group: int) -> Tensor:
    """Three images of a group as red, green and blue: if all are alike, the picture is grey.

    So the critics see a lack of variety, which no single slice shows (decision 0181). One channel is shown,
    chosen by the random numbers of the group's first image.

    Args:
        images: [N, C, *spatial].
        shown: Its random numbers say which channel.
        group: Images per group, the last of which may be smaller. In a group of one or two, images repeat.

    Returns:
        [N, 3, *spatial].
    """
    index = torch.arange(len(images), device=images.device)
    first = index // group * group
    size = (len(images) - first).clamp(max=group)
    one = _one_channel(images, shown, first)
    turned = [one.index_select(0, first + (index - first - turn) % size) for turn in range(NEIGHBOURS)]
    return torch.cat(turned, dim=1)


def share_numbers(shown: Shown, group: int) -> Shown:
    """The batch with random numbers that are the same for all images of a group.

    An augmentation then moves them together. Moved one by one, they would make no picture of three colours,
    and a lack of variety would no longer be seen (decision 0188).
    """
    count = len(shown.reals)
    draws = shown.draws or Draws(count, shown.reals.device)
    return replace(shown, draws=draws.like([index // group * group for index in range(count)]))


def _one_channel(images: Tensor, shown: Shown, like: Tensor) -> Tensor:
    """One channel of every image, [N, 1, *spatial]: the one drawn for the image whose index is in `like`."""
    count, channels = images.shape[:2]
    if channels == 1:
        return images
    draws = shown.draws or Draws(count, images.device)
    chosen = (draws.uniform(1) * channels).long()[like]  # [N, 1]
    wanted = chosen.reshape(count, 1, *(1,) * (images.ndim - 2)).expand(-1, -1, *images.shape[2:])
    return images.gather(1, wanted)


View = Callable[[Tensor, Shown], Tensor]

VIEWS: Mapping[str, Callable[[SliceSettings], View]] = {
    "colours": lambda _: colours,
    "grey": lambda _: grey,
    "neighbours": lambda settings: partial(neighbours, group=settings.group),
}
"""How images become pictures of one or three channels, by name."""


def cut(volumes: Tensor, shown: Shown, per_volume: int) -> list[Tensor]:
    """Take random slices, cycling through the three planes by the image's index in the batch.

    Args:
        volumes: [N, C, D, H, W].
        shown: Its random numbers give the positions, which do not depend on how the batch is split.
        per_volume: Number of slices per volume.

    Returns:
        Slices of each plane, axial, coronal, sagittal: [n, C, H, W], [n, C, D, W] and [n, C, D, H].
    """
    draws = shown.draws or Draws(len(volumes), volumes.device)
    where = MARGIN + (1 - 2 * MARGIN) * draws.uniform(per_volume)  # [N, per_volume]
    turns = [(number, turn) for number in range(len(volumes)) for turn in range(per_volume)]
    slices = []
    for plane in range(PLANES):
        due = [pair for pair in turns if (shown.first + sum(pair)) % PLANES == plane]
        numbers, of_turn = send(torch.tensor(due, dtype=torch.int64).reshape(-1, 2), volumes.device).T
        places = (where[numbers, of_turn] * volumes.shape[2 + plane]).long()
        slices.append(volumes.movedim(2 + plane, 1)[numbers, places])
    return slices


def with_slices(model: Model, side: int, *, spectral_norm: bool) -> Model:
    """A model with a slice discriminator next to its own networks.

    Args:
        model: Model from the table.
        side: Side of the squares to which slices are resized, pixels.
        spectral_norm: As in `SliceHeads`.
    """

    def networks(plan: NetworkPlan) -> Networks:
        built = model.networks(plan)
        planes = PLANES if plan.spatial_dims == 3 else 1
        with torch.random.fork_rng(devices=[]):  # so that other networks' weights do not change
            sides = [side // reduction for reduction in REDUCTIONS]
            built[NAME] = SliceHeads(planes, sides, WIDTH, spectral_norm=spectral_norm)
        return built

    def optimizers(networks: Networks, settings: Settings) -> dict[str, Adam]:
        own = {name: network for name, network in networks.items() if name != NAME}
        assert settings.slices is not None
        adam = Adam(networks[NAME].parameters(), lr=settings.slices.lr, betas=BETAS, fused=True)
        return {**model.optimizers(own, settings), NAME: adam}

    return replace(model, networks=networks, optimizers=optimizers)


def slice_judge(
    networks: Networks,
    settings: Settings,
    make: Fakes,
    augmented: Callable[[Tensor, Shown], Tensor] | None = None,
) -> SliceJudge | NoSlices:
    """The slice discriminator of a model, or its stand-in if there is none.

    Args:
        networks: Networks of the model.
        settings: Settings of the steps.
        make: Makes images for batches without a generator step.
        augmented: The augmentation of images before slices are taken; None for none.
    """
    if settings.slices is None:
        return NoSlices()
    heads: SliceHeads = networks[NAME]  # type: ignore[assignment]
    return SliceJudge(heads, settings.slices, make, augmented, settings.autocast)
