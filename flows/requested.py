"""What comes in by name, found in the workspace and checked: the requests that a flow and `up_to_date.py` share."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.data.dataset.dataset import open_dataset
from darkroom.data.errors import InputError
from darkroom.data.stores.workspace import Workspace
from darkroom.flows.settings import decoder_rule, open_folder
from darkroom.models.bundle.bundle import open_bundle
from darkroom.models.bundle.imagenet import READY_MADE
from darkroom.models.settings import BlessingRules

if TYPE_CHECKING:
    from darkroom.models.evaluation.evaluate import EvaluateRequest
    from darkroom.models.explaining.explain import ExplainRequest


def only_model(place: Workspace) -> str:
    """The name of the workspace's only model, which is said; the ready-made one counts where there is no other.

    Args:
        place: The workspace.

    Raises:
        InputError: where there are several, or none.
    """
    names = place.model_names()
    own = [name for name in names if name not in READY_MADE] or names
    if len(own) > 1:
        raise InputError(f"Which model? There are: {', '.join(names)}. Give one with --model.")
    if not own:
        raise InputError(
            f"There is no model in {place.reference}. Train one with: darkroom train DATASET, or give --model imagenet."
        )
    version = place.find_model(own[0]).name
    sys.stderr.write(f"Scoring with {own[0]}@{version}, the only model in {place.reference}.\n")
    return own[0]


def evaluate_request(
    bundle: str, dataset: str | None, split: str, rules: BlessingRules | None, place: Workspace
) -> EvaluateRequest:
    """The request of an evaluation.

    Args:
        bundle: A name, name@version, or a path.
        dataset: The same of a data set; None takes the one that the bundle was trained on.
        split: The data set's split.
        rules: Of the blessing; None takes the defaults.
        place: Where both are.

    Raises:
        InputError: where there is no such bundle or data set, or they do not fit.
    """
    from darkroom.models.evaluation.evaluate import EvaluateRequest  # which loads what draws

    opened = open_bundle(place.find_model(bundle))
    named = dataset or opened.card.dataset
    return EvaluateRequest(
        bundle=opened,
        dataset=open_dataset(place.find_dataset(named)),
        split=split,
        generated_by=f"darkroom evaluate {opened.reference} {named} --split {split}",
        place=place,
        rules=rules or BlessingRules(),
        decoder_mismatch=decoder_rule(),
    )


def explain_request(
    bundle: Path, images: Sequence[Path], out: str | None, dataset: str | None, max_searched: int, place: Workspace
) -> tuple[ExplainRequest, Workspace]:
    """The request of an explanation, and by what its folder comes to its store.

    Args:
        bundle: The bundle's folder.
        images: Image files.
        out: Folder or URL for the pictures; None takes a folder for these images in the bundle's report.
        dataset: Searched for the images that activate a channel most; None takes the one that the bundle was trained
            on, where it is at hand.
        max_searched: About how many of its training images are searched.
        place: Where the data set is.

    Raises:
        InputError: where there is no such data set, or the request cannot be met.
    """
    from darkroom.models.explaining.explain import ExplainRequest, explanation_folder, find_searched

    opened = open_bundle(bundle)
    folder, at = open_folder(out, explanation_folder(opened, [str(image.resolve()) for image in images]), place)
    searched = find_searched(place, dataset, opened.card.dataset)
    request = ExplainRequest(
        bundle=opened,
        images=tuple(images),
        out=folder,
        generated_by=f"darkroom explain {opened.reference} IMAGE...",
        dataset=open_dataset(searched) if searched else None,
        max_searched=max_searched,
        decoder_mismatch=decoder_rule(),
    )
    return request, at
