"""Directions in the space of style codes along which a label changes, such as age.

With style codes w of covariance S and a label v, regression gives v ~ a + b w, b = (S + r I)^-1 cov(w, v).
Moving along b itself would leave the distribution of the codes. Of all moves d that raise the predicted label
by one (b d = 1), the most plausible one is the shortest in the metric of the codes, d S^-1 d, which is

    d = S b / (b S b).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voxflate._system.errors import VoxflateError
from voxflate.data.volume import Float64

RIDGE = 1e-2
"""r as a fraction of the mean variance of the codes."""

FOLDS = 5


@dataclass(frozen=True)
class Direction:
    """A direction and how far it can be trusted.

    Attributes:
        step: Adding it to a style code raises the label by one unit; it has the shape of a code.
        slope: b, of the same shape.
        intercept: a.
        r2: Cross-validated R^2 over five folds: the share of the label's variance predicted for codes left
            out of the regression, 1 for all of it, 0 or less for none.
    """

    step: Float64
    slope: Float64
    intercept: float
    r2: float

    def predict(self, ws: npt.ArrayLike) -> Float64:
        """Predict the labels [n] of style codes [n, ...]."""
        flat = np.asarray(ws, np.float64).reshape(-1, self.slope.size)
        return np.asarray(self.intercept + flat @ self.slope.ravel())


def direction(ws: npt.ArrayLike, values: npt.ArrayLike) -> Direction:
    """Find the direction along which a label changes.

    Args:
        ws: Style codes, [n, w] or [n, L, w].
        values: The label of each, [n].

    Raises:
        VoxflateError: If there are fewer than ten codes, the numbers of labels and codes differ, a value is
            not finite, or all labels or all codes are equal.
    """
    codes, labels = np.asarray(ws, np.float64), np.asarray(values, np.float64)
    _check(codes, labels)
    flat = codes.reshape(len(codes), -1)
    predicted = np.empty(len(labels))
    for fold in range(FOLDS):  # every fifth code, so that nothing is random
        left_out = np.arange(len(labels)) % FOLDS == fold
        intercept, slope, _ = _regress(flat[~left_out], labels[~left_out])
        predicted[left_out] = intercept + flat[left_out] @ slope
    r2 = 1 - np.mean((predicted - labels) ** 2) / np.var(labels)
    intercept, slope, covariance = _regress(flat, labels)
    towards = covariance @ slope
    step = towards / (slope @ towards)
    shape = codes.shape[1:]
    return Direction(step.reshape(shape), slope.reshape(shape), intercept, float(r2))


def _regress(flat: Float64, labels: Float64) -> tuple[float, Float64, Float64]:
    """Intercept, slope and covariance of the codes."""
    centred = flat - flat.mean(axis=0)
    covariance = centred.T @ centred / len(flat)
    ridge = RIDGE * np.trace(covariance) / len(covariance)
    together = centred.T @ (labels - labels.mean()) / len(flat)
    slope = np.linalg.solve(covariance + ridge * np.eye(len(covariance)), together)
    return float(labels.mean() - flat.mean(axis=0) @ slope), slope, covariance


def _check(codes: Float64, labels: Float64) -> None:
    if codes.ndim not in (2, 3) or labels.ndim != 1 or len(codes) != len(labels):
        raise VoxflateError(
            "a direction needs codes [n, w] or [n, L, w] and labels [n], got "
            f"{codes.shape} and {labels.shape}"
        )
    if len(codes) < 2 * FOLDS:
        raise VoxflateError(f"a direction needs at least {2 * FOLDS} labelled codes, got {len(codes)}")
    if not (np.isfinite(codes).all() and np.isfinite(labels).all()):
        raise VoxflateError("codes or labels have NaN or infinite values; leave these subjects out")
    if np.ptp(labels) == 0:
        raise VoxflateError(f"all labels are {labels[0]:g}; a direction needs labels that differ")
    if np.all(codes == codes[0]):
        raise VoxflateError(
            f"all {len(codes)} codes are equal; a direction needs the codes of different subjects"
        )
