"""Runs the comparisons of a reproduction one after the other, tells what they cost, and shows what came out."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from datg.cli.console import console, print_rows, say
from datg.cli.run_comparison import run_comparison
from datg.cli.search_options import RunOptions
from datg.cli.tune import Ended
from datg.errors import ConfigError, DataError
from datg.report.status import read_status
from datg.runtime.called import called, command
from datg.runtime.exit_codes import ExitCode
from datg.runtime.progress import format_duration
from datg.runtime.signals import raise_on_signals
from datg.search.disk_space import check_room
from datg.search.prepare import Bill, bill
from datg.search.reproduction.folder import Reproduction, unit_folder
from datg.search.reproduction.forms import (
    as_json,
    describe_claim,
    describe_conditions,
    format_row,
    without_silent,
)
from datg.search.reproduction.plan import Unit
from datg.search.reproduction.prepare import check_names, check_places, check_unchanged, request_for
from datg.search.request import Request
from datg.search.state.folder import DriverLock, SearchFolder, named_folder, new_folder
from datg.search.state.resume import as_begun
from datg.storage.disk_size import format_size

if TYPE_CHECKING:
    from rich.console import Console

PREFIX, LONGEST = "reproduction", "reproduction-20261231-99"  # by date and number, where no name is given
STOPPED = (ExitCode.RESUMABLE, ExitCode.CTRL_C)  # by the user or the time budget: no further comparison is begun


def check_and_make_folder(
    reproduction: Reproduction, general: Request, name: str | None, *, leaving_out: bool
) -> tuple[SearchFolder, Reproduction]:
    """Check every comparison, and the room for all of them, before the first one runs; make the folder.

    Args:
        reproduction: what is to be run.
        general: resources, places, and what was given by ``--set``.
        name: of the folder; by date if it is None.
        leaving_out: whether a comparison that the data do not fit is left out.

    Returns:
        The folder, and what remains of the reproduction.

    Raises:
        ConfigError: a comparison cannot be run, or nothing can.
    """
    check_names(reproduction, name or LONGEST)
    place = SearchFolder(general.output.absolute() / (name or PREFIX))
    reproduction, bills = _checked(reproduction, general, place, leaving_out=leaving_out)
    check_room(general.output, sum(one.size for one in bills))
    if name is not None:
        check_places(reproduction, place)
    folder = new_folder(general.output, PREFIX) if name is None else named_folder(general.output, name)
    reproduction = reproduction.model_copy(update={"name": folder.name})
    reproduction.save(folder)
    return folder, reproduction


def _checked(
    reproduction: Reproduction, general: Request, place: SearchFolder, *, leaving_out: bool
) -> tuple[Reproduction, list[Bill]]:
    units, bills, left_out = [], [], []
    for unit in reproduction.units:
        try:
            bills.append(bill(request_for(unit, reproduction, place, general), timed=False))
        except (ConfigError, DataError) as error:
            if not leaving_out:
                raise
            left_out.append(f"{unit.suffix}: {error}")
        else:
            units.append(unit)
    if not units:
        raise ConfigError("\n".join(left_out))
    return reproduction.model_copy(update={"units": units, "left_out": [*reproduction.left_out, *left_out]}), bills


def show_bill(reproduction: Reproduction, general: Request, out: "Console", *, leaving_out: bool) -> None:
    """Print what every comparison costs, and all of them together."""
    place = SearchFolder(Path(PREFIX).absolute())
    check_names(reproduction, LONGEST)
    reproduction, _ = _checked(reproduction, general, place, leaving_out=leaving_out)
    rows, seconds, together, trainings, size = [], 0.0, 0.0, 0, 0
    for number, unit in enumerate(reproduction.units, 1):
        say(out, f"timing {number} of {len(reproduction.units)}: {unit.suffix}")
        cost = bill(request_for(unit, reproduction, place, general))
        assert cost.length is not None
        rows.append(
            {
                "comparison": unit.suffix,
                "trainings": str(cost.trainings),
                "iterations": str(cost.iterations),
                "one by one": format_duration(cost.length.seconds),
                f"{cost.at_once} at once": format_duration(cost.length.at_once(cost.at_once)),
                "disk": format_size(cost.size),
            }
        )
        seconds, together = seconds + cost.length.seconds, together + cost.length.at_once(cost.at_once)
        trainings, size = trainings + cost.trainings, size + cost.size
    print_rows(rows, out)
    for line in reproduction.rest:
        say(out, line)
    print(
        f"{trainings} trainings, {format_duration(seconds)} one after the other, {format_duration(together)} as many at once as "
        f"this machine can, {format_size(size)} (timed here, from a few iterations of each kind; what is pruned takes less)"
    )


def run_reproduction(folder: SearchFolder, reproduction: Reproduction, general: Request, options: RunOptions) -> int:
    """Run what is missing of every comparison, show what came out, and return the exit code.

    A comparison that gave up, or whose trials were lost with their machines, does not keep the others from running. The code is
    that of what stopped everything; else 4 if something is damaged, 3 if a comparison gave up or no training of any has
    succeeded, 75 if trials were lost, and 0 if everything is done.
    """
    out, began, codes = console(), time.monotonic(), {}
    for line in reproduction.left_out:
        say(out, line)
    with DriverLock(folder):
        for number, unit in enumerate(reproduction.units, 1):
            say(out, f"comparison {number} of {len(reproduction.units)}: {unit.suffix}")
            ended = _run_unit(folder, unit, reproduction, _with_time_left(general, began), options)
            codes[unit.suffix] = ended.code
            if ended.stopped in STOPPED:
                break
        scored = _show(folder, options)
    left = [unit.suffix for unit in reproduction.units if not _is_done(unit_folder(folder, unit))]
    if not left and ExitCode.DAMAGED not in codes.values():
        return ExitCode.DONE if scored else ExitCode.NO_SUCCESS
    storage = [] if general.study_storage is None else ["--study-storage URL"]
    way = command("reproduce", "--resume", called(folder.path), *storage)
    say(out, f"not done: {', '.join(left) or 'evaluations of damaged weights'}; go on with: {way}")
    if ended.stopped in STOPPED:
        return ended.stopped
    if ExitCode.DAMAGED in codes.values():
        return ExitCode.DAMAGED
    return ExitCode.NO_SUCCESS if ExitCode.NO_SUCCESS in map(codes.get, left) else ExitCode.RESUMABLE


def _is_done(comparison: SearchFolder) -> bool:
    return comparison.settings.exists() and read_status(comparison).done


def _with_time_left(request: Request, began: float) -> Request:
    budget = request.time_budget
    return request if budget is None else replace(request, time_budget=max(0.0, budget - (time.monotonic() - began)))


def _run_unit(
    folder: SearchFolder, unit: Unit, reproduction: Reproduction, general: Request, options: RunOptions
) -> Ended:
    """Run what is missing of one comparison, and return how it ended."""
    request, place = request_for(unit, reproduction, folder, general), unit_folder(folder, unit)
    begun = place.name if place.settings.exists() else None
    if begun is not None:
        request = as_begun(request, begun)
        if _is_done(place):
            return Ended(ExitCode.DONE)
    assert general.data_root is not None
    check_unchanged(reproduction, general.data_root, general.spaces, allow_change=general.allow_change)
    ended = run_comparison(request, begun, options.tracking_uri, as_json=False, report=options.report)
    raise_on_signals()
    return ended


def _show(folder: SearchFolder, options: RunOptions) -> bool:
    """Write what has been found so far in every form, and print it; return whether there is any accuracy."""
    from datg.report.page.reproduction import (  # imports plotly
        read_reproduction,
        write_page_of,
        write_reproduction_files,
    )

    out, reproduced = console(), read_reproduction(folder)
    try:
        write_reproduction_files(reproduced)
        if options.report:
            write_page_of(reproduced, running=False)
    except OSError as error:  # a full disk takes no results: they are printed
        way = command("report", called(folder.path))
        say(out, f"tables in {folder.path} were not written ({error.strerror or error}); try again with: {way}")
    if options.as_json:
        print(json.dumps(as_json(reproduced)))
        return reproduced.scored
    for line in describe_conditions(reproduced.results):
        say(out, line)
    for found in reproduced.tables:
        out.print(f"\n{found.table.title}")
        print_rows(without_silent([format_row(row, between="\n") for row in found.rows]), out)
    for claim in reproduced.claims:
        say(out, describe_claim(claim))
    for line in reproduced.results.reproduction.rest:
        say(out, line)
    say(out, f"tables and figures: {folder.path}")
    return reproduced.scored
