"""t-SNE of features (van der Maaten and Hinton 2008), as in the paper's Figures 7 and 8."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voxflate._system.errors import VoxflateError
from voxflate._system.extras import import_optional

PERPLEXITY = 30.0


def tsne(features: NDArray[np.floating], seed: int = 0) -> NDArray[np.float32]:
    """Place samples in the plane so that neighbours stay neighbours; distances between groups mean nothing.

    Args:
        features: [n, f], n >= 5. Everything to be shown together, in a single call.
        seed: Seed of the optimisation.

    Returns:
        [n, 2].

    Raises:
        VoxflateError: If scikit-learn is missing or there are too few samples.
    """
    import_optional("sklearn", "embedding", "t-SNE needs scikit-learn")
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    n = len(features)
    if n < 5:
        raise VoxflateError(f"t-SNE needs at least 5 samples, got {n}")
    # Fifty components have nearly all of the variance and speed up the search for neighbours.
    reduced = PCA(min(50, n - 1, features.shape[1]), random_state=seed).fit_transform(features)
    model = TSNE(perplexity=min(PERPLEXITY, (n - 1) / 3), init="pca", random_state=seed)
    return np.asarray(model.fit_transform(reduced), np.float32)
