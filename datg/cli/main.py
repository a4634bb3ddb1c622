"""The entry of every command: `datg COMMAND`, and `python launchers/COMMAND.py`, which are the same.

Errors become one sentence and an exit code (:class:`~datg.runtime.exit_codes.ExitCode`). A command's module is loaded when the
command is called.
"""

import errno
import itertools
import logging
import os
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from itertools import chain
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from datg.errors import ConfigError, DatgError, StateError, has_password
from datg.runtime.exit_codes import ExitCode
from datg.runtime.signals import exit_code_of, leave, raise_on_signals, received_signal
from datg.storage.files import NO_ROOM

# In the order of a user's day; each is a function of its name in a module of its name.
COMMANDS = (
    "import_data",
    "inspect_data",
    "check_cluster",
    "search",
    "status",
    "enqueue",
    "stop_trial",
    "report",
    "compare",
    "reproduce",
    "export",
    "train",
    "evaluate",
    "apply",
    "replay",
    "sync_mlflow",
)
FILE_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
# Options whose value may hold a password, with the variables that take it instead.
SECRET = {"--study-storage": "DATG_STUDY_STORAGE", "--tracking-uri": "MLFLOW_TRACKING_URI"}


def load_command(name: str) -> Callable[..., Any]:
    """Import the function of a command; its name may be written with hyphens."""
    name = name.replace("-", "_")
    command: Callable[..., Any] = getattr(import_module(f"datg.cli.{name}"), name)
    return command


class GroupedCommand(TyperCommand):
    """Show a command's options in the groups that `rich_help_panel` names, in plain text."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the groups in the order in which they first appear; `--help` comes last."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if row is not None:
                other = "Arguments" if parameter.param_type_name == "argument" else "Help"
                groups.setdefault(getattr(parameter, "rich_help_panel", None) or other, []).append(row)
        for name, rows in groups.items():
            with formatter.section(name):
                formatter.write_dl(rows)


class _Commands(TyperGroup):
    """The commands of :data:`COMMANDS`, loaded one by one."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, or nothing where there is none of that name."""
        if cmd_name.replace("-", "_") not in COMMANDS:
            return None
        app = _typer()
        app.command(name=cmd_name, cls=GroupedCommand)(load_command(cmd_name))
        return typer.main.get_command(app)


def _typer(**options: Any) -> typer.Typer:
    return typer.Typer(
        **{"add_completion": False, "pretty_exceptions_enable": False, "rich_markup_mode": None, **options}
    )


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"datg {version('datg')}")
        raise typer.Exit


def application() -> typer.Typer:
    """Return `datg` with all its commands."""
    app = _typer(cls=_Commands, add_completion=True, no_args_is_help=True)

    @app.callback()
    def datg(
        show_version: Annotated[
            bool,
            typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
        ] = False,
    ) -> None:
        """Search the hyperparameters of few-shot learning on diverse and authentic generated tasks (DATG)."""

    return app


def main() -> None:
    """Run `datg`."""
    _run(application())


def run(name: str) -> None:
    """Run the command ``name`` as a program of its own."""
    run_command(load_command(name))


def run_command(command: Callable[..., Any]) -> None:
    """Run a function as a program, its annotated parameters as options."""
    app = _typer()
    app.command(cls=GroupedCommand)(command)
    _run(app)


def _run(app: typer.Typer) -> None:
    # Read when torch is loaded, later. Threads that spin while they wait take the cores from each other beside any other work:
    # a small training on two cores took 76 s beside two busy processes so, and 30 s with threads that sleep.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it complains where the home folder cannot be written
    raise_on_signals()
    verbose = any(flag in sys.argv[1:] for flag in ("-v", "--verbose"))
    try:
        _refuse_passwords()
        app()
    except SystemExit as end:  # typer's, for a mistake, for --help, and for Ctrl-C
        if end.code == ExitCode.CTRL_C:
            leave(ExitCode.CTRL_C)
        raise
    except BaseException as error:
        last_words = _last_words(error)
        if last_words is None:
            raise
        if verbose:
            traceback.print_exc()
        text, code = last_words
        print(text, file=sys.stderr)
        leave(code)


def _last_words(error: BaseException) -> tuple[str, ExitCode] | None:
    """Return what to say of an error that ends a command, and the exit code; None where a traceback has to say it."""
    if number := received_signal():  # whatever a library has made of it
        return f"stopped ({number.name}).", exit_code_of(number)
    if isinstance(error, DatgError):
        text = "\n".join(f"error: {line}" for line in str(error).splitlines())
        return text, ExitCode.DAMAGED if isinstance(error, StateError) else ExitCode.USAGE
    if isinstance(error, OSError) and error.errno in FILE_TROUBLE:
        where, why = error.filename or "a file", error.strerror or error
        way = "free space, or choose another folder" if error.errno in NO_ROOM else "choose a folder that you may write"
        return f"error: {where}: {why}; {way}.", ExitCode.USAGE
    return None


def _refuse_passwords() -> None:
    """Refuse a URL with a password: everybody on this machine can read command lines, and Ray writes them down.

    Raises:
        ConfigError: naming the variable to use.
    """
    for option, value in itertools.pairwise([*chain.from_iterable(part.split("=", 1) for part in sys.argv[1:]), ""]):
        if option in SECRET and has_password(value):
            raise ConfigError(
                f"`{option}` must not hold a password, which everybody on this machine could read; put the URL into "
                f"{SECRET[option]} instead: export {SECRET[option]}=..."
            )
