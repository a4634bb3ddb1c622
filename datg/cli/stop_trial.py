"""`datg stop_trial`: end one trial of a search that runs."""

import json
from typing import Annotated

import typer

from datg.cli.options import Json, Output, Verbose
from datg.runtime.called import RUNS, how_to_resume

PATIENCE = 20.0  # seconds that a driver's answer is waited for; it looks every 5


def stop_trial(
    search: Annotated[str, typer.Argument(help="Name or folder of the search.")],
    trial: Annotated[int, typer.Argument(min=0, help="Number of the trial.")],
    output: Output = RUNS,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Stop one trial of SEARCH: it saves, ends as pruned, and its best weights so far are evaluated.

    Example: datg stop_trial dermnet-20261122-1 7
    """
    from datg.errors import ConfigError
    from datg.search.settings import SearchSettings
    from datg.search.state.folder import active_driver, find_folder
    from datg.search.state.inbox import STOP_TRIAL, Inbox
    from datg.trial.records import read_outcome

    folder = find_folder(output, search)
    begun = folder.trial_numbers()
    if trial not in begun:
        raise ConfigError(f"{folder.name} has no trial {trial}; it has {', '.join(map(str, begun)) or 'none'}.")
    ended = read_outcome(folder.trial(trial))
    if ended is not None and ended.final:
        raise ConfigError(f"trial {trial} of {folder.name} has ended already: {ended.outcome}.")
    inbox = Inbox(folder)
    name = inbox.put(STOP_TRIAL, {"trial": trial})
    driver = active_driver(folder)
    answer = inbox.wait_for(name, PATIENCE) if driver else None
    if as_json:
        print(json.dumps({"search": folder.name, "trial": trial, "answer": answer, "driven by": driver}))
    elif answer is not None:
        print(f"{folder.name}: {answer}")
    elif driver:
        print(f"{driver} has not answered yet; the answer will be in {folder.inbox / 'done' / name}.yaml")
    else:
        settings = SearchSettings.load(folder)
        resume = how_to_resume(
            folder.path, above=settings.comparison, comparison=bool(settings.grid), external=settings.external_study
        )
        print(f"{folder.name} is not running; resume it, and trial {trial} ends: {resume}")
