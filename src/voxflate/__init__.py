"""Train a 3D style GAN on volumes by inflating a 2D one trained on their slices.

The package follows "Split&Shuffle" and the weight inflation of its paper; `docs/paper-map.md` says which
section is in which file. Importing it loads nothing heavy: name the room you need, such as
`voxflate.config.schema` or `voxflate.nn`.
"""

from voxflate._system.errors import VoxflateError

__version__ = "0.1.0"
__all__ = ["VoxflateError", "__version__"]
