"""The settings of one run: typed, checked, read from TOML and written back.

A `RunConfig` is saved as `config.toml` in its run folder, and a run can be repeated from it.

The defaults below hold wherever neither `recommended`, which has values for phases, starts, shapes and
models, nor `presets`, which has the paper's rows, sets another one. Nothing else sets a value: `build` passes
every setting on, so no default argument of a network or a training step is ever used.

To add a setting: add a field with its docstring (unit, origin, range) to a section below, name it in the
paper's rows (`presets`), raise `VERSION` and say in `migrations` what older runs did. The names of
architectures and strategies are repeated here so that PyTorch is not loaded; a test keeps them equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from voxflate.config.limits import (
    LARGEST_SEED,
    LONGEST_KIMG,
    SPLIT_ARCHITECTURES,
    known_device,
    limits_of_comparison,
    limits_of_phases,
    limits_of_stylegan2,
    no_half,
    numbers,
    some_samples,
)
from voxflate.config.paper_rows import R1_GAMMA
from voxflate.config.recommended import complete

MODELS = ("stylegan2", "wgan-gp", "vae-gan", "alpha-gan", "alpha-wgan-gp")
DEFAULT_MODEL = "stylegan2"
ARCHITECTURES = ("baseline", "group-d", "depthwise-d", "split-shuffle-d", "split", "split-shuffle")
INFLATIONS = ("inflate-1", "inflate-2", "inflate-3", "inflate-asc", "inflate-nwi", "preserving", "planar")
STRATEGIES = ("none", *INFLATIONS)
AUGMENTATIONS = ("translation", "cutout", "intensity")
GROUPS_OF_GROUP_D = 4
CRITIC_NORMS = ("batch", "layer")
VERSION: Final = 3
"""Version of the settings; raised when one is added, renamed or removed, or changes its meaning."""


def _one_of(allowed: tuple[str, ...]) -> AfterValidator:
    def check(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"is not one of {', '.join(allowed)}")
        return value

    return AfterValidator(check)


def _known_augmentations(value: str) -> str:
    names = [name.strip() for name in value.split(",") if name.strip()]
    for name in names:
        if name not in AUGMENTATIONS:
            raise ValueError(f"{name!r} is not one of {', '.join(AUGMENTATIONS)}")
    return ",".join(names)


Positive = Annotated[int, Field(ge=1)]
Base = Annotated[tuple[Positive, Positive, Positive], BeforeValidator(numbers)]


class Section(BaseModel):
    """Base of all sections: frozen, no unknown keys, field docstrings kept as descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class NetworkConfig(Section):
    """Generator and discriminator; the 2D twin has the same settings without the first axis."""

    architecture: Annotated[str, _one_of(ARCHITECTURES)] = "split-shuffle"
    """Which convolutions the networks use (Sec. 3.3): baseline, group-d, depthwise-d,
    split-shuffle-d, split or split-shuffle. stylegan2 only."""
    base: Base = (2, 4, 4)
    """Size of the learned start tensor in voxels, [D, H, W]. Every stage after it doubles all axes."""
    stages: int = Field(default=4, ge=1, le=10)
    """Resolutions, the base included: the volume is base * 2**(stages - 1). The paper has 5."""
    channels: int = Field(default=32, ge=1)
    """Channels at every resolution. The paper has 32 (64 at 32x128x128). Must be even for split kernels."""
    finest_channels: int = Field(default=0, ge=0)
    """Channels at the finest resolution, which takes most of the time; 0 for `channels` (decision 0177)."""
    image_channels: int = Field(default=1, ge=1)
    """Channels of a volume, as in the prepared set: its images and the classes of its mask."""
    label_width: int = Field(default=0, ge=0)
    """Length of the label vectors, as in the prepared set; 0 trains without its labels."""
    z_dim: int = Field(default=64, ge=1)
    """Length of the latent code z. 64 in the paper."""
    w_dim: int = Field(default=64, ge=1)
    """Length of the style code w. 64 in the paper. stylegan2 only."""
    mapping_layers: int = Field(default=2, ge=1)
    """Number of layers from z to w. The paper has 8, which leave w few directions to vary in
    (decision 0182). stylegan2 only."""
    symmetric_d: bool = False
    """Use full kernels in both branches of a split discriminator instead of full and 1x1x1
    (decision 0015: the 1.414M row of Table 5 needs it). stylegan2 only."""
    position: bool = False
    """Tell D each slice's axial position; planar starts need it (decision 0009). stylegan2 only."""
    low_pass_d: bool = False
    """Low-pass filter before the discriminator's strided convolutions, as in the paper. Without it they still
    see the finest textures (decision 0072). stylegan2 only."""
    critic_norm: Annotated[str, _one_of(CRITIC_NORMS)] = "batch"
    """Normalisation in the discriminators of the comparison models: batch or layer (decision 0053)."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Size of the generated volume in voxels, [D, H, W]."""
        depth, height, width = (size * 2 ** (self.stages - 1) for size in self.base)
        return depth, height, width

    @model_validator(mode="after")
    def _channels_can_be_split(self) -> Self:
        for name in ("channels", "finest_channels"):
            count = getattr(self, name)
            if self.architecture in SPLIT_ARCHITECTURES and count % 2:
                raise ValueError(f"{name} = {count}: must be even, because {self.architecture} halves them")
            if self.architecture == "group-d" and count % GROUPS_OF_GROUP_D:
                raise ValueError(f"{name} = {count}: must be a multiple of {GROUPS_OF_GROUP_D} for group-d")
        return self


