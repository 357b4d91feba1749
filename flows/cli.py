"""The command `darkroom`: each command is a thin call of the flow of the same name.

Results go to standard output (with `--json` as one JSON object), all else to standard error. Exit status 0: done;
1: the work failed; 2: the arguments or the input are wrong, said in one sentence.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

app = typer.Typer(
    name="darkroom",
    help="From a folder of photographs to a trained network, an honest report and a table of predictions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
WorkspaceOption = Annotated[str | None, typer.Option("--workspace", help="Folder of all results.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Show what the tasks log.")]


def main() -> None:
    """Entry point: every failure becomes one sentence and an exit status."""
    from data.errors import DarkroomError

    try:
        app()
    except DarkroomError as error:
        sys.stderr.write(f"darkroom: {error}\n")
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.stderr.write("darkroom: stopped. Start the same command again to go on where it was.\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
