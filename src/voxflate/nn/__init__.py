"""Networks in plain PyTorch: no files, no configuration, no training.

One implementation for 2D and 3D: a network is given `base`, the size of its learned constant, and has as
many spatial axes as `base` has numbers. Shape letters in comments: N samples, C/I/O channels (any/in/out),
D H W voxels (axial, coronal, sagittal position), L styled layers.

Start with `generator_blocks` and `discriminator_blocks`, which read like Fig. 2. `fused` computes the same
stages in fewer passes over memory on CPUs; `run_stage` chooses.
"""

from voxflate.nn.discriminator import Discriminator
from voxflate.nn.generator import Generator

__all__ = ["Discriminator", "Generator"]