class StartConfig(Section):
    """Where a 3D run starts: fresh, or inflated from a 2D run (Sec. 3.2)."""

    strategy: Annotated[str, _one_of(STRATEGIES)] = "none"
    """How 2D kernels become 3D: none, inflate-1, inflate-2, inflate-3, inflate-asc, inflate-nwi
    (the paper's), preserving or planar (ours)."""
    modules: Literal["g", "d", "gd"] = "gd"
    """Which networks are inflated: g, d, or gd for both (the paper's default)."""
    twin: str = ""
    """Folder of the 2D run to inflate; empty when the strategy is none."""


class TrainingConfig(Section):
    """The training loop, for both phases."""

    phase: Literal["2d", "3d"] = "3d"
    """2d trains the twin on axial slices, 3d the full network on volumes."""
    twin: Literal["plain", "planar"] = "plain"
    """Kind of 2D twin: plain (the paper's), or planar, which renders the slice at a given position.
    Only read in the 2D phase."""
    min_content: float = Field(default=0.0, ge=0, lt=1)
    """2D phase, plain twin: leave out axial slices in which a smaller share of the pixels is above the
    background (-0.8). 0 shows all slices of the prepared volumes, as in the presets and for a planar twin
    (decision 0023)."""
    kimg: float = Field(default=60.0, ge=0.001, le=LONGEST_KIMG)
    """Length of the run in thousands of real images shown. The paper: 25,000 in 2D, 5,000 in 3D."""
    batch: int = Field(default=8, ge=1)
    """Images per step, of all processes together. 128 in the paper; 4 in 3D runs of stylegan2 without a
    preset."""
    micro_batch: int = Field(default=0, ge=0)
    """Images that a process computes at a time; gradients are summed until the batch is complete, which needs
    less memory and gives the same result. A multiple of mbstd_group; 0 computes the whole batch at once."""
    activation_checkpointing: bool = False
    """Store only the inputs of each resolution and recompute the rest for the gradients, which needs less
    memory and a third more time and gives the same result."""
    lr_g: float = Field(default=0.0025, gt=0)
    """Adam's learning rate of the generator; the paper has 0.0025 from scratch, 0.002 after inflation."""
    lr_d: float = Field(default=0.0025, gt=0)
    """Adam's learning rate of the discriminator."""
    lr_decay: float = Field(default=1.0, gt=0, le=1)
    """Final learning rate divided by the initial one (cosine decay); 1 keeps it constant, as in the paper."""
    r1_gamma: float = Field(default=R1_GAMMA, ge=0)
    """Weight gamma of R1, gamma/2 * |grad D|^2. 0.0512 in the paper, more for large volumes
    (decision 0184). stylegan2 only."""
    r1_every: int = Field(default=16, ge=1)
    """Steps between two R1 penalties (lazy regularisation); 16 in StyleGAN2. stylegan2 only."""
    mbstd_group: int = Field(default=4, ge=1)
    """Images over which the minibatch standard deviation is taken; 4 in StyleGAN2. A larger batch must be a
    multiple of it. Also the group of `neighbours` pictures, and of a planar twin's slices of one position."""
    ema_halflife_fraction: float = Field(default=0.05, ge=0, le=1)
    """Half-life of the generator's moving average as a fraction of the images seen so far."""
    ema_kimg: float = Field(default=0.0, ge=0, le=LONGEST_KIMG)
    """Longest half-life of the moving average, in kimg; 0 sets no limit."""
    freeze_g_kimg: float = Field(default=0.0, ge=0, le=LONGEST_KIMG)
    """The generator is frozen for this many kimg at the start, so that the discriminator settles."""
    train_noise: bool = True
    """Learn how strongly noise is injected. If false, the strengths keep their initial values: those of the
    2D run, or zero from scratch (decision 0019). stylegan2 only."""
    flip: bool = False
    """Flip real images left to right at random. Leave it off where left and right must not be swapped."""
    augment: Annotated[str, AfterValidator(_known_augmentations)] = ""
    """Differentiable augmentations, separated by commas: translation, cutout, intensity (of masks too)."""
    augment_p: float = Field(default=1.0, ge=0, le=1)
    """Probability of each augmentation, drawn separately for every image. stylegan2 only."""
    precision: Annotated[Literal["auto", "bf16", "fp32"], BeforeValidator(no_half)] = "auto"
    """Precision of the convolutions, R1's included (decision 0073): bf16, fp32, or auto (bf16 where the
    processor has it). Weights and averages stay in fp32."""
    tf32: bool = True
    """On a GPU, fp32 convolutions and matrix products round inputs to 10 bits (TF32), which is faster."""
    autotune: bool = True
    """On a GPU, cuDNN tries its algorithms in the first steps and keeps the fastest."""
    kernels: Literal["auto", "plain"] = "auto"
    """auto builds and uses compiled CPU kernels if there is a C++ compiler; plain never does.
    Results are equal up to rounding (decision 0024)."""
    compile: Literal["off", "default", "graphs"] = "off"
    """Run StyleGAN2's networks, except for R1, through torch.compile: default, or graphs, which also replays
    them as CUDA graphs. Results are equal up to rounding; a line says if it is not used (decision 0166)."""
    device: Annotated[str, AfterValidator(known_device)] = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:N."""
    threads: int = Field(default=0, ge=0, le=1024)
    """CPU threads; 0 uses every core."""
    snapshot_kimg: float = Field(default=5.0, gt=0, le=LONGEST_KIMG)
    """Interval between snapshots (weights, sample sheet, metrics), in kimg."""
    keep: int = Field(default=2, ge=1)
    """How many of the newest snapshots are kept."""
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    """Seed of the weights, the latent codes and the order of the images."""
    reuse_fakes: bool = False
    """Show stylegan2's discriminator the images of the generator step instead of new ones: faster, slightly
    stale."""
    restores: int = Field(default=0, ge=0)
    """How often a run may go back to its last snapshot when a loss, weight or gradient is NaN or infinite;
    0 ends the run instead."""
    restore_lr: float = Field(default=0.5, gt=0, le=1)
    """Factor for all learning rates each time the run goes back to a snapshot."""

    @property
    def snapshot_images(self) -> int:
        """Interval between snapshots in images, at least one batch."""
        return max(round(self.snapshot_kimg * 1000), self.batch)


class SliceConfig(Section):
    """A second discriminator that judges single slices by frozen features of a pretrained network."""

    weight: float = Field(default=0.0, ge=0)
    """Weight of the slice discriminator in the generator's loss; the other discriminator has 1. 0 turns
    the slice discriminator off. Runs of stylegan2 without a preset have 1, except planar twins."""
    per_volume: int = Field(default=1, ge=1, le=3)
    """Random slices per volume and step, cycling through the three planes, from the axial one in every batch;
    3, as in 3D runs without a preset, takes one of each. Images of a 2D run are used whole."""
    side: int = Field(default=64, ge=32, multiple_of=16)
    """Side of the squares that slices are resized to, pixels: a multiple of 16; 128 for large volumes
    (decision 0184)."""
    lr_s: float = Field(default=0.001, gt=0)
    """Adam's learning rate of the slice discriminator."""
    spectral_norm: bool = False
    """Spectral normalisation: divide each kernel of the heads by its largest singular value. Needs
    slice_discriminator.weight of about 4 (decision 0198)."""
    ramp_kimg: float = Field(default=0.0, ge=0, le=LONGEST_KIMG)
    """The weight grows from 0 to its full value over this many kimg; 0 starts at the full value."""
    channels: Literal["colours", "grey", "neighbours"] = "colours"
    """What the colours of a slice are: up to three channels (colours), one channel drawn at random (grey),
    or one channel of three volumes, so that missing variety shows (neighbours; decision 0181). 3D runs
    of one channel without a preset have neighbours."""
    features: Literal["efficientnet-lite0", "mobilenetv2", "random"] = "efficientnet-lite0"
    """The frozen network, with ImageNet weights: efficientnet-lite0 or mobilenetv2. "random" has random
    weights, for tests."""


