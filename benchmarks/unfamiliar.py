"""Which images are unfamiliar to a model, and what it costs scoring to say so.

    python benchmarks/unfamiliar.py [--data ../shared/data] [--files 2000] [--rounds 5] [--where FOLDER]
        [--fonts FOLDER] [--json unfamiliar.json]

Three models, made by the product's own commands and kept in `--where`: the recipe `digits`; 800 cats and dogs; and
eight classes of CIFAR-10, 500 images each; the last two on EfficientNet-Lite0. Each tells test images of its own data
set from images of another kind by the column `unfamiliarity`; the figure is the area under the ROC curve, and in the
details stands the share of each kind that is `unfamiliar`. Other kinds are letters (every one of the alphabet, of
every font in `--fonts`, drawn as small as the digits), textures (noise, waves, checks), galaxies, chest X-rays, and
the two classes of CIFAR-10 that were held out, which no figure is asked of.

The cost is that of whole scorings, plan, parts, table and summary on disk, with the network loaded: by the model, and
by the model without its training profile, in turns. It is counted in seconds of all cores, so that what else the
machine does is not in it.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import statistics
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from zipfile import ZipFile

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from sklearn.metrics import roc_auc_score

import darkroom
from benchmarks.processes import environment
from benchmarks.scoring import score
from benchmarks.side_by_side import Ratio, in_turns, show, write
from darkroom.data.dataset.dataset import open_dataset
from darkroom.data.stores.workspace import Workspace
from darkroom.models.bundle.bundle import Bundle, open_bundle
from darkroom.models.onnx.runtime import Engine

COST, AUROC = 1.03, 0.95
HELD_OUT = ("cat", "truck")
# Those of Matplotlib's that have letters, and not symbols in their place.
_FONTS = ("DejaVuSans*.ttf", "DejaVuSerif*.ttf", "STIXGeneral*.ttf")
_A_CLASS, _STRANGE = 500, 400


def command(where: Path, *words: str | Path) -> None:
    """Run a command of the product in the benchmark's workspace."""
    asked = [sys.executable, "-m", "darkroom.flows.cli", *map(str, words), "--workspace", str(where / "workspace")]
    subprocess.run(asked, check=True, env=environment(where / "home"), stdout=subprocess.DEVNULL)


def encoded(pixels: Image.Image) -> bytes:
    """As PNG."""
    stream = io.BytesIO()
    pixels.save(stream, "PNG")
    return stream.getvalue()


