"""`datg enqueue`: have a search run trials that a user has picked by hand."""

import json
from typing import Annotated

import typer

from datg.cli.options import Json, Output, Verbose
from datg.runtime.called import RUNS, how_to_resume


def enqueue(
    search: Annotated[str, typer.Argument(help="Name or folder of the search; it may run.")],
    trials: Annotated[
        list[str],
        typer.Argument(
            metavar="TRIAL...",
            help="FILE or KEY=VALUE,KEY=VALUE: values of searched keys (the sampler suggests the others).",
        ),
    ],
    output: Output = RUNS,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Have SEARCH run hand-picked trials next; they count among its trials.

    Example: datg enqueue dermnet-20261122-1 strategy.alpha=0.5,strategy.beta=0.5

    Example: datg enqueue dermnet-20261122-1 configs/ham10000-20261120-1-top1.yaml
    """
    from datg.search.enqueued import check_places, read_enqueued
    from datg.search.settings import SearchSettings
    from datg.search.state.folder import active_driver, find_folder
    from datg.search.state.inbox import ENQUEUE, Inbox

    folder = find_folder(output, search)
    settings, inbox = SearchSettings.load(folder), Inbox(folder)
    wanted = read_enqueued(trials, settings)
    waiting = sum(request.kind == ENQUEUE for request in inbox.pending())
    resume = how_to_resume(folder.path, above="", comparison=False, external=settings.external_study)
    check_places(wanted, settings, begun=len(folder.trial_numbers()), waiting=waiting, resume=resume)
    names = [inbox.put(ENQUEUE, params) for params in wanted]
    driver = active_driver(folder)
    if as_json:
        print(json.dumps({"search": folder.name, "requests": names, "trials": wanted, "driven by": driver}))
        return
    taken = "as soon as a trial ends" if driver else f"once you resume: {resume}"
    print(f"{len(names)} trial{'s' if len(names) > 1 else ''} enqueued in {folder.name}, to begin {taken}")
    for params in wanted:
        print("  " + ", ".join(f"{key}={value}" for key, value in params.items()))
