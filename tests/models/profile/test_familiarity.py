from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from darkroom.models.profile.familiarity import Familiarity, fit_familiarity, limit_of


def clustered(number: int, seed: int, size: int = 200) -> NDArray[np.float32]:
    """Embeddings around one direction, that vary most along a few others."""
    rng = np.random.default_rng(seed)
    main = np.random.default_rng(7).normal(size=(9, size))
    inside = rng.normal(size=(number, 8)) * 0.4 @ main[1:]
    length = rng.uniform(0.5, 5, (number, 1))
    return np.asarray((3 * main[0] + inside + 0.2 * rng.normal(size=(number, size))) * length, np.float32)


@pytest.fixture(scope="module")
def familiarity() -> Familiarity:
    found = fit_familiarity(clustered(600, 0))
    assert found
    return found


def test_a_distance_is_that_of_probabilistic_pca(familiarity: Familiarity) -> None:
    """Its covariance in full, as scikit-learn's PCA gives it, inverted; but for what D - R directions share."""
    training, others = clustered(600, 0).astype(float), clustered(40, 1).astype(float)
    directed = training / np.linalg.norm(training, axis=1, keepdims=True)
    pca = PCA(64, svd_solver="full").fit(directed)
    rest = (directed.var(axis=0, ddof=1).sum() - pca.explained_variance_.sum()) / (200 - 64)
    precision = pca.components_.T @ np.diag(1 / pca.explained_variance_ - 1 / rest) @ pca.components_
    precision += np.eye(200) / rest
    away = others / np.linalg.norm(others, axis=1, keepdims=True) - directed.mean(axis=0)
    wanted = np.sqrt(np.einsum("nd,de,ne->n", away, precision, away))
    assert familiarity.distances(others.astype(np.float32)) == pytest.approx(wanted, rel=1e-3)


def test_a_distance_depends_on_its_embedding_alone(familiarity: Familiarity) -> None:
    """To the bit, however many are given at once, and in whatever order."""
    embeddings = clustered(100, 2)
    together = familiarity.distances(embeddings)
    for step in (1, 2, 3, 7, 24):
        batches = [familiarity.distances(embeddings[start : start + step]) for start in range(0, 100, step)]
        assert np.concatenate(batches).tobytes() == together.tobytes()
    assert familiarity.distances(embeddings[::-1])[::-1].tobytes() == together.tobytes()
    assert familiarity.distances(embeddings[:0]).shape == (0,)


def test_a_distance_does_not_depend_on_the_length_of_an_embedding(familiarity: Familiarity) -> None:
    embeddings = clustered(20, 3)
    assert familiarity.distances(embeddings * 8) == pytest.approx(familiarity.distances(embeddings), rel=1e-6)
    assert np.isfinite(familiarity.distances(embeddings / np.abs(embeddings).max() * np.float32(3e38))).all()
    assert np.isfinite(familiarity.distances(np.zeros((1, 200), np.float32))).all()


def test_other_images_are_further_than_those_of_the_same_kind(familiarity: Familiarity) -> None:
    same = familiarity.distances(clustered(1000, 4))
    others = familiarity.distances(np.random.default_rng(0).normal(size=(1000, 200)).astype(np.float32))
    limit = limit_of(same)
    assert limit is not None
    assert np.mean(same > limit) <= 0.01
    assert (others > limit).all()


def test_the_limit_is_the_distance_that_99_percent_do_not_exceed() -> None:
    assert limit_of(np.arange(1.0, 1001.0)) == 991.0
    assert limit_of(np.array([3.0, 1.0, 2.0])) == 3.0
    assert limit_of(np.array([])) is None
    assert limit_of(np.zeros(5)) is None


@pytest.mark.parametrize(
    ("embeddings", "num_directions"),
    [(clustered(600, 0, 3), 3), (clustered(40, 0), 5), (clustered(8, 0, 1000), 1)],
)
def test_a_few_images_and_small_embeddings_have_fewer_directions(
    embeddings: NDArray[np.float32], num_directions: int
) -> None:
    found = fit_familiarity(embeddings)
    assert found
    assert found.directions.shape == (num_directions, embeddings.shape[1])
    distances = found.distances(embeddings)
    assert np.isfinite(distances).all()
    assert distances.min() > 0


def test_of_seven_images_or_equal_ones_nothing_is_familiar() -> None:
    assert fit_familiarity(clustered(7, 0)) is None
    assert fit_familiarity(np.tile(np.arange(1, 5, dtype=np.float32), (50, 1))) is None
    assert fit_familiarity(np.zeros((50, 4), np.float32)) is None
