"""The step that each deployed run begins with: it enters the folder at which relative paths start."""

from __future__ import annotations

import os

from darkroom.data.errors import SettingError
from darkroom.flows.settings import work_folder


def enter() -> dict[str, str]:
    """Enter the folder; a pull step of `prefect.yaml`, called on the worker.

    Returns:
        The folder as `directory`, as Prefect expects of a pull step.

    Raises:
        SettingError: where there is no such folder.
    """
    folder = work_folder()
    if folder is None or not folder.is_dir():
        raise SettingError(
            f"There is no folder {folder or ''} at which relative paths could start. Set DARKROOM_CHECKOUT on the "
            "worker to a folder."
        )
    os.chdir(folder)
    return {"directory": str(folder.resolve())}
