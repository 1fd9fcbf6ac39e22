"""Generator: mapping network and synthesis network (Fig. 2), for images and volumes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from voxflate.nn.draws import Draws
from voxflate.nn.functional import channels_last
from voxflate.nn.generator_blocks import SynthesisStage
from voxflate.nn.layers import stage_widths
from voxflate.nn.mapping import Mapping
from voxflate.nn.planar import SliceWindow, slice_window
from voxflate.nn.run_stage import run_stage

Noise = Sequence[Tensor] | Draws | None


class Synthesis(nn.Module):
    """Style codes to an image or a volume.

    Args:
        base: Size of the learned constant, e.g. (4, 4) or (2, 4, 4).
        stages: Number of resolutions including the base: the output is base * 2^(stages - 1).
        channels: C at every resolution but the finest.
        w_dim: Length of the style code.
        conv: Key of `STYLED_CONVS`.
        image_channels: Channels of the output.
        finest_channels: C at the finest resolution; 0 for as many as elsewhere.
        planar: Give the kernels depth 1 (3D base only): slices interact only through the doubling.
    """

    def __init__(
        self,
        base: Sequence[int],
        stages: int,
        channels: int = 32,
        w_dim: int = 64,
        conv: str = "split-shuffle",
        image_channels: int = 1,
        *,
        finest_channels: int = 0,
        planar: bool = False,
    ) -> None:
        super().__init__()
        if planar and len(base) != 3:
            raise ValueError(f"a planar generator has a 3D base, got {tuple(base)}")
        kernel_size = (1 if planar else 3, *(3,) * (len(base) - 1))
        self.base = tuple(base)
        self.planar = planar
        self.recompute = False
        self.const = nn.Parameter(torch.randn(channels, *base))
        widths = stage_widths(stages, channels, finest_channels)
        self.stages = nn.ModuleList(
            SynthesisStage(
                channels,
                width,
                image_channels,
                w_dim,
                kernel_size,
                conv,
                first=index == 0,
                last=index == stages - 1,
            )
            for index, width in enumerate(widths)
        )
        self.num_ws = 2 * stages

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of the output: base * 2^(stages - 1)."""
        return tuple(size * 2 ** (len(self.stages) - 1) for size in self.base)

    def noise_shapes(self, window: SliceWindow | None = None) -> list[tuple[int, ...]]:
        """Size of the noise of every styled convolution, without batch: [(1, *spatial), ...].

        Args:
            window: Makes it as deep as the window's slices.
        """
        shapes = []
        for index in range(len(self.stages)):
            size = tuple(n * 2**index for n in self.base)
            if window is not None:
                size = (window.slices[index].shape[1], *size[1:])
            shapes += [(1, *size)] * (1 if index == 0 else 2)
        return shapes

    def window(self, positions: Tensor | SliceWindow | None) -> SliceWindow | None:
        """The slices to compute for those at positions, [N]; None for whole volumes.

        Raises:
            ValueError: If the generator is not planar.
        """
        if positions is not None and not self.planar:
            raise ValueError("only a planar generator renders single slices; leave out positions")
        if positions is None or isinstance(positions, SliceWindow):
            return positions
        return slice_window(self.base[0], len(self.stages), positions)

    def forward(
        self,
        ws: Tensor,
        noise: Noise = None,
        positions: Tensor | SliceWindow | None = None,
    ) -> Tensor:
        """Render images.

        Args:
            ws: Style codes, [N, num_ws, w_dim].
            noise: One tensor [N, 1, *spatial] per entry of `noise_shapes`, or the source to draw from: None
                is the global random state. With `positions`, of tensors of full depth, the window's slices
                are used; tensors of the window's depth are used as they are.
            positions: Planar generators only: the axial slice to render for each sample, [N], or the `window`
                of all.

        Returns:
            [N, image_channels, *shape]; with positions one slice each, [N, image_channels, H, W].

        Raises:
            ValueError: If the number or the size of style codes, noise tensors or positions is wrong.
        """
        window = self.window(positions)
        self._check_counts(ws, noise, window)
        x = channels_last(self.const.expand(ws.shape[0], *self.const.shape))
        if window is not None:
            x = channels_last(window.gather(x, 0))
        image: Tensor | None = None
        layer = 0
        for index, stage in enumerate(self.stages):
            count = 1 if index == 0 else 2
            stage_noise = self._noise(noise, index, layer, count, window, x)
            mixing = window.mixing[index - 1] if window is not None and index > 0 else None
            styles = ws[:, layer : layer + count + 1].unbind(1)
            x, image = run_stage(stage, x, image, styles, stage_noise, mixing, recompute=self.recompute)
            layer += count
        assert image is not None  # there is at least one stage
        return image.squeeze(2) if window is not None else image

    def _check_counts(self, ws: Tensor, noise: Noise, window: SliceWindow | None) -> None:
        if ws.shape[1] != self.num_ws:
            raise ValueError(f"{ws.shape[1]} style codes per sample, expected {self.num_ws} (num_ws)")
        count = self.num_ws - 1
        if not (noise is None or isinstance(noise, Draws)) and len(noise) != count:
            raise ValueError(f"{len(noise)} noise tensors, expected {count}, one per size in noise_shapes()")
        if window is not None and len(window.slices[0]) != len(ws):
            raise ValueError(f"{len(window.slices[0])} positions for {len(ws)} samples; give one per sample")

    def _noise(
        self, noise: Noise, stage: int, layer: int, count: int, window: SliceWindow | None, x: Tensor
    ) -> list[Tensor]:
        """The noise of a stage's convolutions: drawn, or given and reduced to the window's slices."""
        size = [side * 2**stage for side in self.base]
        rendered = list(size)
        if window is not None:
            rendered[0] = window.slices[stage].shape[1]
        if noise is None or isinstance(noise, Draws):
            draws = noise or Draws(len(x), x.device)
            chosen = [draws.normal(1, *rendered) for _ in range(count)]
        else:
            chosen = list(noise[layer : layer + count])
        if window is not None:
            whole = (len(x), 1, *size)
            chosen = [
                n if n.shape[2] == rendered[0] else window.gather(_expanded(n, whole, stage), stage)
                for n in chosen
            ]
        return [_expanded(n, (len(x), 1, *rendered), stage) for n in chosen]


