"""`model_card.md`: what a model is, what it was trained on, how well it works and where not, and how to use it.

The front matter is that of Hugging Face model cards (after Mitchell et al. 2019, "Model Cards for Model Reporting").
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from darkroom.data.dataset.dataset import DatasetCard
from darkroom.data.figures import count, percent
from darkroom.data.files.atomic import atomic_file
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.splits.splits import SPLITS
from darkroom.models.bundle.bundle import Bundle
from darkroom.models.evaluation.reporting.figure_rows import figure_rows, indexed_figures, label_rows
from darkroom.models.evaluation.reporting.report import EvaluationReport, headline, percent_range
from darkroom.models.multi_label.calibration import LabelCalibration
from darkroom.models.multi_label.metrics import MultiLabelMetrics
from darkroom.models.onnx.quantize import Int8Gate
from darkroom.models.pages.markdown import table, text

MODEL_CARD = "model_card.md"
_MAX_WEAK_SLICES = 20

_SNIPPET = """import json

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

card = json.load(open("bundle.json", encoding="utf-8"))
image = {resize}
session = onnxruntime.InferenceSession("model.onnx")
logits = session.run(None, {{session.get_inputs()[0].name: np.asarray(image)[None]}})[0][0]
{answer}"""
_ONE = 'print(card["labels"][int(logits.argmax())])'
_SEVERAL = """scale, offset = (np.array(card["calibration"][name]) for name in ("scales", "offsets"))
chances = 1 / (1 + np.exp(-(logits * scale + offset)))
print([label for label, chance, least in zip(card["labels"], chances, {thresholds}) if chance >= least])"""


def write_model_card(folder: Path, report: EvaluationReport, bundle: Bundle, dataset: DatasetCard) -> None:
    """Write `model_card.md`, whole or not at all.

    Args:
        folder: The report's.
        report: What was found.
        bundle: What was evaluated.
        dataset: What it was evaluated on; training data are described where it was trained on the same.
    """
    with atomic_file(folder / MODEL_CARD) as temporary:
        temporary.write_text(model_card(report, bundle, dataset), encoding="utf-8")


def model_card(report: EvaluationReport, bundle: Bundle, dataset: DatasetCard) -> str:
    """The card as Markdown with YAML front matter.

    Args:
        report, bundle, dataset: As for `write_model_card`.
    """
    front = yaml.safe_dump(_front_matter(report, dataset), sort_keys=False, allow_unicode=True)
    sections = [
        _introduction(report, bundle),
        _use(report),
        _training_data(bundle, dataset),
        _figures(report),
        _weak_slices(report),
        _confidence(report),
        _precision(bundle),
        _limits(bundle),
        _how_to(bundle),
    ]
    return f"---\n{front}---\n\n" + "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _front_matter(report: EvaluationReport, dataset: DatasetCard) -> dict[str, Any]:
    found = indexed_figures(report)
    result = {
        "task": {"type": "image-classification", "name": "Image classification"},
        "dataset": {
            "name": dataset.name,
            "type": dataset.name,
            "split": report.split,
            "revision": dataset.version,
        },
        "metrics": [{"type": kind, "name": name, "value": round(v, 6)} for kind, name, v in found if v is not None],
    }
    return {
        "license": "unknown",
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", *_task_tags(report), "keras", "onnx", "darkroom"],
        "datasets": [dataset.name],
        "metrics": list(dict.fromkeys(kind for kind, _, _ in found if kind != "ece")),
        "model-index": [{"name": report.bundle.name, "results": [result]}],
    }


def _task_tags(report: EvaluationReport) -> list[str]:
    return ["multi-label"] if isinstance(report.metrics, MultiLabelMetrics) else []


def _introduction(report: EvaluationReport, bundle: Bundle) -> list[str]:
    card = bundle.card
    height, width = card.policy.image_size
    weights = "starting from ImageNet weights" if _is_pretrained(bundle) else "from scratch"
    lines = [
        f"# {text(report.bundle.name)}",
        "",
        f"{_what_it_does(bundle)}: {', '.join(text(label) for label in card.labels)}.",
        "",
        f"{headline(report.metrics)} on the {report.split} split of {text(report.dataset.name)}.",
        "",
        f"- Version: {report.bundle.version}",
        f"- Architecture: {text(card.settings.model)}, {card.num_parameters:,} parameters, trained {weights}",
        f"- Input: RGB, {height} x {width} pixels (height x width), uint8; the network scales the values itself",
    ]
    if report.blessing:
        decided = "yes" if report.blessing.blessed else "no"
        lines.append(f"- Approved for scoring when evaluated: {decided} ({text(report.blessing.why)})")
    return lines


def _what_it_does(bundle: Bundle) -> str:
    if bundle.card.task == "multi-label":
        return f"Gives an image any number of {len(bundle.card.labels)} labels"
    return f"Classifies images into {len(bundle.card.labels)} classes"


def _use(report: EvaluationReport) -> list[str]:
    several = isinstance(report.metrics, MultiLabelMetrics)
    return [
        "## Intended use",
        "",
        f"Sorting many images like those of {text(report.dataset.name)}, with a person to review the uncertain ones.",
        "The model knows its own labels only, and says nothing of what else an image shows."
        if several
        else "The model always predicts one of its classes, even for an image that shows none of them.",
        "It has not been tested for decisions that affect people's health, rights or safety.",
    ]


def _training_data(bundle: Bundle, dataset: DatasetCard) -> list[str]:
    lines = ["## Training data", ""]
    if bundle.card.dataset != f"{dataset.name}@{dataset.version}":
        return [*lines, f"{text(bundle.card.dataset)}; see the card of that data set."]
    counts = zip(*(dataset.class_counts(split) for split in SPLITS), strict=True)
    rows = [[label, *map(str, row)] for label, row in zip(dataset.labels, counts, strict=True)]
    return [
        *lines,
        f"- Data set: {text(dataset.name)}, version {dataset.version}",
        f"- Source: {text(dataset.source)}",
        f"- Licence of the images: {text(dataset.licence or 'not stated by the source')}",
        *([f"- Citation: {text(dataset.citation)}"] if dataset.citation else []),
        f"- Files: {dataset.num_files}; {dataset.num_ok} used, {dataset.num_files - dataset.num_ok} quarantined",
        "",
        *table(["class", *SPLITS], rows),
        "",
        "`train` was used for training, `validation` for early stopping, calibration and the confidence threshold.",
        "`test` was held out for evaluation.",
    ]


def _figures(report: EvaluationReport) -> list[str]:
    metrics = report.metrics
    return [
        "## Evaluation",
        "",
        f"On {count(metrics.num_images, 'image')} of the {report.split} split, which took no part in training.",
        "",
        *table(["metric", "value", "95 % interval"], figure_rows(report)),
        "",
        "Intervals of accuracies: Wilson score (1927). All others: bootstrap (Efron 1979), "
        f"{report.intervals.num_resamples} resamples; a dash means that resampling does not change the value.",
        *(_per_label(metrics) if isinstance(metrics, MultiLabelMetrics) else []),
    ]


def _per_label(metrics: MultiLabelMetrics) -> list[str]:
    header = ["label", "images", "threshold", "precision", "recall", "F1", "average precision"]
    return [
        "",
        "Every label right: none is missing and none too many. Of each label, given from its threshold on:",
        "",
        *table(header, label_rows(metrics)),
    ]


def _weak_slices(report: EvaluationReport) -> list[str]:
    weak = sorted((item for item in report.slices if item.is_weak), key=lambda item: (item.interval.high, item.name))
    lines = ["## Weak spots", ""]
    if not weak:
        return [
            *lines,
            "No label, image size, brightness or source folder is significantly less accurate than the whole.",
        ]
    rows = [
        [item.kind, item.name, str(item.num_images), percent(item.accuracy), percent_range(item.interval)]
        for item in weak[:_MAX_WEAK_SLICES]
    ]
    said = f"Slices whose interval lies entirely below that of the whole split ({len(weak)})"
    return [*lines, f"{said}:", "", *table(["by", "slice", "images", "accuracy", "95 % interval"], rows)]


def _confidence(report: EvaluationReport) -> list[str]:
    error = report.metrics.expected_calibration_error
    words = {
        "temperature": f"temperature scaling, T = {report.temperature:.3g}",
        "platt": "Platt scaling of each label",
    }
    how = words.get(report.calibration, "isotonic")
    lines = [
        "## Confidence",
        "",
        f"Calibrated on the validation split ({how}). Expected calibration error: {percent(report.uncalibrated_ece)} "
        f"before, {percent(error)} after.",
    ]
    if report.unvalidated:
        lines.append(f"The validation split has no evidence for {', '.join(map(text, report.unvalidated))}.")
    if not report.threshold:
        return [*lines, "The model never abstains."]
    lines.append(f"The model abstains below a confidence of {percent(report.threshold)}.")
    answers = f"It then answers for {percent(report.coverage)} of the images"
    if report.accuracy_at_threshold is not None:
        answers += f", and {percent(report.accuracy_at_threshold)} of those answers are correct"
    return [*lines, f"{answers}."]


def _precision(bundle: Bundle) -> list[str]:
    """int8 beside fp32; all other figures of the card are those of fp32."""
    facts = bundle.card.int8
    lines = ["## Precision", ""]
    if facts.gate is None:
        return [*lines, f"There is no int8 model: {text(facts.refused or '')}. Scoring uses fp32."]
    gate = facts.gate
    kinds = (("fp32", gate.fp32), ("int8", gate.int8))
    rows = [
        [name, percent(each.accuracy), percent(each.calibration_error), percent(each.coverage)] for name, each in kinds
    ]
    used = f"Scoring does not use it by default: {text(facts.refused)}." if facts.refused else "Scoring uses it."
    return [
        *lines,
        f"`model.int8.onnx` and `model.onnx` agree on {_agreement(bundle, gate)} {gate.num_images}",
        f"validation images. {used} All other figures in this card are for fp32.",
        "",
        *table(["precision", "validation accuracy", "calibration error", "answered"], rows),
    ]


def _agreement(bundle: Bundle, gate: Int8Gate) -> str:
    share = percent(gate.same_label)
    return f"{share} of all decisions on" if bundle.card.task == "multi-label" else f"the label of {share} of"


def _limits(bundle: Bundle) -> list[str]:
    return [
        "## Limitations",
        "",
        "- The figures hold for images from the same source. Images from another camera, place or time need an",
        "  evaluation of their own: `darkroom evaluate` accepts any data set with the same classes.",
        "- Slices were tested one by one, with no correction for their number: one in forty is weak by chance.",
        "- This model has no licence yet. The licence of the images is given above"
        + ("; the ImageNet weights have their own." if _is_pretrained(bundle) else "."),
    ]


def _is_pretrained(bundle: Bundle) -> bool:
    return "head" in bundle.card.network_stages


def _how_to(bundle: Bundle) -> list[str]:
    return [
        "## How to use",
        "",
        "```sh",
        f"darkroom score new-photos/ --model {bundle.card.name}@{bundle.card.version} --out scored/",
        "```",
        "",
        f"Without Darkroom, in the bundle's folder ({_what_it_lacks(bundle)}):",
        "",
        "```python",
        _SNIPPET.format(resize=_resize(bundle.card.policy), answer=_answer(bundle)),
        "```",
    ]


def _resize(policy: DecodePolicy) -> str:
    """The Pillow expression that opens an image and brings it to the policy's size."""
    height, width = policy.image_size
    size, method = f"({width}, {height})", f"Image.Resampling.{policy.interpolation.upper()}"
    opened = 'Image.open("photo.jpg")'
    if policy.apply_exif_rotation:
        opened = f"ImageOps.exif_transpose({opened})"
    opened = f'{opened}.convert("RGB")'
    if policy.resize == "pad":
        return f"ImageOps.pad({opened}, {size}, {method}, color={tuple(policy.padding)})"
    if policy.resize == "crop":
        return f"ImageOps.fit({opened}, {size}, {method})"
    return f"{opened}.resize({size}, {method})"


def _what_it_lacks(bundle: Bundle) -> str:
    calibration = bundle.card.calibration
    calibrated = isinstance(calibration, LabelCalibration) and not calibration.curves
    return f"{'' if calibrated else 'uncalibrated; '}16-bit and transparent files need more care"


def _answer(bundle: Bundle) -> str:
    """The lines of the snippet that make labels of logits."""
    calibration = bundle.card.calibration
    if not isinstance(calibration, LabelCalibration):
        return _ONE
    halves = '[0.5] * len(card["labels"])'
    return _SEVERAL.format(thresholds=halves if calibration.curves else 'card["thresholds"]')
