"""`datg replay`: run one trial of a search again and compare."""

import json
from typing import Annotated

import typer

from datg.cli.options import DataRoot, Json, Output, Verbose
from datg.runtime.called import RUNS
from datg.runtime.exit_codes import ExitCode
from datg.runtime.signals import leave

SHOWN = 5  # differences


def replay(
    search: Annotated[str, typer.Argument(help="Name or folder of the search.")],
    trial: Annotated[int, typer.Argument(min=0, help="Number of the trial.")],
    data_root: DataRoot = None,
    output: Output = RUNS,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Run TRIAL of SEARCH again and say whether it comes out the same: to the bit on a CPU. Exits with 1 if it does not.

    Example: datg replay dermnet-20261122-1 4
    """
    from datg.cli.console import console, progress_bar
    from datg.runtime.allocator import keep_freed_memory
    from datg.search.replay import replay_trial
    from datg.search.settings import SearchSettings
    from datg.search.state.folder import find_folder

    keep_freed_memory()
    folder = find_folder(output, search)
    settings = SearchSettings.load(folder)
    with progress_bar(console()) as show:
        replayed = replay_trial(
            folder, settings, trial, root=data_root, show=lambda done, total: show(f"trial {trial}", done, total)
        )
    if as_json:
        print(json.dumps({"search": folder.name, "trial": trial, "same": not replayed.differences, **vars(replayed)}))
    elif replayed.differences:
        print(f"trial {trial} of {folder.name} now differs:")
        for line in replayed.differences[:SHOWN]:
            print(f"  {line}")
        if len(replayed.differences) > SHOWN:
            print(f"  and {len(replayed.differences) - SHOWN} more")
    else:
        print(
            f"trial {trial} of {folder.name} comes out the same to the bit: {replayed.validations} validations, best weights"
        )
    for line in [] if as_json else replayed.remarks:
        print(f"  note: {line}")
    leave(ExitCode.BUG if replayed.differences else ExitCode.DONE)
