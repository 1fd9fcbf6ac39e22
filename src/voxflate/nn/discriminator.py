"""Residual discriminator (Fig. 2) for images and volumes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from voxflate.nn.discriminator_blocks import DiscriminatorStage, Epilogue, FromImage
from voxflate.nn.functional import channels_last
from voxflate.nn.layers import Halving, stage_widths
from voxflate.nn.run_stage import run_stage


class Discriminator(nn.Module):
    """Tell real images from generated ones.

    Args:
        base: Spatial size of the last block; its length is the number of spatial axes.
        stages: Number of resolutions including the base; the input is base * 2^(stages - 1).
        channels: C at every resolution but the finest.
        conv: Key of `CONVS`.
        image_channels: Channels of the input.
        label_width: Length of the label vectors; 0 for none.
        finest_channels: C at the finest resolution; 0 for as many as elsewhere.
        mbstd_group: Samples per group of the minibatch standard deviation.
        position: See `FromImage`.
        low_pass: Low-pass filter before the strided convolutions, as in StyleGAN2; without it they see the
            finest textures (decision 0072). The skip connections always have it.

    Source: Fig. 2; Sec. 3.1.1, "Discriminator".
    """

    def __init__(
        self,
        base: Sequence[int],
        stages: int,
        channels: int = 32,
        conv: str = "split-shuffle",
        image_channels: int = 1,
        label_width: int = 0,
        *,
        finest_channels: int = 0,
        mbstd_group: int = 4,
        position: bool = False,
        low_pass: bool = True,
    ) -> None:
        super().__init__()
        self.base = tuple(base)
        self.recompute = False
        self.shape = tuple(size * 2 ** (stages - 1) for size in base)
        widths = stage_widths(stages, channels, finest_channels)[::-1]
        self.from_image = FromImage(image_channels, widths[0], len(base), position=position)
        down: Halving = "low-pass" if low_pass else "stride"
        self.stages = nn.ModuleList(
            DiscriminatorStage(fine, coarse, len(base), conv, down) for fine, coarse in pairwise(widths)
        )
        # A depthwise discriminator is also depthwise in its epilogue; Group-D falls back to dense there.
        self.epilogue = Epilogue(widths[-1], base, conv, mbstd_group, label_width)

    def forward(self, image: Tensor, positions: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        """Judge images.

        Args:
            image: [N, image_channels, *shape] in about [-1, 1].
            positions: Axial position of each slice in [-1, 1], [N]; only for 2D with `position`.
            labels: Label vectors, [N, label_width]; None for a network without labels.

        Returns:
            Logits, [N]; positive means real.

        Raises:
            ValueError: If the image's size differs from the network's, or labels are missing.
        """
        if tuple(image.shape[2:]) != self.shape:
            raise ValueError(f"this discriminator judges {self.shape}, got {tuple(image.shape[2:])}")
        x = channels_last(run_stage(self.from_image, image, positions))
        for stage in self.stages:
            x = run_stage(stage, x, recompute=self.recompute)
        logits: Tensor = run_stage(self.epilogue, x, labels)
        return logits
