"""Shared by the tests of the files that start a cluster."""

import typer

from datg.cli.main import load_command
from tests.faults.conftest import place, place_with

__all__ = ["parsed", "place", "place_with"]


def parsed(name, arguments):
    """The options of a command line, as the command `name` reads them; a wrong one raises."""
    app = typer.Typer()
    app.command()(load_command(name))
    return typer.main.get_command(app).make_context(name, list(arguments)).params
