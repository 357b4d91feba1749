"""What to label next in a folder: chosen from its prediction table, written as a CSV and as a page to label on.

<folder>/
  label.html       the page; what it saves is for `darkroom ingest --corrections`
  next.json        what was chosen, and from how many
  next.csv         path, predicted, confidence, why; written last, its presence means done
  predictions/     the prediction table, with embeddings: see `darkroom.models.prediction_table`
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.errors import ImageError, InputError, SettingError
from darkroom.data.files.atomic import atomic_file, write_json
from darkroom.data.images.decode import Decoded, decode_with_header
from darkroom.data.quality.distinct import Distinct
from darkroom.data.stores.folders import folder_at
from darkroom.data.stores.table_paths import TablePaths
from darkroom.data.task import Task, TaskName
from darkroom.models.bundle.bundle import Bundle
from darkroom.models.labelling.candidates import MAX_KNOWN, Candidate, Pool, PoolRules, folder_sample, read_pool
from darkroom.models.labelling.label_page import LABEL_PAGE, LabelPage, PageItem, page_picture, write_label_page
from darkroom.models.labelling.selection import UNFAMILIAR_FROM, Known, choose
from darkroom.models.labelling.training_images import Unusable, labelled_hashes, training_embeddings
from darkroom.models.labelling.uncertainty import opinions_of
from darkroom.models.measures.intervals import Frozen
from darkroom.models.prediction_table.part_file import read_facts
from darkroom.models.scoring.parts import open_runner

logger = logging.getLogger(__name__)

NEXT_CSV = "next.csv"
NEXT_CARD = "next.json"
PREDICTIONS = "predictions"
MAX_BUDGET = 5000
_COLUMNS = ("path", "predicted", "confidence", "why")
# Candidates per label to be chosen, so that there is something to choose from; each takes 8 KB of memory.
_POOL_TIMES = 20
_MIN_POOL, _MAX_POOL = 5_000, 50_000


class NextImages(Frozen):
    """What was chosen to be labelled next.

    Attributes:
        folder: The images.
        bundle: `name@version`.
        budget: Images asked for.
        num_chosen: Images chosen.
        num_images: Images that the model scored.
        num_labelled: Those of them that the model's data set has already.
        num_unusable: Those of them that corrections left out.
        num_duplicates: Images passed over because a near-duplicate was chosen.
        num_uncertain: Chosen images whose two most probable classes are less than 0.5 apart; where an image may have
            several labels, those of which one is nearer to its threshold than half the way to 0 or 1.
        num_unfamiliar: Chosen images further from the known ones than 95 % of these are from each other.
        compared_with: `training images` or `the folder itself`: what unfamiliarity was measured against.
        mean_confidence: Of the chosen images; None where there are none.
        task: Whether an image gets one label or any number.
    """

    folder: str
    bundle: str
    task: TaskName = "single-label"
    budget: int
    num_chosen: int
    num_images: int
    num_labelled: int
    num_unusable: int
    num_duplicates: int
    num_uncertain: int
    num_unfamiliar: int
    compared_with: str
    mean_confidence: float | None


@dataclass(frozen=True)
class _Picked:
    candidate: Candidate
    picture: bytes | None


def check_budget(budget: int) -> int:
    """The number of images to choose.

    Raises:
        SettingError: where it is below 1 or above 5,000.
    """
    if not 1 <= budget <= MAX_BUDGET:
        raise SettingError(
            f"--budget must be 1 to {MAX_BUDGET:,}. Received: {budget}. Label some, train, and choose again."
        )
    return budget


def check_model(bundle: Bundle) -> None:
    """Refuse a model that cannot say what to label next, before anything is scored.

    Raises:
        SettingError: where it gives no embeddings.
    """
    bundle.check_embeddings()


def choose_next(
    out: Path, bundle: Bundle, dataset: Dataset | None, budget: int, newest: Dataset | None = None
) -> NextImages:
    """Choose the images to label next and write `label.html`, `next.json` and `next.csv`.

    Args:
        out: Folder of the output, which holds the prediction table.
        bundle: The model that made the table.
        dataset: That the model was trained on; None where it is not at hand: then the folder's own images say what is
            familiar, and none counts as labelled.
        budget: Images to choose.
        newest: The newest version of that data set: its images are labelled too, and none that a correction in either
            left out is chosen again.

    Raises:
        InputError: where no image of the folder could be scored, or all of them have a label.
    """
    parts = TablePaths(out / PREDICTIONS).parts()
    facts = next((found for found in map(read_facts, parts) if found), None)
    if facts is None:
        raise InputError(f"There is no prediction table in {out / PREDICTIONS}. Run darkroom label-next again.")
    runner, _ = open_runner(bundle.folder, facts.engine)
    vectors = training_embeddings(dataset, bundle, runner, MAX_KNOWN) if dataset else None
    of_training = vectors is not None and len(vectors) > 0
    known = Known.of(vectors) if vectors is not None and of_training else folder_sample(parts)
    size = min(max(_MIN_POOL, _POOL_TIMES * budget), _MAX_POOL)
    datasets = [each for each in (dataset, newest) if each]
    labelled = frozenset[str]().union(*map(labelled_hashes, datasets))
    rules = PoolRules(size, labelled, _unusable(facts.folder, datasets), opinions_of(bundle))
    pool = read_pool(parts, known, rules)
    if not pool.candidates:
        why = "none of its files could be scored"
        if pool.num_labelled or pool.num_unusable:
            why = "all of its images have a label, or were left out by corrections"
        raise InputError(f"There is nothing to label in {facts.folder}: {why}.")
    picked, num_duplicates = _pick(pool, facts.folder, bundle, budget)
    chosen = [each.candidate for each in picked]
    found = NextImages(
        folder=facts.folder,
        bundle=bundle.reference,
        budget=budget,
        num_chosen=len(chosen),
        num_images=pool.num_ok,
        num_labelled=pool.num_labelled,
        num_unusable=pool.num_unusable,
        num_duplicates=num_duplicates,
        num_uncertain=sum(_is_uncertain(each) for each in chosen),
        num_unfamiliar=sum(_is_unfamiliar(each) for each in chosen),
        compared_with="training images" if of_training else "the folder itself",
        mean_confidence=round(sum(each.opinion.confidence for each in chosen) / len(chosen), 4) if chosen else None,
        task=bundle.card.task,
    )
    items = [_item(each.candidate, each.picture) for each in picked]
    about = [
        f"{found.num_chosen:,} of {found.num_images:,} images in {found.folder}, chosen for {found.bundle}: those that "
        "it is unsure of, that look new to it, and that differ from each other."
    ]
    page = LabelPage("What to label next", about, bundle.card.labels, items, bundle.card.task)
    write_label_page(out / LABEL_PAGE, page)
    write_json(out / NEXT_CARD, found.model_dump(mode="json"))
    _write_csv(out / NEXT_CSV, chosen, bundle.labels.task)
    logger.info("%s: %d of %d images chosen to be labelled next.", facts.folder, len(chosen), pool.num_ok)
    return found


def _unusable(reference: str, datasets: Sequence[Dataset]) -> frozenset[str]:
    """Paths of the folder's images that corrections left out."""
    said = Unusable.of(datasets)
    if not said.paths:
        return frozenset()
    return frozenset(
        entry.path for entry in folder_at(reference).iter_files() if (entry.path, entry.size_bytes) in said
    )