class ComparisonConfig(Section):
    """Settings that only the comparison models read: all of `MODELS` but stylegan2."""

    critic_steps: int = Field(default=1, ge=1)
    """Discriminator steps per step of the generator and the encoder; each shows a new batch. 5 in WGAN-GP's
    paper."""
    gp_lambda: float = Field(default=10.0, ge=0)
    """Weight of the gradient penalty in wgan-gp and alpha-wgan-gp. 10 in both papers."""
    reconstruction: float = Field(default=10.0, ge=0)
    """Weight of the mean absolute difference between images and their reconstructions. 10 in
    alpha-WGAN-GP's paper."""
    kl: float = Field(default=1.0, ge=0)
    """Weight of vae-gan's KL divergence per voxel, also multiplied by `reconstruction`: 1 gives the evidence
    lower bound for Laplace-distributed voxels of scale 1 (decision 0051)."""
    beta1: float = Field(default=0.0, ge=0, lt=1)
    """First beta of Adam."""
    beta2: float = Field(default=0.9, ge=0, lt=1)
    """Second beta of Adam."""


class EvaluationConfig(Section):
    """Metrics measured at snapshots."""

    samples: Annotated[int, AfterValidator(some_samples)] = Field(default=0, ge=0)
    """Generated volumes per measurement; metrics from different numbers of volumes are not comparable. 0
    takes as many as there are real volumes, at most 1,000 (192 slices in 2D), and the run's settings save
    that number."""
    extractor: str = "mobilenetv2"
    """Feature network of the Frechet distances; it is part of every metric's name."""
    every: int = Field(default=1, ge=0)
    """Measure at every n-th snapshot; 0 measures only on request."""
    diversity_floor: float = Field(default=0.1, ge=0, le=1)
    """Warn when the difference between samples of fixed latent codes falls below this share of the distance
    between real images; 0 never warns."""


