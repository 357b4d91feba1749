"""A data set's images before training: class balance, sizes, and outliers.

All of it is computed from the manifest, to which ingest adds five figures of an image's pixels. An image is a finding
where it is beyond a limit that holds for any data set *and* far from the others of its own: a limit alone would list
every galaxy as dark and every scan as clipped, distance alone would list the ordinary tail of good photographs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from darkroom.data.dataset.dataset import ReasonCount
from darkroom.data.dataset.manifest import DAMAGED, FIRST_OF_SEVERAL, OK, by_label, count_reasons
from darkroom.data.errors import FormatError
from darkroom.data.figures import count
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.splits.splits import SPLITS
from darkroom.data.task import SINGLE_LABEL, Task

SCHEMA_VERSION = 1

# Measured on photographs (cats and dogs, CIFAR-10), chest X-rays and galaxies, all decoded at 160 x 160.
# Luminance below 40 of 255: a photograph in which nothing can be made out. The median galaxy has 35, which is why the
# data set's own fence must be passed too; so bounded, 0 X-rays, 0 galaxies and 2 in 1,000 photographs are dark.
_DARK = 40.0
# The mirror of it; a drawing on white paper has 215 to 250.
_BRIGHT = 215.0
# Standard deviation of luminance. A JPEG of one colour has up to 1, a covered lens 2; the faintest galaxy has 4.9, and
# four black pixels on white at 160 x 160 have 3.
_BLANK = 3.0
# Half of the picture pure black or white. Cut-outs on white come near it, photographs do not: 1 in 1,000.
_CLIPPED = 0.5
# Standard deviation of the Laplacian divided by that of luminance (Pertuz et al. 2013, "Analysis of focus measure
# operators for shape-from-focus": Laplacian-based operators). At 160 x 160 photographs of cats and dogs have 0.14 and
# more, blurred by a Gaussian of 2 pixels 0.07 and less; what is enlarged is as low, hence the fence.
_BLURRY = 0.08
# Bits of luminance. Photographs have 5.7 and more, galaxies 4.1; a drawing in three tones has 1.6.
_FEW_TONES = 3.0
# More than twice as long as the others are, and at least 5 : 2. A screen is 16 : 9, a panorama 3 : 1.
_ELONGATED, _TIMES_MEDIAN_ELONGATION = 2.5, 2.0
# Would be enlarged more than twice, and less than a quarter of the median side.
_ENLARGED, _SHARE_OF_MEDIAN_SIDE = 2.0, 0.25
# Tukey's fences (1977): this many quartile ranges beyond the quartiles.
_FENCE = 1.5
_FEW_IMAGES = 20
_UNBALANCED = 10.0
_MOST_FREQUENT = 10
_NUM_EXAMPLES = 3
_MEANING = {
    FIRST_OF_SEVERAL: "Of animations and documents of several pages, the first frame or page is used",
    DAMAGED: "These files are damaged, and used as far as they could be decoded",
}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Spread(_Frozen):
    """The distribution of a statistic over the images.

    Attributes:
        minimum, lower_quartile, median, upper_quartile, maximum: In the unit of the statistic.
    """

    minimum: float
    lower_quartile: float
    median: float
    upper_quartile: float
    maximum: float


class ValueCount(_Frozen):
    """Images that share a value, such as a size or a mode.

    Attributes:
        value: As text.
        num_images: How many.
    """

    value: str
    num_images: int


class ClassBalance(_Frozen):
    """The images of one class.

    Attributes:
        label: The class.
        num_images: Used images.
        train, validation, test: Used images by split.
        num_set_aside: Quarantined files.
    """

    label: str
    num_images: int
    train: int
    validation: int
    test: int
    num_set_aside: int


class Finding(_Frozen):
    """An outlier.

    Attributes:
        path: The image, in the source.
        label: Its class.
        value: What the check measured.
    """

    path: str
    label: str
    value: float


class Check(_Frozen):
    """One kind of outlier.

    Attributes:
        name: `blank` (contrast), `blurry` (sharpness), `few_tones` (entropy), `dark`, `bright` (mean luminance),
            `clipped` (share of pure black or white pixels), `small` (shorter side in pixels), `elongated` (longer side
            divided by the shorter).
        limit: What a finding's value is beyond: above it for `bright`, `clipped` and `elongated`, below it for the
            others.
        num_images: Findings in all.
        findings: The first of them, most striking first.
    """

    name: str
    limit: float
    num_images: int
    findings: tuple[Finding, ...]


class Quality(_Frozen):
    """What can be said of a data set's images without a network; the same manifest gives the same bytes.

    Attributes:
        num_files: Files listed.
        num_ok: Images used; all that follows but `reasons` is about these.
        reasons: Why the other files were quarantined.
        classes: By label.
        imbalance: Images of the largest class divided by those of the smallest; None where that has none.
        widths, heights: As stored in the file, in pixels; None without images, as the next two.
        mean_luminance, contrast: See `PixelStatistics` in `pixel_statistics.py`.
        sizes, modes, formats: The most frequent (`width x height`, Pillow's mode, file format).
        num_sizes: Different sizes.
        checks: Always all of them, in the same order.
        remarks: Sentences for the person.
    """

    schema_version: int = SCHEMA_VERSION
    num_files: int
    num_ok: int
    reasons: tuple[ReasonCount, ...]
    classes: tuple[ClassBalance, ...]
    imbalance: float | None
    widths: Spread | None
    heights: Spread | None
    mean_luminance: Spread | None
    contrast: Spread | None
    sizes: tuple[ValueCount, ...]
    num_sizes: int
    modes: tuple[ValueCount, ...]
    formats: tuple[ValueCount, ...]
    checks: tuple[Check, ...]
    remarks: tuple[str, ...]


def assess(manifest: pa.Table, policy: DecodePolicy, max_listed: int = 1000, task: Task = SINGLE_LABEL) -> Quality:
    """Assess a data set's images.

    Args:
        manifest: All of it, in any order.
        policy: What the images were decoded with.
        max_listed: Findings kept of each check; all of them are counted, and the manifest holds every figure.
        task: How the labels of an image are written.

    Raises:
        FormatError: where the manifest has no figures of pixels.
    """
    if "contrast" not in manifest.column_names:
        raise FormatError("The manifest of an older Darkroom lacks the column 'contrast'. Ingest the source again.")
    used = manifest.filter(pc.equal(manifest["status"], OK)).sort_by("path")
    figures = ("width", "height", "mean_luminance", "contrast", "clipped", "sharpness", "entropy")
    columns = {name: _numbers(used, name) for name in figures}
    width, height = columns["width"].astype(np.int64), columns["height"].astype(np.int64)
    sizes = Counter(f"{w} x {h}" for w, h in zip(width.tolist(), height.tolist(), strict=True))
    classes = _balance(by_label(manifest.select(["label", "split", "status"]), task))
    counts = [row.num_images for row in classes]
    return Quality(
        num_files=manifest.num_rows,
        num_ok=used.num_rows,
        reasons=tuple(ReasonCount(reason=reason, num_files=n) for reason, n in count_reasons(manifest).items()),
        classes=classes,
        imbalance=round(max(counts) / min(counts), 2) if all(counts) and counts else None,
        widths=_spread(columns["width"]),
        heights=_spread(columns["height"]),
        mean_luminance=_spread(columns["mean_luminance"]),
        contrast=_spread(columns["contrast"]),
        sizes=_most_frequent(sizes),
        num_sizes=len(sizes),
        modes=_most_frequent(Counter(used["mode"].to_pylist())),
        formats=_most_frequent(Counter(used["format"].to_pylist())),
        checks=_checks(used, columns, policy, max_listed, task),
        remarks=(*_remarks(classes, np.minimum(width, height), policy), *_remarks_on_images(used)),
    )


def _numbers(used: pa.Table, name: str) -> NDArray[np.float64]:
    """A column; NaN where an older Darkroom wrote no such figure, which is beyond no limit."""
    if name not in used.column_names:
        return np.full(used.num_rows, np.nan)
    return np.asarray(used[name].to_numpy(), np.float64)


def _balance(manifest: pa.Table) -> tuple[ClassBalance, ...]:
    rows = zip(*(manifest[name].to_pylist() for name in ("label", "split", "status")), strict=True)
    found = Counter((label, split if status == OK else None) for label, split, status in rows if label is not None)
    labels = sorted({label for label, _ in found})
    return tuple(
        ClassBalance(
            label=label,
            num_images=sum(found[label, split] for split in SPLITS),
            train=found[label, "train"],
            validation=found[label, "validation"],
            test=found[label, "test"],
            num_set_aside=found[label, None],
        )
        for label in labels
    )


def _checks(
    used: pa.Table, columns: dict[str, NDArray[np.float64]], policy: DecodePolicy, max_listed: int, task: Task
) -> tuple[Check, ...]:
    luminance, clipped = columns["mean_luminance"], columns["clipped"]
    short, long = np.minimum(columns["width"], columns["height"]), np.maximum(columns["width"], columns["height"])
    elongation = long / short
    (dark_fence, bright_fence), (_, clipped_fence) = _fences(luminance), _fences(clipped)
    blank = columns["contrast"] < _BLANK  # which is one finding, not three
    sharpness, entropy = (np.where(blank, np.nan, columns[name]) for name in ("sharpness", "entropy"))
    entropy_fence, _ = _fences(entropy)
    measured = (
        _Measured("blank", columns["contrast"], _BLANK, True),
        _Measured("blurry", sharpness, min(_BLURRY, _lower_fence_of_logarithms(sharpness)), True),
        _Measured("few_tones", entropy, min(_FEW_TONES, entropy_fence), True),
        _Measured("dark", luminance, min(_DARK, dark_fence), True),
        _Measured("bright", luminance, max(_BRIGHT, bright_fence), False),
        _Measured("clipped", clipped, max(_CLIPPED, clipped_fence), False),
        _Measured(
            "small", short, min(min(policy.image_size) / _ENLARGED, _median(short) * _SHARE_OF_MEDIAN_SIDE), True
        ),
        _Measured("elongated", elongation, max(_ELONGATED, _median(elongation) * _TIMES_MEDIAN_ELONGATION), False),
    )
    paths, labels = used["path"].to_pylist(), list(map(task.shown, used["label"].to_pylist()))

    def check(measure: _Measured) -> Check:
        beyond = measure.beyond()
        findings = tuple(
            Finding(path=paths[row], label=labels[row], value=round(float(measure.values[row]), 3))
            for row in beyond[:max_listed]
        )
        return Check(name=measure.name, limit=round(measure.limit, 3), num_images=len(beyond), findings=findings)

    return tuple(check(measure) for measure in measured)


@dataclass(frozen=True)
class _Measured:
    """A figure of every image, and the limit below or above which one stands out."""

    name: str
    values: NDArray[np.float64]
    limit: float
    below: bool

    def beyond(self) -> NDArray[np.int64]:
        """The rows of the images that stand out, the most extreme first."""
        rows = np.flatnonzero(self.values < self.limit if self.below else self.values > self.limit)
        order = np.argsort(self.values[rows] if self.below else -self.values[rows], kind="stable")
        return rows[order]


def _median(values: NDArray[np.float64]) -> float:
    return float(np.median(values)) if len(values) else 0.0


def _fences(values: NDArray[np.float64]) -> tuple[float, float]:
    values = values[~np.isnan(values)]
    if not len(values):
        return 0.0, 0.0
    lower, upper = np.percentile(values, [25, 75])
    reach = _FENCE * (upper - lower)
    return float(lower - reach), float(upper + reach)


def _lower_fence_of_logarithms(values: NDArray[np.float64]) -> float:
    """Of a quantity that is a ratio, whose spread is a factor."""
    lower, _ = _fences(np.log(values[values > 0]))
    return math.exp(lower)


def _spread(values: NDArray[np.float64]) -> Spread | None:
    if not len(values):
        return None
    return Spread(
        **{
            name: round(float(value), 2)
            for name, value in zip(Spread.model_fields, np.percentile(values, [0, 25, 50, 75, 100]), strict=True)
        }
    )


def _most_frequent(counts: Counter[str]) -> tuple[ValueCount, ...]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(ValueCount(value=value, num_images=number) for value, number in ordered[:_MOST_FREQUENT])


def _remarks(classes: Sequence[ClassBalance], short: NDArray[np.int64], policy: DecodePolicy) -> tuple[str, ...]:
    remarks = []
    few = [row for row in classes if row.num_images < _FEW_IMAGES]
    if few:
        shown = ", ".join(f"{row.label} ({row.num_images})" for row in few[:_MOST_FREQUENT])
        more = f" and {len(few) - _MOST_FREQUENT} more" if len(few) > _MOST_FREQUENT else ""
        remarks.append(
            f"Fewer than {_FEW_IMAGES} images can be used of {shown}{more}: too few to train on or to evaluate."
        )
    largest = max(classes, key=lambda row: row.num_images, default=None)
    smallest = min(classes, key=lambda row: row.num_images, default=None)
    if largest and smallest and largest.num_images >= _UNBALANCED * max(1, smallest.num_images):
        remarks.append(
            f"{largest.label} has {largest.num_images:,} images, {smallest.label} {smallest.num_images:,}: the rare "
            "class counts for little. Add images of it. Training weights it more, unless --no-class-weights is set."
        )
    side = min(policy.image_size)
    enlarged = int((short < side).sum())
    if enlarged > len(short) / 2:
        remarks.append(
            f"{enlarged:,} of {len(short):,} images are smaller than {policy.image_size[0]} x {policy.image_size[1]} "
            "pixels and are enlarged. A smaller --image-size would keep all detail and train faster; a pretrained "
            "network often does better on the enlarged ones."
        )
    return tuple(remarks)


def _remarks_on_images(used: pa.Table) -> list[str]:
    """A sentence for each remark that the manifest has on images, with their number and a few of them."""
    if "remarks" not in used.column_names:  # of an earlier Darkroom
        return []
    noted = used.filter(pc.is_valid(used["remarks"])).select(["path", "remarks"]).to_pylist()
    sentences = []
    for remark, meaning in _MEANING.items():
        paths = [row["path"] for row in noted if remark in row["remarks"]]
        if paths:
            more = ", …" if len(paths) > _NUM_EXAMPLES else ""
            images = count(len(paths), "image")
            sentences.append(f"{meaning}: {images} ({', '.join(paths[:_NUM_EXAMPLES])}{more}).")
    return sentences
