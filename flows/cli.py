"""The command `darkroom`: runs one of `commands*.py`, and makes every failure one sentence and an exit status.

Results go to standard output (with `--json` as one JSON object), all else to standard error. Exit status 0: done;
1: the work failed; 2: the arguments or the input are wrong, said in one sentence.
"""

from __future__ import annotations

import errno
import re
import signal
import sys
import traceback
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeGuard

import typer

from darkroom.data.errors import DarkroomError, InputError
from darkroom.data.stores.storage import refuse_secrets
from darkroom.flows.commands import app
from darkroom.flows.options import wrong_setting

if TYPE_CHECKING:
    from pydantic import ValidationError

# Typer carries a copy of click, of which it shows only this exception and its base.
_UsageError: Any = typer.BadParameter.__mro__[1]
# How alike a word and a command must be for one to be taken for the other: at 0.6, `list` is like `ingest`.
_CLOSE = 0.7
# Commands that decode files of strangers, thousands of them.
_DECODES = frozenset({"ingest", "run", "score", "serve"})
_INTERRUPTED = 128 + signal.SIGINT
_TERMINATED = 128 + signal.SIGTERM


class _Terminated(BaseException):
    """A request by the system to end, as `KeyboardInterrupt` is one by the user."""


def main() -> None:
    """Entry point: every failure becomes one sentence and an exit status."""
    if next((word for word in sys.argv[1:] if not word.startswith("-")), "") in _DECODES:
        from darkroom.flows.child_process import work_in_a_child

        work_in_a_child(reads_input=bool({"-", "--files=-"} & set(sys.argv)))
    # During a flow Prefect handles the signal itself: it records the run as crashed, and then calls this handler.
    signal.signal(signal.SIGTERM, _terminate)
    try:
        if "deploy" not in sys.argv[1:2]:  # whose secret goes into a block
            for word in sys.argv[1:]:
                refuse_secrets(word)  # before Prefect keeps it as a parameter
        status = app(prog_name="darkroom", standalone_mode=False)
    except KeyboardInterrupt:
        status = _INTERRUPTED
    except _Terminated:
        status = _TERMINATED
    except _UsageError as error:
        if len(sys.argv) == 1:
            error.show()  # the help
            sys.exit(InputError.exit_status)
        _stop(_wrong_usage(error), InputError.exit_status)
    except DarkroomError as error:
        _stop(str(error), error.exit_status)
    except Exception as error:
        if _is_wrong_setting(error):
            _stop(wrong_setting(error), InputError.exit_status)
        if _is_verbose():
            traceback.print_exc()
        _stop(_unexpected(error), 1)
    if status in (_INTERRUPTED, _TERMINATED):
        _stop("stopped. Start the same command again to resume.", status)


def _terminate(number: int, frame: object) -> NoReturn:
    raise _Terminated


def _is_verbose() -> bool:
    return bool({"--verbose", "-v"} & set(sys.argv))


def _is_wrong_setting(error: Exception) -> TypeGuard[ValidationError]:
    """Whether pydantic refused a setting; where it was never imported, it did not."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(error, pydantic.ValidationError)


def _wrong_usage(error: Any) -> str:
    """What Typer found wrong with the arguments, the command that may be meant, and where to look."""
    command = error.ctx.command_path if error.ctx else "darkroom"
    said = _wrong_value(error) or error.format_message().strip()
    unknown = re.fullmatch(r"No such command '(.*)'\.", said)
    close = get_close_matches(unknown[1], error.ctx.command.commands, 1, _CLOSE) if unknown and error.ctx else []
    meant = f" Did you mean '{close[0]}'?" if close else ""
    return f"{said}{'' if said.endswith(('.', '?')) else '.'}{meant} See: {command} --help"


def _wrong_value(error: Any) -> str:
    """What an option takes and what was given, where Typer refused a value: its own words are pydantic's."""
    if not (isinstance(error.__cause__, Exception) and _is_wrong_setting(error.__cause__)):
        return ""
    from darkroom.data.settings import Bounds, shown, what_may_be_given

    option, given = error.param, error.__cause__.errors()[0]["input"]
    takes = what_may_be_given(option.type_descriptor.annotation, [Bounds(ge=option.min, le=option.max)])
    return f"{max(option.opts, key=len)} takes {takes}, not {shown(given)}."


def _unexpected(error: Exception) -> str:
    """A sentence for a failure that no part of Darkroom foresaw."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        place = error.filename or Path.cwd()
        return f"disk full: {place}. Free some space, and start the same command again."
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}. Check the path and its permissions."
    said = " ".join(str(error).split())[:300]
    return f"the work failed: {type(error).__name__}: {said}. Run it again with --verbose to see where."


def _stop(sentence: str, exit_status: int) -> None:
    sys.stderr.write(f"darkroom: {sentence}\n")
    sys.exit(exit_status)


if __name__ == "__main__":
    main()
