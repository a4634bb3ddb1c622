"""The searches that a comparison begins with, run one after the other."""

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from datg.cli.console import console, say
from datg.cli.run_with_display import run_with_display
from datg.errors import ConfigError
from datg.report.leaderboard import format_leaderboard
from datg.report.status import read_status
from datg.runtime.exit_codes import ExitCode
from datg.runtime.signals import raise_on_signals
from datg.search.comparison.tuning import tuned_settings
from datg.search.settings import SearchSettings
from datg.search.state.changes import requested_settings
from datg.search.state.folder import DriverLock, SearchFolder, find_folder
from datg.search.state.resume import resume_search

if TYPE_CHECKING:
    from datg.search.request import Request


@dataclass(frozen=True)
class Ended:
    """Say how a comparison, or a search that it begins with, ended.

    Attributes:
        code: its exit code.
        stopped: the exit code of what asked the program to stop, perhaps when it was done already; None if nothing has.
    """

    code: int
    stopped: int | None = None


def check_tuning(request: "Request", comparison: str, *, trials: int | None, repeats: int | None) -> None:
    """Refuse to go on with a comparison otherwise than it began.

    Raises:
        ConfigError: naming what it began with.
    """
    settings = SearchSettings.load(find_folder(request.output, comparison))
    requested_settings(request, settings)
    tuning = settings.tuning
    began = {"--tune": tuning.trials if tuning else 0, "--repeat-search": tuning.repeats if tuning else 1}
    for flag, given in (("--tune", trials), ("--repeat-search", repeats)):
        if given is not None and given != began[flag]:
            how = f"with {flag} {began[flag]}" if tuning else "without searches"
            raise ConfigError(
                f"`{flag}` {given}: this comparison began {how}; leave the flag out, or start a new comparison."
            )


def tune_first(request: "Request", comparison: str, uri: str | None, *, report: bool) -> tuple["Request", Ended]:
    """Run what is missing of the searches that a comparison begins with, and have it compare what they found.

    Args:
        request: to go on with a search: resources, places, and nothing that a search is made of.
        comparison: name or folder.
        uri: of the MLflow tracking store, if it was given.
        report: whether each search gets a page that tells what it found.

    Returns:
        The request with what is left of its time budget, and how that ended: with another code than 0 where a search was
        stopped or cannot go on.
    """
    folder = find_folder(request.output, comparison)
    settings = SearchSettings.load(folder)
    if settings.tuning is None or settings.tuned:
        return request, Ended(ExitCode.DONE)
    began, names = time.monotonic(), settings.tuning.in_order

    def left() -> "Request":
        budget = request.time_budget
        return request if budget is None else replace(request, time_budget=budget - (time.monotonic() - began))

    ended = Ended(ExitCode.DONE)
    with DriverLock(folder):
        for number, name in enumerate(names, 1):
            say(console(), f"search {number} of the {len(names)} that {folder.name} begins with")
            ended = _search(left(), folder.beside(name), uri, report=report)
            if ended.code != ExitCode.DONE:
                break
        else:
            tuned_settings(folder, settings).save(folder)
    return left(), ended


def _search(request: "Request", folder: SearchFolder, uri: str | None, *, report: bool) -> Ended:
    """Run what is missing of a search, and return how it ended: with 0 also where all of its trials ended without success."""
    if read_status(folder).done:
        return Ended(ExitCode.DONE)
    session = resume_search(request.going_on(), str(folder.path))
    code = run_with_display(session, uri, format_leaderboard, as_json=False, report=report)
    raise_on_signals()
    if code == ExitCode.NO_SUCCESS and len(session.driver.ended) >= session.settings.trials:
        return Ended(ExitCode.DONE)
    stopped = session.stop.exit_code if session.stop.requested else None
    return Ended(code or stopped or ExitCode.DONE, stopped)
