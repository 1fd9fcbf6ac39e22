"""Metrics: arrays in, floats out; independent of our networks, configuration and prepared data."""

from voxflate.metrics.diversity import nearest_l2, pairwise_l2
from voxflate.metrics.extractors.base import FeatureExtractor
from voxflate.metrics.extractors.table import EXTRACTORS, extractor
from voxflate.metrics.frechet import frechet_distance, frechet_distance_from_moments
from voxflate.metrics.kid import kernel_distance
from voxflate.metrics.planes import PLANES, centre_slices, cut_background, plane_slices
from voxflate.metrics.prdc import NEIGHBOURS, prdc

__all__ = [
    "EXTRACTORS",
    "NEIGHBOURS",
    "PLANES",
    "FeatureExtractor",
    "centre_slices",
    "cut_background",
    "extractor",
    "frechet_distance",
    "frechet_distance_from_moments",
    "kernel_distance",
    "nearest_l2",
    "pairwise_l2",
    "plane_slices",
    "prdc",
]
