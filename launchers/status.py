"""What a search is doing, or did before it died: reads its folder alone.

python launchers/status.py                      # every search in ./runs, a line each
python launchers/status.py dermnet-20261122-1
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from datg.command_line import Json, Output, Verbose, run_command


def status(
    search: Annotated[str | None, typer.Argument(help="Name or folder of the search.", show_default="all")] = None,
    output: Output = Path("runs"),
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Tells how a search stands."""
    from datg.errors import DatgError
    from datg.search.folder import find_folder, folders_in
    from datg.search.status import read_status
    from datg.search.status_lines import lines_of, one_line

    if search is not None:
        found = read_status(find_folder(output, search))
        print(json.dumps(found.as_json()) if as_json else "\n".join(lines_of(found)))
        return
    every, lines = [], []
    for name in sorted(folders_in(output)):
        try:
            every.append(read_status(find_folder(output, name)))
            lines.append(one_line(every[-1]))
        except DatgError as error:  # one of them must not hide the others
            lines.append(f"{name}: {error}")
    if as_json:
        print(json.dumps([found.as_json() for found in every]))
    else:
        print("\n".join(lines) if lines else f"there is no search in {output}")


if __name__ == "__main__":
    run_command(status)
