"""How near the expected accuracy of a run comes to the true one, where its images have shifted in a known way.

    python -m benchmarks.expected_accuracy MODEL [--workspace workspace] [--images 200] [--runs 20]

MODEL has a training profile. The test images of its data set, which it never saw, are drawn `--runs` times, `--images`
each, and changed: blurred, darkened, inverted, and so on, or drawn so that one class is most of them. For each shift:
the true accuracy, the mean estimate, how often there was none, and of the others how often the interval holds the
truth.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from darkroom.data.dataset.dataset import open_dataset
from darkroom.data.stores.workspace import Workspace
from darkroom.models.bundle.bundle import open_bundle
from darkroom.models.onnx.inference import stored_batches
from darkroom.models.profile.profile import read_profile
from darkroom.models.watching.expected_accuracy import expected_accuracy
from darkroom.models.watching.observed import Observed

Pixels = NDArray[np.uint8]
_BATCH = 32


def _clipped(values: NDArray[np.floating]) -> Pixels:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def _contrast(share: float) -> Callable[[Pixels], Pixels]:
    return lambda images: _clipped(128 + share * (images.astype(np.float64) - 128))


def _noise(images: Pixels) -> Pixels:
    return _clipped(images + np.random.default_rng(0).normal(0, 25, images.shape))


SHIFTS: dict[str, Callable[[Pixels], Pixels]] = {
    "none": lambda images: images,
    "blur, sigma 1 % of the side": lambda images: gaussian_filter(images, (0, *[images.shape[1] / 100] * 2, 0)),
    "blur, sigma 4 % of the side": lambda images: gaussian_filter(images, (0, *[images.shape[1] / 25] * 2, 0)),
    "half as bright": lambda images: _clipped(images * 0.5),
    "a tenth as bright": lambda images: _clipped(images * 0.1),
    "inverted": lambda images: 255 - images,
    "contrast x 0.8": _contrast(0.8),
    "contrast x 0.4": _contrast(0.4),
    "contrast x 0.2": _contrast(0.2),
    "noise": _noise,
    "upside down": lambda images: images[:, ::-1],
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--workspace", default="workspace")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--split", default="test")
    options = parser.parse_args()
    place = Workspace(Path(options.workspace).resolve())
    bundle = open_bundle(place.find_model(options.model))
    profile = read_profile(bundle.folder)
    if profile is None or profile.card.familiarity is None:
        raise SystemExit(f"{options.model} has no training profile, or none that says what is familiar.")
    dataset = open_dataset(place.find_dataset(bundle.card.dataset))
    runner = bundle.runner("fp32")
    names = bundle.card.labels
    validation = Observed(
        confidences=profile.samples.confidences,
        predicted=tuple(names[place] for place in profile.samples.predicted),
        unfamiliarity=profile.samples.unfamiliarity,
    )
    batches = list(stored_batches(dataset.records(options.split), _BATCH, dataset.labels))
    truth = np.concatenate([labels for _, labels in batches])
    rng = np.random.default_rng(0)
    print("| shift | true accuracy | estimate | withheld | interval holds the truth |\n|---|---|---|---|---|")
    for name, change in SHIFTS.items():
        confidences, right, unfamiliarity, given = [], [], [], []
        for images, labels in batches:
            logits, embeddings = runner.with_embeddings(change(images))
            chances = bundle.probabilities(logits, "test")
            outcome = bundle.answers.outcome(chances, labels)
            given += [names[places[0]] for places in bundle.answers.given(chances)]
            confidences.append(outcome.stored_confidence)
            right.append(outcome.right)
            unfamiliarity.append(profile.unfamiliarity(embeddings, "fp32"))
        facts = (
            Observed(
                confidences=np.concatenate(confidences),
                predicted=tuple(given),
                unfamiliarity=np.concatenate(unfamiliarity),
            ),
            np.concatenate(right),
        )
        draws = [rng.choice(len(truth), min(options.images, len(truth)), replace=True) for _ in range(options.runs)]
        _line(name, facts, draws, validation, profile.samples.right)
        if name == "none":
            _line("one class is 80 %", facts, _of_one_class(truth, options, rng), validation, profile.samples.right)


def _of_one_class(
    truth: NDArray[np.integer], options: argparse.Namespace, rng: np.random.Generator
) -> list[NDArray[np.intp]]:
    draws = []
    for run in range(options.runs):
        favoured = truth == run % (int(truth.max()) + 1)
        chances = np.where(favoured, 0.8 / favoured.sum(), 0.2 / (~favoured).sum())
        draws.append(rng.choice(len(truth), options.images, p=chances))
    return draws


def _line(
    name: str,
    facts: tuple[Observed, NDArray[np.bool_]],
    draws: list[NDArray[np.intp]],
    validation: Observed,
    known_right: NDArray[np.bool_],
) -> None:
    every, right = facts
    true, shown, holds = [], [], 0
    for rows in draws:
        run = Observed(
            confidences=every.confidences[rows],
            predicted=tuple(every.predicted[row] for row in rows),
            unfamiliarity=every.unfamiliarity[rows],
        )
        found = expected_accuracy(run, validation, known_right)
        accuracy = float(right[rows].mean())
        true.append(accuracy)
        if found.value is not None and found.low is not None and found.high is not None:
            shown.append(found.value)
            holds += found.low <= accuracy <= found.high
    estimate = f"{np.mean(shown):.3f}" if shown else ""
    held = f"{holds} of {len(shown)}" if shown else ""
    withheld = f"{len(draws) - len(shown)} of {len(draws)}"
    print(f"| {name} | {np.mean(true):.3f} | {estimate} | {withheld} | {held} |", flush=True)


if __name__ == "__main__":
    main()
