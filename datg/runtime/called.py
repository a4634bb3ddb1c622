"""How a user calls commands here: `datg COMMAND`, or a launcher of a checkout, which are the same."""

import sys
from pathlib import Path


def command(name: str, *arguments: object) -> str:
    """Return a command as this user calls them: `python launchers/NAME.py` if this program is a launcher, else `datg NAME`.

    The launcher is named as seen from the checkout, wherever this program was called from.
    """
    program = Path(sys.argv[0])
    launcher = program.suffix == ".py" and program.parent.name == "launchers"
    return " ".join([f"python launchers/{name}.py" if launcher else f"datg {name}", *map(str, arguments)])
