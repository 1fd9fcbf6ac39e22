"""A cohort of synthetic brains, for trying everything without real scans.

The tissue maps of the MNI152 template (Fonov 2009), which the `nilearn` wheel includes, are deformed by a
random affine and a random diffeomorphism, and painted with random tissue intensities, a bias field and noise,
similar to Billot et al., "SynthSeg", 2023. Brain i depends only on the seed and on i.

Arrays are [D, H, W] = (S, A, R); positions and fields are explained in `fields`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
from scipy import ndimage

from voxflate._system.errors import VoxflateError
from voxflate._system.extras import missing_extra
from voxflate._system.files import read_json, write_json
from voxflate._system.parallel import Progress, counted, in_order, workers
from voxflate.data.preparing.steps import resample_box
from voxflate.data.readers.table import read_volume
from voxflate.data.shapes import Shape, split_shape
from voxflate.data.synthetic.fields import FIELD_OF_VIEW, centres, exponential, sample, smooth_noise
from voxflate.data.volume import Float32, Float64, Geometry, Triple, to_ras
from voxflate.data.writers.nifti import write_array

TEMPLATE_SPACING = 2.0
"""Voxel size of the template in memory, mm."""

TEMPLATE_SCALE = 0.89
"""Mean size of our brains relative to the MNI152 brain, which is larger than most."""

VELOCITY_SIDE = 32
"""Deformations are computed on a grid of this many voxels along each side of the field of view."""

VELOCITY_SPACING = FIELD_OF_VIEW / VELOCITY_SIDE

MAPS = "nilearn/datasets/data/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
SETTINGS = "cohort.json"
VERSION = 1


@dataclass(frozen=True)
class Template:
    """The template that every brain is made from, over the field of view.

    Attributes:
        tissues: Grey matter, white matter and fluid, each 0 to 1, and detail (T1 intensity that the tissues
            do not explain, in units of white matter), float32 [4, D, H, W].
        mask: 1 in the brain, 0 in air, float32 [D, H, W].
        to_ventricles: Unit directions towards the ventricles that fade out with the distance, float64
            [3, V, V, V] with V = `VELOCITY_SIDE`.
    """

    tissues: Float32
    mask: Float32
    to_ventricles: Float64


def make_cohort(
    out: str | Path,
    n: int,
    shape: Shape = (64, 64, 64),
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Path]:
    """Write n synthetic, skull-stripped brains as NIfTI files; existing files are kept.

    Args:
        out: Folder to write to.
        n: Number of brains.
        shape: (D, H, W), voxels over a cube of 200 mm.
        seed: Seed of the cohort.
        progress: Called with (brains done, all brains) after each brain.

    Returns:
        The files, brain-0000.nii.gz and so on: int16, RAS, air exactly 0.

    Raises:
        VoxflateError: If `nilearn` is missing, or the folder has a cohort made with other settings.
    """
    out = Path(out)
    split_shape(shape)
    if n < 1:
        raise VoxflateError(f"a cohort needs at least 1 brain, got {n}")
    load_template()  # before the folder is made, in case nilearn is missing; the workers share it
    _claim(out, {"version": VERSION, "shape": list(shape), "seed": seed})
    paths = [out / f"brain-{i:04d}.nii.gz" for i in range(n)]

    def make(i: int) -> Path:
        if not paths[i].exists():
            _write(paths[i], make_brain(i, shape, seed), shape)
        return paths[i]

    with workers() as pool:
        return list(counted(in_order(pool, make, range(n)), n, progress))


def make_brain(index: int, shape: Shape, seed: int) -> Float32:
    """One brain in arbitrary units, white matter near 700, air 0.

    Args:
        index: Index of the brain in the cohort.
        shape: (D, H, W), voxels over a cube of 200 mm.
        seed: Seed of the cohort.

    Returns:
        float32 [D, H, W].
    """
    template = load_template()
    rng = np.random.default_rng([seed, index])
    places = _deform(rng, centres(shape), template)
    mask = sample(template.mask, places)
    inside = mask > 0.25
    places = places[:, inside]
    grey, white, fluid, detail = (sample(part, places) for part in template.tissues)
    # Moves every border between fluid and tissue: thin or thick cortex, open or closed sulci.
    fluid *= np.exp(rng.normal(0, 0.5))
    tones = np.array([rng.normal(0.68, 0.06), 1.0, rng.uniform(0.12, 0.4)])
    total = np.maximum(grey + white + fluid, 1e-6)
    values = (tones[0] * grey + tones[1] * white + tones[2] * fluid) / total + rng.uniform(0.5, 1.0) * detail
    values *= np.exp(sample(smooth_noise(rng, millimetres=45.0, deviation=0.06), centres(shape)[:, inside]))
    values += rng.normal(0, rng.uniform(0.01, 0.03), values.shape)
    # The outermost voxels are partly air.
    values *= rng.uniform(550, 850) * np.minimum((mask[inside] - 0.25) * 2, 1)
    brain = np.zeros(shape, np.float32)
    brain[inside] = np.maximum(values, 1)
    return brain


@lru_cache(maxsize=1)
def load_template() -> Template:
    """Read the template of the installed `nilearn` distribution; the package itself is not imported.

    Raises:
        VoxflateError: If `nilearn` or its maps are missing.
    """
    side = round(FIELD_OF_VIEW / TEMPLATE_SPACING)
    grey, white, t1 = (_read_map(name, side) for name in ("gm", "wm", "t1"))
    tissue = ndimage.binary_closing(grey + white > 0.5, iterations=3)
    mask = ndimage.binary_fill_holes(tissue).astype(np.float32)
    fluid = np.clip(1 - grey - white, 0, 1) * mask
    # Fluid at least 20 mm below the surface: the ventricles.
    depth = ndimage.distance_transform_edt(mask, sampling=TEMPLATE_SPACING)
    ventricles = fluid * (depth > 20)
    level = [np.average(t1, weights=part) for part in (grey, white, fluid)]
    detail = (t1 * mask - level[0] * grey - level[1] * white - level[2] * fluid) / level[1]
    hill = ndimage.gaussian_filter(
        ndimage.zoom(ventricles, VELOCITY_SIDE / side, order=1), 8.0 / VELOCITY_SPACING
    )
    uphill = np.stack(np.gradient(hill))
    uphill /= np.linalg.norm(uphill, axis=0).max()
    return Template(np.stack([grey, white, fluid, detail]).astype(np.float32), mask, uphill)


def _read_map(name: str, side: int) -> Float32:
    """One map of the template, 0 to 1, in a cube around the centre of the brain."""
    try:
        path = Path(str(distribution("nilearn").locate_file(MAPS.format(name))))
    except PackageNotFoundError as error:
        reason = "the built-in cohort needs the brain maps of nilearn"
        raise VoxflateError(missing_extra("demo", reason)) from error
    if not path.is_file():
        advice = "install it with: pip install nilearn==0.14.1"
        raise VoxflateError(f"{path}: the installed nilearn does not have this map; {advice}")
    volume = to_ras(read_volume(path))
    # The template's grid is not centred on the brain: cut away below the cerebellum and above the vertex.
    centred = volume.array[:156]
    box = (FIELD_OF_VIEW, FIELD_OF_VIEW, FIELD_OF_VIEW)
    volume = replace(volume, array=centred / np.float32(255))
    return np.asarray(resample_box(volume, box, (side, side, side), fill=0.0).array, np.float32)


def _deform(rng: np.random.Generator, places: Float64, template: Template) -> Float64:
    """Map positions in a new brain to the template: a random affine, then a random diffeomorphism."""
    middle = FIELD_OF_VIEW / 2
    moved = np.tensordot(_affine(rng), places - middle, axes=1) + middle + rng.normal(0, 1.5, (3, 1, 1, 1))
    displacement = exponential(_velocity(rng, template))
    return np.asarray(moved + np.stack([sample(part, moved) for part in displacement]))


def _affine(rng: np.random.Generator) -> Float64:
    """New position -> template position, 3x3: random size, proportions, shear and head tilt."""
    size = TEMPLATE_SCALE * np.exp(np.clip(rng.normal(0, 0.04), -0.08, 0.08))
    sides = size * np.exp(np.clip(rng.normal(0, 0.03, 3), -0.06, 0.06))
    shear = np.eye(3) + np.triu(rng.normal(0, 0.02, (3, 3)), 1)
    # Nodding (rotation about the left-right axis) varies most between heads in a scanner.
    yaw, roll, nod = np.deg2rad(rng.normal(0, [2.0, 2.0, 5.0]))
    turn = _rotation(0, 1, nod) @ _rotation(0, 2, roll) @ _rotation(1, 2, yaw)
    return np.asarray(shear @ turn / sides)


def _rotation(first: int, second: int, angle: float) -> Float64:
    """Rotation in the plane of two axes, radians."""
    matrix = np.eye(3)
    matrix[[first, second], [first, second]] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    return matrix


def _velocity(rng: np.random.Generator, template: Template) -> Float64:
    """Velocity: two scales of smooth noise, and wider or narrower ventricles, mm, [3, V, V, V]."""
    grid = centres((VELOCITY_SIDE, VELOCITY_SIDE, VELOCITY_SIDE))
    coarse = [sample(smooth_noise(rng, millimetres=28.0, deviation=4.0), grid) for _ in range(3)]
    fine = [sample(smooth_noise(rng, millimetres=11.0, deviation=2.0), grid) for _ in range(3)]
    # Voxels that sample closer to the ventricles reach them sooner, so the ventricles become wider.
    return np.asarray(np.stack(coarse) + np.stack(fine) + rng.uniform(-3.0, 8.0) * template.to_ventricles)


def _claim(out: Path, settings: dict[str, object]) -> None:
    """Write the settings beside the brains, or check that they match the brains already there."""
    path = out / SETTINGS
    if path.exists() and (found := read_json(path)) != settings:
        raise VoxflateError(f"{out}: has a cohort made with {found}, not {settings}; choose another folder")
    write_json(path, settings)


def _write(path: Path, brain: Float32, shape: Shape) -> None:
    """Write one brain with its voxel size; the world origin is the centre of the field of view."""
    spacing: Triple = (FIELD_OF_VIEW / shape[0], FIELD_OF_VIEW / shape[1], FIELD_OF_VIEW / shape[2])
    affine = np.diag([*spacing[::-1], 1.0])
    affine[:3, 3] = -Geometry(shape, affine).centre
    write_array(path, np.rint(brain).astype(np.int16), affine)
