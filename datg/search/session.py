"""A search that is ready to run."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datg.data.catalog import Dataset
from datg.runtime.signals import StopRequest
from datg.search.environment import ignored_environment
from datg.search.ray.private_parts import prepare_environment
from datg.search.ray.resources import Allocation
from datg.search.request import Request
from datg.search.settings import SearchSettings
from datg.search.state.folder import DriverLock, SearchFolder
from datg.search.state.records import RecordReader
from datg.search.study.driver import SearchDriver
from datg.search.study.stored import StoredStudy, open_study, sqlite_url
from datg.trial.records import TrialRecord

if TYPE_CHECKING:
    from datg.search.ray.spare_tasks import SpareTasks


@dataclass
class SearchSession:
    """Hold a search that is ready to run.

    Attributes:
        driver: between Ray and the study.
        lock: held while it runs.
        allocation: what Ray can give.
        remarks: what was repaired or changed before it went on.
        tasks: evaluations and references, once they have run.
    """

    folder: SearchFolder
    settings: SearchSettings
    dataset: Dataset
    driver: SearchDriver
    lock: DriverLock
    allocation: Allocation
    stop: StopRequest
    remarks: list[str]
    reader: RecordReader
    tasks: "SpareTasks | None" = None

    def records(self) -> list[TrialRecord]:
        """Return the trials so far."""
        return self.reader.records()

    def references(self) -> list[TrialRecord]:
        """Return the references so far."""
        return self.reader.references()


def open_search_study(request: Request, folder: SearchFolder, settings: SearchSettings, *, create: bool) -> StoredStudy:
    """Open the study of a search, in its folder or, if it began there, in the database that the user names."""
    url = (settings.external_study and request.study_storage) or sqlite_url(folder.study)
    return open_study(url, settings.study, create=create)


def open_session(
    request: Request,
    folder: SearchFolder,
    settings: SearchSettings,
    dataset: Dataset,
    driver: SearchDriver,
    lock: DriverLock,
    allocation: Allocation,
    remarks: list[str],
) -> SearchSession:
    """Put together what a search needs to run."""
    stop, reader = StopRequest(request.time_budget), RecordReader(folder, settings)
    remarks = [*ignored_environment(request.resources), *remarks]
    return SearchSession(folder, settings, dataset, driver, lock, allocation, stop, remarks, reader)


def start_ray_for(request: Request) -> Allocation:
    """Start Ray, or connect to it and look at its nodes; its import takes seconds."""
    resources = request.resources
    if resources.address is None:
        prepare_environment()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray's own dependencies
        from datg.search.ray.cluster import start_ray

        return start_ray(resources, request.output.absolute(), request.notify)


def end_ray() -> None:
    """Leave the cluster, or end the one that was started here."""
    from datg.search.ray.cluster import shut_down

    shut_down()
