"""Losses: tensors in, scalar out. They do not call backward, augment or log."""

from voxflate.losses.adversarial import non_saturating_d, non_saturating_g, wasserstein_d, wasserstein_g
from voxflate.losses.penalties import gradient_penalty, r1_penalty
from voxflate.losses.variational import kl_to_normal, l1_reconstruction

__all__ = [
    "gradient_penalty",
    "kl_to_normal",
    "l1_reconstruction",
    "non_saturating_d",
    "non_saturating_g",
    "r1_penalty",
    "wasserstein_d",
    "wasserstein_g",
]