class RunConfig(Section):
    """Every setting that affects a run's result.

    Settings that are not given take their recommended value, or that of the preset.

    >>> RunConfig(training={"phase": "2d"}).training.lr_d
    0.01
    >>> RunConfig(preset="coca64-baseline").training.batch
    128
    """

    version: Literal[3] = VERSION
    """Version of the settings; files of older versions keep their meaning."""
    preset: str = ""
    """Row of the paper whose values replace the defaults; `voxflate presets` lists the rows."""
    data: str = ""
    """Folder of the prepared volumes."""
    model: Annotated[str, _one_of(MODELS)] = DEFAULT_MODEL
    """Kind of model: stylegan2 (all of the paper's own models), or a comparison model: wgan-gp, vae-gan,
    alpha-gan, alpha-wgan-gp. Of the network, these read only base, stages, channels, image_channels, z_dim
    and critic_norm."""
    network: NetworkConfig = NetworkConfig()
    """Generator and discriminator."""
    start: StartConfig = StartConfig()
    """Initial weights of a 3D run."""
    training: TrainingConfig = TrainingConfig()
    """The training loop."""
    slice_discriminator: SliceConfig = SliceConfig()
    """The discriminator of single slices."""
    comparison: ComparisonConfig = ComparisonConfig()
    """The comparison models' own settings."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Measurements at snapshots."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, named: Any) -> Any:
        """Fill in the settings that were not given."""
        if not isinstance(named, Mapping):
            return named
        given = {
            name: value.model_dump(exclude_unset=True) if isinstance(value, Section) else value
            for name, value in named.items()
        }
        defaults = {
            name: field.default.model_dump() if isinstance(field.default, Section) else field.default
            for name, field in cls.model_fields.items()
        }
        return complete(given, defaults)

    @model_validator(mode="after")
    def _can_be_built(self) -> Self:
        own = limits_of_stylegan2 if self.model == DEFAULT_MODEL else limits_of_comparison
        for bad, problem in (*own(self), *limits_of_phases(self)):
            if bad:
                raise ValueError(problem)
        return self