def _pick(pool: Pool, reference: str, bundle: Bundle, budget: int) -> tuple[list[_Picked], int]:
    """The chosen images with their pictures, and how many were passed over as near-duplicates."""
    folder, policy = folder_at(reference), bundle.card.policy
    wanted = {candidate.path for candidate in pool.candidates}
    os_paths = {entry.path: entry.os_path for entry in folder.iter_files() if entry.path in wanted}
    distinct, pictures, passed = Distinct(), dict[int, bytes | None](), 0

    def accepted(index: int) -> bool:
        nonlocal passed
        candidate = pool.candidates[index]
        try:
            data = folder.read_file(os_paths[candidate.path], policy.max_bytes)
            decoded: Decoded = decode_with_header(data, policy)
        except (KeyError, ImageError):  # gone since it was scored
            return False
        if not distinct.add(decoded.pixels, min(decoded.width, decoded.height)):
            passed += 1
            return False
        pictures[index] = page_picture(data, policy)
        return True

    chosen = choose(pool.vectors, pool.values, budget, accepted)
    return [_Picked(pool.candidates[index], pictures[index]) for index in chosen], passed


def _item(candidate: Candidate, picture: bytes | None) -> PageItem:
    said = candidate.opinion
    return PageItem(candidate.path, picture, said.labels, said.top, _why(candidate))


def _is_uncertain(candidate: Candidate) -> bool:
    return bool(candidate.opinion.doubts)


def _is_unfamiliar(candidate: Candidate) -> bool:
    return candidate.unfamiliarity >= UNFAMILIAR_FROM


def _why(candidate: Candidate) -> str:
    """One sentence: what the model says, and which of the three reasons chose the image."""
    said = candidate.opinion
    reasons = [f"uncertain: {said.doubts}"] if _is_uncertain(candidate) else []
    if _is_unfamiliar(candidate):
        reasons.append(f"unfamiliar: further from known images than {candidate.unfamiliarity:.0%} of them")
    answer = f"{', '.join(said.labels) or 'no label'} ({said.confidence:.0%})"
    return "; ".join(reasons) or f"differs from the others: {answer}"


def _write_csv(path: Path, chosen: Sequence[Candidate], task: Task) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for each in chosen:
        said = each.opinion
        writer.writerow([each.path, task.text(said.labels), f"{said.confidence:.4f}", _why(each)])
    with atomic_file(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", newline="")
