"""A search resumed: its study opened, changes accepted or refused, damage repaired."""

import shutil
from pathlib import Path

from datg.errors import ConfigError, StateError, without_password
from datg.runtime.called import how_to_resume
from datg.search.enqueued import Params, check_places, read_enqueued
from datg.search.request import Request
from datg.search.session import SearchSession, open_search_study, open_session, start_ray_for
from datg.search.settings import SearchSettings
from datg.search.state.changes import check_asked, reconcile_settings, requested_settings
from datg.search.state.folder import DriverLock, SearchFolder, find_folder
from datg.search.state.inbox import ENQUEUE, Inbox
from datg.search.state.repair import repair
from datg.search.study.driver import SearchDriver
from datg.search.study.stored import StoredStudy, is_empty, is_storage_failure

CHANGED = "the search was changed while this trial ran"  # why it is given up


def resume_search(request: Request, search: str, *, comparison: bool = False) -> SearchSession:
    """Open a search, or a ``comparison``, to go on with it; its configuration comes from its folder.

    Raises:
        ConfigError: what the user says now is not what the search began with, and that was not allowed.
        StateError: the same of data or code; or the folder is damaged beyond repair.
    """
    folder = find_folder(request.output, search)
    lock = DriverLock(folder)
    with lock:  # a second driver is turned away at once
        saved = SearchSettings.load(folder)
    _check_kind(folder, saved, comparison=comparison)
    if saved.external_study and request.study_storage is None:
        raise ConfigError(
            f"the study of {folder.name} is in a database; name it again with --study-storage or in DATG_STUDY_STORAGE."
        )
    if request.warm_start is not None and Path(request.warm_start).name != saved.warm_start:
        raise ConfigError(
            f"`--warm-start` is for a search that begins; {folder.name} began "
            + (f"with what {saved.warm_start} had found." if saved.warm_start else "without one; leave it out.")
        )
    wanted, dataset = requested_settings(request, saved)
    enqueued = read_enqueued(request.enqueue, wanted)
    try:
        with lock:
            stored, settings, remarks = _reopen_study(request, folder, saved, wanted)
            with stored.closed_on_error():
                _enqueue(folder, settings, enqueued, len(stored.trials()))
                allocation = start_ray_for(request)  # which may wait for nodes: nobody else may drive meanwhile
                driver = SearchDriver(folder, settings, stored)
    except OSError as error:
        raise StateError(
            f"{error.filename or folder.path} cannot be read or written ({error.strerror or error}); repair that, or move it "
            "away to go on without it."
        ) from error
    except Exception as error:
        if not is_storage_failure(error):
            raise
        reason = without_password(str(getattr(error, "orig", None) or error).splitlines()[0])
        raise StateError(
            f"the study of {folder.name} cannot be read or written ({reason}); resume it once it can."
        ) from error
    if driver.all_done:
        remarks.append(f"{folder.name} is done: nothing is left to do; --trials N prolongs it.")
    return open_session(request, folder, settings, dataset, driver, lock, allocation, remarks)


def _enqueue(folder: SearchFolder, settings: SearchSettings, enqueued: list[Params], begun: int) -> None:
    """Put trials into the inbox, but those that the same command has put there before.

    Raises:
        ConfigError: the search has no room for them.
    """
    inbox = Inbox(folder)
    new = inbox.not_put_yet(enqueued)
    waiting = sum(request.kind == ENQUEUE for request in inbox.pending())
    resume = how_to_resume(folder.path, above="", comparison=False, external=settings.external_study)
    check_places(new, settings, begun=begun, waiting=waiting, resume=resume)
    inbox.put_once(ENQUEUE, enqueued)


def as_begun(request: Request, comparison: str) -> Request:
    """Return the request to go on with a comparison by its name, if it is the one that was begun under it.

    Raises:
        ConfigError: it is another one, or a search.
    """
    folder = find_folder(request.output, comparison)
    saved = SearchSettings.load(folder)
    _check_kind(folder, saved, comparison=True)
    check_asked(request, saved)
    return request.going_on()


def _check_kind(folder: SearchFolder, saved: SearchSettings, *, comparison: bool) -> None:
    if bool(saved.grid) != comparison:
        way = how_to_resume(folder.path, above="", comparison=bool(saved.grid), external=saved.external_study)
        raise ConfigError(f"{folder.name} is a {'comparison' if saved.grid else 'search'}; go on with: {way}")


def _reopen_study(
    request: Request, folder: SearchFolder, saved: SearchSettings, wanted: SearchSettings
) -> tuple[StoredStudy, SearchSettings, list[str]]:
    """Open the study, accept or refuse what has changed, and repair what is damaged."""
    untouched = not any((folder.path / "trials").glob("*"))  # its first driver may have died before the first trial
    if untouched and not wanted.external_study and is_empty(folder.study, wanted.study):
        folder.study.unlink(missing_ok=True)
    stored = open_search_study(request, folder, wanted, create=untouched)
    with stored.closed_on_error():
        settings, remarks = _take_up(request, folder, saved, wanted, stored)
    return stored, settings, remarks


def _take_up(
    request: Request, folder: SearchFolder, saved: SearchSettings, wanted: SearchSettings, stored: StoredStudy
) -> tuple[SearchSettings, list[str]]:
    asked = bool(request.settings or request.space_file or request.dataset or set(request.flags) - {"search.trials"})
    settings, differences = reconcile_settings(saved, wanted, stored, allowed=request.allow_change, asked=asked)
    remarks = [f"changed: {line}" for line in differences]
    if any(not line.startswith("version of ") for line in differences):
        remarks += [f"trial {number} was running and is given up" for number in stored.fail_running_trials(CHANGED)]
        shutil.rmtree(folder.network, ignore_errors=True)  # of another configuration or other data
        if folder.references.exists():
            folder.references.rename(folder.path / f"references-before-change-{len(settings.changes)}")
    settings.save(folder)
    settings.remember(stored)
    return settings, remarks + repair(folder, stored.trials(), settings.references)