def _expanded(noise: Tensor, shape: Sequence[int], stage: int) -> Tensor:
    """Noise as large as its features: compiled kernels read it without checking its size."""
    if noise.ndim != len(shape) or any(a not in (1, b) for a, b in zip(noise.shape, shape, strict=True)):
        raise ValueError(f"noise of stage {stage} has shape {list(noise.shape)}, expected {list(shape)}")
    return noise.expand(shape)


class Generator(nn.Module):
    """Latent codes to images or volumes: `Mapping`, then `Synthesis`.

    Args:
        base: Size of the learned constant; its length is the number of spatial axes.
        stages: Number of resolutions including the base.
        channels: C at every resolution but the finest.
        z_dim: Length of the latent code.
        w_dim: Length of the style code.
        mapping_layers: Layers of the mapping network.
        conv: Key of `STYLED_CONVS`.
        image_channels: Channels of the output.
        label_width: Length of the label vectors; 0 for none.
        finest_channels: See `Synthesis`.
        planar: See `Synthesis`.

    Source: Fig. 2; the layers that reproduce the paper's parameter counts.
    """

    def __init__(
        self,
        base: Sequence[int],
        stages: int,
        channels: int = 32,
        z_dim: int = 64,
        w_dim: int = 64,
        mapping_layers: int = 8,
        conv: str = "split-shuffle",
        image_channels: int = 1,
        label_width: int = 0,
        *,
        finest_channels: int = 0,
        planar: bool = False,
    ) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.label_width = label_width
        self.mapping = Mapping(z_dim, w_dim, mapping_layers, label_width)
        self.synthesis = Synthesis(
            base,
            stages,
            channels,
            w_dim,
            conv,
            image_channels,
            finest_channels=finest_channels,
            planar=planar,
        )

    def forward(
        self,
        z: Tensor,
        *,
        truncation_psi: float = 1.0,
        noise: Noise = None,
        positions: Tensor | SliceWindow | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """Generate from latent codes z [N, z_dim]; other arguments as in `Mapping` and `Synthesis`."""
        w = self.mapping(z, truncation_psi, labels)
        ws = w[:, None].expand(-1, self.synthesis.num_ws, -1)
        image: Tensor = self.synthesis(ws, noise, positions)
        return image
