"""Adversarial models: networks, training steps and sampling, without the training loop and files.

To add a model: write a module that defines a `Model`, and add it to `GANS`.
"""

from voxflate.gans.alpha_gan import ALPHA_GAN
from voxflate.gans.alpha_wgan_gp import ALPHA_WGAN_GP
from voxflate.gans.gan import Model
from voxflate.gans.stylegan2 import STYLEGAN2
from voxflate.gans.vae_gan import VAE_GAN
from voxflate.gans.wgan_gp import WGAN_GP

GANS: dict[str, Model] = {
    "stylegan2": STYLEGAN2,
    "wgan-gp": WGAN_GP,
    "vae-gan": VAE_GAN,
    "alpha-gan": ALPHA_GAN,
    "alpha-wgan-gp": ALPHA_WGAN_GP,
}
"""Models by name; the names are repeated in `config.schema.MODELS`."""

__all__ = ["GANS"]
