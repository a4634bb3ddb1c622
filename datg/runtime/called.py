"""How a user calls commands here: `datg COMMAND`, or a launcher of a checkout, which are the same."""

import shlex
import sys
from pathlib import Path

RUNS = Path("runs")  # where commands look for searches by name, unless --output says otherwise


def command(name: str, *arguments: object) -> str:
    """Return a command as this user calls them: `python launchers/NAME.py` if this program is a launcher, else `datg NAME`.

    The launcher is named as seen from the checkout, wherever this program was called from. Paths are quoted for a shell where
    they need it.
    """
    called = f"python launchers/{name}.py" if _is_launcher() else f"datg {name}"
    words = (shlex.quote(str(argument)) if isinstance(argument, Path) else str(argument) for argument in arguments)
    return " ".join([called, *words])


def this_command() -> str:
    """Return how this program was called; passwords are refused on the command line, so there is none in it."""
    program, arguments = Path(sys.argv[0]), shlex.join(sys.argv[1:])
    return command(program.stem, arguments) if _is_launcher() else f"{program.name} {arguments}"


def called(folder: Path) -> str:
    """Return what commands that are called here take for a search: the name of its ``folder`` in `./runs`, else its path."""
    return folder.name if folder.parent == RUNS.absolute() else shlex.quote(str(folder))


def how_to_resume(folder: Path, *, above: str, comparison: bool, external: bool) -> str:
    """Return the command that resumes a search.

    Args:
        folder: of the search.
        above: name of the comparison that begins with it; empty if there is none.
        comparison: whether it is a comparison itself.
        external: whether its study is in a database of the user's.
    """
    storage = ["--study-storage URL"] if external else []
    resumed = folder.with_name(above) if above else folder
    return command("compare" if comparison or above else "search", "--resume", called(resumed), *storage)


def _is_launcher() -> bool:
    program = Path(sys.argv[0])
    return program.suffix == ".py" and program.parent.name == "launchers"
