"""What all commands share: common options, exit codes, and errors as one sentence.

Exit codes: 0 done; 1 a bug; 2 wrong usage, configuration, data or resources; 3 no trial succeeded; 4 damaged state;
75 stopped, can be resumed; 130 Ctrl-C.
"""

import errno
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from datg.errors import DatgError, StateError

FILE_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)

DataRoot = Annotated[
    Path | None, typer.Option(help="Where data sets live.", envvar="DATG_DATA", show_default="./data", show_envvar=True)
]
Output = Annotated[Path, typer.Option(help="Where results go.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Sets one configuration value.")]
Json = Annotated[bool, typer.Option("--json", help="Prints the result as JSON on standard output.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Shows the traceback of an error.")]
TrackingUri = Annotated[
    str | None,
    typer.Option(help="MLflow tracking store.", envvar="MLFLOW_TRACKING_URI", show_default="sqlite:///./mlflow.db"),
]


def run_command(command: Callable[..., Any]) -> None:
    """Runs a typer command as a program."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(command)
    verbose = any(flag in sys.argv[1:] for flag in ("-v", "--verbose"))
    try:
        app()
    except DatgError as error:
        if verbose:
            traceback.print_exc()
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        leave(4 if isinstance(error, StateError) else 2)
    except OSError as error:
        if error.errno not in FILE_TROUBLE:
            raise
        if verbose:
            traceback.print_exc()
        print(
            f"error: {error.filename or 'a file'}: {error.strerror or error}; free space or choose another folder.",
            file=sys.stderr,
        )
        leave(2)
    except KeyboardInterrupt:
        leave(130)


def leave(code: int) -> None:
    """Ends the process with ``code`` without waiting for background threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
