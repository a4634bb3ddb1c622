"""Runs one trial of a search again and says whether the result is the same: to the bit on a CPU.

python launchers/replay.py dermnet-20261122-1 4
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from datg.command_line import DataRoot, Json, Output, Verbose, leave, run_command

DIFFERS, SHOWN = 1, 5


def replay(
    search: Annotated[str, typer.Argument(help="Name or folder of the search.")],
    trial: Annotated[int, typer.Argument(min=0, help="Its number.")],
    data_root: DataRoot = None,
    output: Output = Path("runs"),
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Runs TRIAL of SEARCH again; exits with 1 if it comes out otherwise."""
    from datg.display import console, progress_bar
    from datg.memory import keep_freed_memory
    from datg.search.folder import find_folder
    from datg.search.replay import replay_trial
    from datg.search.settings import SearchSettings

    keep_freed_memory()
    folder = find_folder(output, search)
    settings = SearchSettings.load(folder)
    with progress_bar(console()) as show:
        found = replay_trial(
            folder, settings, trial, root=data_root, show=lambda done, total: show(f"trial {trial}", done, total)
        )
    if as_json:
        print(json.dumps({"search": folder.name, "trial": trial, "same": not found.differences, **vars(found)}))
    elif found.differences:
        print(f"trial {trial} of {folder.name} comes out otherwise:")
        for line in found.differences[:SHOWN]:
            print(f"  {line}")
        if len(found.differences) > SHOWN:
            print(f"  and {len(found.differences) - SHOWN} more")
    else:
        print(
            f"trial {trial} of {folder.name} comes out the same to the bit: {found.validations} validations, best weights"
        )
    for line in [] if as_json else found.remarks:
        print(f"  note: {line}")
    leave(DIFFERS if found.differences else 0)


if __name__ == "__main__":
    run_command(replay)
