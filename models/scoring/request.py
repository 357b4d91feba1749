"""The request for a scoring, checked once, when it is made."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from darkroom.data.errors import InputError, SettingError
from darkroom.data.figures import listed
from darkroom.data.settings import DecoderMismatch
from darkroom.data.splits.splits import SPLITS
from darkroom.data.stores.folders import Images, image_folder
from darkroom.data.stores.model_choice import ModelChoice
from darkroom.data.stores.named_files import NamedFiles
from darkroom.models.prediction_table.output import TableOutput
from darkroom.models.prediction_table.schema import TOP_K, TopK, check_top_k
from darkroom.models.settings import Precision


@dataclass(frozen=True)
class ScoreRequest:
    """A folder or some files to score, with what, and where the table goes.

    Attributes:
        folder: The images: a folder, subfolders included, or files that were named.
        bundle: The bundle's folder.
        out: Where the table goes.
        rows_per_part: Files in one part of the table.
        dataset: Folder of a data set that was ingested from `folder`: only the files of one split are scored; None
            scores all.
        split: That split.
        precision: `fp32`, `int8`, or `auto`: see `darkroom.models.bundle.bundle.Bundle.engine`.
        embeddings: Add the column `embedding`.
        top_k: Classes that a row keeps, the most likely first.
        retry_quarantined: Try files again that an earlier run quarantined, even if unchanged.
        decoder_mismatch: What happens where the bundle was trained on another decoder's images, or the table has rows
            of them: `warn` scores all the same, and those rows again; `strict` refuses.
        chosen: Why it is this version of the model; None where nobody asked.
        rescore: Replace the rows of a table that another version of a model made; without it that is an error.

    Raises:
        SourceError: where `folder` is not a folder.
        SettingError: where `rows_per_part` or `top_k` is below 1, there is no such split, or files are named beside
            one.
        InputError: where `out` cannot be a table's folder.
    """

    folder: Images
    bundle: Path
    out: TableOutput
    rows_per_part: int = 1000
    dataset: Path | None = None
    split: str = "test"
    precision: Precision = "auto"
    embeddings: bool = False
    retry_quarantined: bool = False
    decoder_mismatch: DecoderMismatch = "warn"
    chosen: ModelChoice | None = None
    rescore: bool = False
    top_k: TopK = TOP_K

    def __post_init__(self) -> None:
        if self.rows_per_part < 1:
            raise SettingError(f"--rows-per-part takes a whole number of at least 1, not {self.rows_per_part}.")
        check_top_k(self.top_k)
        if self.dataset is not None and isinstance(self.folder, NamedFiles):
            raise SettingError(
                "The files of a data set's split are scored in their folder. Give that, and name no files."
            )
        if self.split not in SPLITS:
            raise SettingError(f"--split takes {listed(SPLITS)}, not {self.split!r}.")
        image_folder(self.folder).check()
        self._check_out()

    def _check_out(self) -> None:
        out = self.out.folder
        if self._is_inside():
            raise InputError(
                f"The output {self.out.reference} lies inside the scored folder {self.folder}. Choose another with "
                "--out."
            )
        if out.exists() and not out.is_dir():
            raise InputError(f"The output {out} is a file. Give a folder with --out.")
        if os.path.ismount(out):  # summary and unfinished files go beside it, on the same file system
            raise InputError(f"The output {out} is the root of a file system. Give a folder in it: --out {out}/scored")

    def _is_inside(self) -> bool:
        if isinstance(self.folder, NamedFiles):  # what is written there is not named
            return False
        if isinstance(self.folder, Path):
            return self.out.folder.resolve().is_relative_to(self.folder.resolve())
        return self.out.mirror is not None and f"{self.out.reference}/".startswith(f"{self.folder}/")
