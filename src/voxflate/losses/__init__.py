"""Losses: tensors in, scalar out. Nothing here calls backward, augments or logs."""

from voxflate.losses.adversarial import non_saturating_d, non_saturating_g
from voxflate.losses.penalties import r1_penalty

__all__ = ["non_saturating_d", "non_saturating_g", "r1_penalty"]
