"""Options that several commands share, and how a command takes a set of them."""

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from datg.tracking.store import VARIABLE, check_tracking_uri

WHAT, RESOURCES, STOPPING, OUTPUT = "What to run", "Resources", "Stopping and resuming", "Output"  # groups of options

DataRoot = Annotated[
    Path | None,
    typer.Option(
        help="Folder in which data sets are stored.",
        envvar="DATG_DATA",
        show_default="./data",
        rich_help_panel=OUTPUT,
    ),
]
Output = Annotated[Path, typer.Option(help="Folder to which results are written.", rich_help_panel=OUTPUT)]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set one configuration value, which no search then varies; may be repeated.",
        rich_help_panel=WHAT,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON on standard output.", rich_help_panel=OUTPUT)
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show the traceback of an error.", rich_help_panel=OUTPUT)
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        help="MLflow store to which results are logged.",
        envvar=VARIABLE,
        callback=check_tracking_uri,
        show_default="sqlite:///./mlflow.db",
        rich_help_panel=OUTPUT,
    ),
]
TestDataset = Annotated[
    str | None,
    typer.Option(
        help="Data set on whose novel classes the final evaluation is done.",
        show_default="the data set itself",
        rich_help_panel=WHAT,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        help="Device to compute on: cpu or cuda.", show_default="cuda if there is one", rich_help_panel=RESOURCES
    ),
]


def names(table: Any) -> str:
    """Return the names of a table as a help text lists them."""
    return ", ".join(table)


def takes(options: type[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the fields of a dataclass as options; the command takes them as one argument, ``options``."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        own_parameters = [entry for name, entry in inspect.signature(command).parameters.items() if name != "options"]
        hints = get_type_hints(options, include_extras=True)
        shared = [
            inspect.Parameter(
                entry.name, inspect.Parameter.KEYWORD_ONLY, default=entry.default, annotation=hints[entry.name]
            )
            for entry in fields(options)
        ]
        common = {entry.name for entry in shared}

        @wraps(command)
        def taking(**given: Any) -> Any:
            mine = {name: value for name, value in given.items() if name not in common}
            return command(**mine, options=options(**{name: given[name] for name in common}))

        parameters = [entry.replace(kind=inspect.Parameter.KEYWORD_ONLY) for entry in own_parameters] + shared
        taking.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        taking.__annotations__ = {entry.name: entry.annotation for entry in parameters}
        return taking

    return decorate
