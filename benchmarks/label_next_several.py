"""Do labels that `darkroom label-next` chooses teach more than as many at random, where an image has several labels?

    python -m benchmarks.label_next_several [--data ../shared/data/cifar10_train.zip] [--seeds 20] [--budget 200]

The images are the mosaics of `benchmarks/multi_label.py`, up to four pictures of CIFAR-10 each, with ten labels of
uneven frequency; the features those of a frozen EfficientNet-Lite0. One logistic regression a label is trained on a few
random images, 200 more are chosen by the product's own rule (`darkroom.models.labelling`) or drawn at random, and it is
trained again. Every seed draws other first images, another pool and other test images; the random figure is the mean of
three draws. `least` takes the least margin of the labels in place of their mean (Brinker 2006). The interval is
Student's, 95 %, over the seeds, of the difference to random. The rule was chosen on other seeds, below 1000. About 6
minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import csv
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.label_next import _FIRST_SEED, _features, _interval
from benchmarks.multi_label import compose
from darkroom.models.labelling.selection import Known, choose, value
from darkroom.models.labelling.uncertainty import label_margins

_NUM_IMAGES, _NUM_TEST, _DRAWS = 6000, 2000, 3
_FIGURES = ("macro F1", "micro F1", "mean average precision")

Floats = NDArray[np.float64]


class Regressions:
    """One logistic regression a label, on some images."""

    def __init__(self, features: Floats, truth: NDArray[np.int64]) -> None:
        from sklearn.linear_model import LogisticRegression

        self._fitted = [
            LogisticRegression(C=20, max_iter=200).fit(features, column) if 0 < column.sum() < len(column) else None
            for column in truth.T
        ]

    def __call__(self, features: Floats) -> Floats:
        """Probabilities, `float64[N, K]`."""
        nothing = np.zeros(len(features))
        return np.stack([each.predict_proba(features)[:, 1] if each else nothing for each in self._fitted], axis=1)


def trial(images: tuple[NDArray[np.float32], Floats, NDArray[np.int64]], seed: int, num_first: int, budget: int) -> Any:
    """The three figures, `float64[4, 3]`: of the first model, and with random, chosen and least-margin images."""
    from sklearn.metrics import average_precision_score, f1_score

    vectors, features, truth = images
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(truth))
    test, first, pool = np.split(order, [_NUM_TEST, _NUM_TEST + num_first])

    def figures(*more: NDArray[np.int64]) -> tuple[float, ...]:
        rows = np.concatenate([first, *more])
        chances = Regressions(features[rows], truth[rows])(features[test])
        f1 = (f1_score(truth[test], chances >= 0.5, average=each, zero_division=0) for each in ("macro", "micro"))
        return (*f1, average_precision_score(truth[test], chances, average="macro"))

    margins = label_margins(Regressions(features[first], truth[first])(features[pool]), [0.5] * truth.shape[1])
    unfamiliarity = Known.of(vectors[first]).unfamiliarity(vectors[pool])
    at_random = np.mean([figures(rng.choice(pool, budget, replace=False)) for _ in range(_DRAWS)], axis=0)
    found = [figures(), tuple(at_random)]
    for margin in (margins.mean(axis=1), margins.min(axis=1)):
        values = value(margin.astype(np.float32), unfamiliarity)
        found.append(figures(pool[choose(vectors[pool].astype(np.float16), values, budget, lambda _: True)]))
    return np.array(found)


def main() -> None:
    """Print the figures and their differences, after 200 first images and after 600."""
    from sklearn.decomposition import PCA

    warnings.filterwarnings("ignore", module="sklearn")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cifar10_train.zip"))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budget", type=int, default=200)
    options = parser.parse_args()
    with TemporaryDirectory() as home:
        folder = Path(home) / "mosaics"
        compose(options.data, folder, _NUM_IMAGES, 0)
        rows = list(csv.reader((folder / "labels.csv").open(encoding="utf-8")))[1:]
        vectors = _features((folder / row[0]).read_bytes() for row in rows)
    truth = np.array([[int(cell) for cell in row[1:]] for row in rows])
    images = vectors, PCA(200, random_state=0, svd_solver="randomized").fit_transform(vectors), truth
    for num_first in (200, 600):
        found = np.array(
            [trial(images, _FIRST_SEED + seed, num_first, options.budget) for seed in range(options.seeds)]
        )
        for place, figure in enumerate(_FIGURES):
            first, at_random, chosen, least = found[:, :, place].mean(axis=0)
            differences = [found[:, kind, place] - found[:, 1, place] for kind in (2, 3)]
            shown = [f"{each.mean():+.4f} {_interval(each)}" for each in differences]
            print(
                f"{num_first} labels, {figure}: {first:.4f}; {options.budget} more at random {at_random:.4f}, chosen "
                f"{chosen:.4f} {shown[0]}, least {least:.4f} {shown[1]}",
                flush=True,
            )


if __name__ == "__main__":
    main()
