"""What all commands share: common options, exit codes, and errors as one sentence.

Exit codes: 0 done; 1 a bug; 2 wrong usage, configuration, data or resources; 3 no trial succeeded; 4 damaged state;
75 stopped, can be resumed; 130 Ctrl-C.
"""

import errno
import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from datg.errors import DatgError, StateError
from datg.stop import CTRL_C, RESUMABLE, Terminated, raise_on_signals

LEARNER_NAMES = "protonet, maml, anil, reptile"  # importing the tables would take a second of every --help
STRATEGY_NAMES = "vanilla, meta_reg, taml, meta_dropout, metamix, meta_maxup, mlti, random_mixup, inter_cluster, datg"
FORM_NAMES = (
    "array-pickles, cache-pickles, class-pickles, csv-lists, isic-challenge, ham10000, npz, h5ad, split-folders, super-classes, "
    + "folder"
)
PROTOCOL_NAMES = "random, file, as-given, groups, hold-out, leave-one-out, dermnet-s, mini-imagenet-s"
FILE_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)

HIDDEN = {"--study-storage": "DATG_STUDY_STORAGE", "--tracking-uri": "MLFLOW_TRACKING_URI"}

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

Space = Annotated[Path | None, typer.Option(help="YAML.", show_default="search_spaces/<dataset>.yaml")]
Shots = Annotated[int | None, typer.Option(min=1, help="K.")]
MaxConcurrent = Annotated[int | None, typer.Option(min=1, help="Trials at once.", show_default="all that fit")]
CpusPerTrial = Annotated[int, typer.Option(min=1, help="Cores, and threads, of a trial.")]
GpusPerTrial = Annotated[
    str | None,
    typer.Option(help="May be a fraction, or auto: measures how many trials share one.", show_default="1 if any"),
]
Address = Annotated[str | None, typer.Option(help="Ray cluster, or auto.", show_default="Ray is started here")]
StudyStorage = Annotated[
    str | None, typer.Option(help="URL of an Optuna database.", show_default="sqlite", envvar="DATG_STUDY_STORAGE")
]
TimeBudget = Annotated[float | None, typer.Option(min=0.0, help="Seconds; then stop, to be resumed.")]
MaxFailures = Annotated[int, typer.Option(min=0, help="Times that a trial is tried again after its machine broke.")]
TrialTimeout = Annotated[
    float | None, typer.Option(min=1.0, help="Seconds without an iteration; then tried again.", show_default="none")
]
DiskBudget = Annotated[str | None, typer.Option(help="Such as 20GB, for the search's folder.", show_default="none")]
AllowChange = Annotated[
    bool, typer.Option("--allow-change", help="Resumes although space, learner, data or code have changed.")
]
TestDataset = Annotated[str | None, typer.Option(help="Novel classes of another data set.", show_default="of the same")]
FinalEpisodes = Annotated[int | None, typer.Option(min=2, help="Test tasks.", show_default="20000")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Prints every value and where it came from.")]


def run_command(command: Callable[..., Any]) -> None:
    """Runs a typer command as a program."""
    _hide_passwords()
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it complains where the home folder cannot be written
    raise_on_signals()
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
    except SystemExit as end:  # typer's, for a mistake, for --help, and for Ctrl-C
        if end.code == CTRL_C:
            leave(CTRL_C)
        raise
    except Terminated as signal_name:
        print(f"stopped ({signal_name}).", file=sys.stderr)
        leave(RESUMABLE)


def _hide_passwords() -> None:
    """Starts this program again with addresses that hold a password in its environment: everybody can read command lines."""
    kept: list[str] = []
    found: dict[str, str] = {}
    arguments = iter(sys.orig_argv)
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if option in HIDDEN:
            value = value if equals else next(arguments, "")
            if "@" in value or "password=" in value:
                found[HIDDEN[option]] = value
                continue
            argument = f"{option}={value}"
        kept.append(argument)
    if found:
        os.execve(sys.executable, kept, os.environ | found)  # noqa: S606 - this very program


def leave(code: int) -> None:
    """Ends the process with ``code`` without waiting for background threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