def letters(fonts: Path) -> Iterator[bytes]:
    """8 x 8 in shades of grey, as the digits are."""
    for path in sorted(path for kind in _FONTS for path in fonts.glob(kind)):
        font = ImageFont.truetype(str(path), 72)
        for letter in string.ascii_letters:
            mask = Image.new("L", (200, 200))
            ImageDraw.Draw(mask).text((60, 60), letter, font=font, fill=255)
            drawn = mask.crop(mask.getbbox())
            drawn.thumbnail((60, 60))
            square = Image.new("L", (64, 64))
            square.paste(drawn, ((64 - drawn.width) // 2, (64 - drawn.height) // 2))
            yield encoded(square.resize((8, 8), Image.Resampling.BOX))


def textures() -> Iterator[bytes]:
    """Noise, waves and checks, 8 x 8."""
    rng, (y, x) = np.random.default_rng(0), np.mgrid[:8, :8]
    for _ in range(_STRANGE // 3):
        turn, length, start = rng.uniform(0, np.pi), rng.uniform(1, 3), rng.uniform(0, 6)
        wave = 127.5 + 127.5 * np.sin((x * np.cos(turn) + y * np.sin(turn)) * length + start)
        checks = (x // rng.integers(1, 4) + y // rng.integers(1, 4)) % 2 * 255
        for pixels in (rng.integers(0, 256, (8, 8)), wave, checks):
            yield encoded(Image.fromarray(np.asarray(pixels, np.uint8)))


def zipped(path: Path, kinds: Sequence[str] = ("",)) -> Iterator[bytes]:
    """Some images of an archive, from all over it."""
    with ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg") and any(kind in name for kind in kinds)]
        for place in np.random.default_rng(0).permutation(len(names))[:_STRANGE]:
            yield archive.read(names[place])


def cifar(data: Path, where: Path) -> Path:
    """A folder of eight classes; made once."""
    folder = where / "cifar-8"
    if not folder.is_dir():
        with ZipFile(data / "cifar10_train.zip") as archive, tempfile.TemporaryDirectory(dir=where) as temporary:
            taken: dict[str, int] = {}
            for name in sorted(name for name in archive.namelist() if name.endswith(".jpg")):
                kind = Path(name).parent.name
                taken[kind] = taken.get(kind, 0) + 1
                if kind not in HELD_OUT and taken[kind] <= _A_CLASS:
                    target = Path(temporary, "made", kind, Path(name).name)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(archive.read(name))
            os.replace(Path(temporary, "made"), folder)
    return folder


def unfamiliarity(model: darkroom.Model, images: Sequence[bytes | str]) -> NDArray[np.float32]:
    """Of those images that can be used."""
    found = model.predict(images)["unfamiliarity"].dropna()
    return np.asarray(found, np.float32)


def compare(
    name: str, model: darkroom.Model, known: Sequence[str], strange: dict[str, list[bytes | str]], target: float = AUROC
) -> tuple[list[Ratio], dict[str, float]]:
    """How well each kind of image is told from the model's own, and the share of each that is unfamiliar."""
    own = unfamiliarity(model, known)
    ratios, details = [], {f"{name}: unfamiliar test images": float((own > 1).mean())}
    for kind, images in strange.items():
        found = unfamiliarity(model, images)
        area = float(roc_auc_score([0] * len(own) + [1] * len(found), np.concatenate([own, found])))
        what, sides = f"{name}, {kind}", (f"{len(found)} images", f"{len(own)} test images")
        ratios.append(Ratio(what, *sides, "AUROC", (area,), (), area, target))
        details[f"{what}: unfamiliar"] = float((found > 1).mean())
    return ratios, details


def test_images(where: Path, name: str, source: Path) -> list[str]:
    """The paths of a data set's test images."""
    dataset = open_dataset(Workspace(where / "workspace").find_dataset(name))
    return [str(source / path) for path in dataset.paths("test")]


def cost(name: str, images: Path, bundle: Bundle, engine: Engine, where: Path, rounds: int) -> Ratio:
    """Seconds of all cores with the columns and without, in turns."""
    without = where / "without" / bundle.card.name / bundle.card.version
    shutil.rmtree(without, ignore_errors=True)
    shutil.copytree(bundle.folder, without, ignore=shutil.ignore_patterns("profile"))
    plain, runner, out = open_bundle(without), bundle.runner(engine, num_threads=1), where / "table"

    def timed(model: Bundle) -> float:
        start = time.process_time()
        score(images, model, runner, out, engine)
        return time.process_time() - start

    ours, theirs = in_turns({"with": partial(timed, bundle), "without": partial(timed, plain)}, rounds).values()
    ratio = statistics.median(ours) / statistics.median(theirs)
    return Ratio(f"unfamiliar, {name}, {engine}", "with", "without", "CPU s", ours, theirs, ratio, COST, at_most=True)


def tree(where: Path, name: str, images: Sequence[Path], num_files: int) -> Path:
    """A folder of copies of some images; made once."""
    folder = where / f"{name}-{num_files}"
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=where) as temporary:
            Path(temporary, "made").mkdir()
            for number, path in enumerate(islice(cycle(images), num_files)):
                shutil.copy(path, Path(temporary, "made", f"{number:06d}{path.suffix}"))
            os.replace(Path(temporary, "made"), folder)
    return folder


def main() -> int:
    """Make the models, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--where", type=Path, default=Path(tempfile.gettempdir()) / "darkroom-unfamiliar")
    parser.add_argument("--fonts", type=Path, default=Path(matplotlib.get_data_path()) / "fonts" / "ttf")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    data, where = asked.data.resolve(), asked.where.resolve()
    where.mkdir(parents=True, exist_ok=True)
    place, xrays = Workspace(where / "workspace"), sorted((data / "covid19_xray").rglob("*.png"))
    eight, pets = cifar(data, where), data / "cats_dogs" / "validation"
    command(where, "run", "digits")
    command(where, "ingest", pets, "--name", "pets", "--max-judged", "0")
    command(where, "train", "pets", "--name", "pets")
    command(where, "ingest", eight, "--name", "eight", "--max-judged", "0")
    command(where, "train", "eight", "--name", "eight")
    digits, *others = (darkroom.load_model(name, place.root) for name in ("digits-cifar4", "pets", "eight"))
    drawn = sorted(path for path in (where / "workspace" / "sources").rglob("*.png") if path.parent.name != "new")
    source = drawn[0].parents[1]
    held_out = [f"/{kind}/" for kind in HELD_OUT]
    strange: dict[str, list[bytes | str]] = {
        "galaxies": list(zipped(data / "galaxies_efigi.zip")),
        "X-rays": [str(path) for path in xrays],
    }
    found = [
        compare(
            "digits",
            digits,
            test_images(where, "digits", source),
            {"letters": list(letters(asked.fonts)), "textures": list(textures())},
        ),
        compare("cats and dogs", others[0], test_images(where, "pets", pets), strange),
        compare(
            "CIFAR-10",
            others[1],
            test_images(where, "eight", eight),
            {"two classes held out": list(zipped(data / "cifar10_train.zip", held_out))},
            target=0.5,
        ),
    ]
    ratios = [ratio for each, _ in found for ratio in each]
    details = {name: share for _, each in found for name, share in each.items()}
    trees = {
        "cats and dogs": tree(where, "pets", sorted(pets.rglob("*.jpg")), asked.files),
        "digits": tree(where, "digits", drawn, asked.files),
    }
    engines: tuple[Engine, ...] = ("int8", "fp32")
    for name, reference in (("cats and dogs", "pets"), ("digits", "digits-cifar4")):
        bundle = open_bundle(place.find_model(reference))
        ratios += [cost(name, trees[name], bundle, engine, where, asked.rounds) for engine in engines]
    show(ratios)
    print(json.dumps({name: round(share, 3) for name, share in details.items()}, indent=2))
    if asked.json:
        write(ratios, asked.json)
    return int(not all(each.reached for each in ratios))


if __name__ == "__main__":
    sys.exit(main())
