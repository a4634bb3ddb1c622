"""An import from the raw files to the data set that every other command finds by name."""

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import Timeout

from datg.data.catalog import BUILT_IN, Dataset, open_dataset
from datg.data.dataset_yaml import own_dataset_yaml, read_dataset_yaml, task_size_of
from datg.data.import_settings import PARTS, ImportSettings
from datg.data.importing.assembly import assemble
from datg.data.importing.formats import FORMATS
from datg.data.importing.untrusted.archives import inner_folder, is_archive, unpack
from datg.data.protocols import PROTOCOLS
from datg.data.raw_data import Workplace
from datg.data.splits import TaskSize
from datg.errors import ConfigError, DataError, unknown_name
from datg.runtime.progress import ProgressCallback
from datg.storage.files import NO_ROOM
from datg.storage.locks import OptionalLock

NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}"
CATCH_ALL = "folder"
OWN_CONTAINERS = (".npz", ".h5ad", ".pkl", ".pickle")  # forms of their own, even where they are zip files inside


@dataclass(frozen=True, kw_only=True)
class ImportRequest:
    """Hold what is to be imported.

    Attributes:
        name: of the data set from now on.
        raw: a file, a folder or an archive.
        settings: how it is read and split.
        task: tasks that must be possible; None checks none.
    """

    name: str
    raw: Path
    settings: ImportSettings
    task: TaskSize | None = None


def make_request(
    name: str, raw: Path, flags: Mapping[str, Any], task: Mapping[str, int | None], *, spaces: Path
) -> ImportRequest:
    """Return what the user asked for: flags, else the ``import`` section and tasks of the YAML called like the data set.

    Args:
        name: of the data set.
        raw: the raw files.
        flags: keys of :class:`ImportSettings`; None was not given.
        task: ways, shots and queries; None was not given.
        spaces: where the YAML files of data sets lie.

    Raises:
        ConfigError: with every mistake.
    """
    _check_name(name)
    path = own_dataset_yaml(name, spaces)
    content = {} if path is None else read_dataset_yaml(path)
    from_file = content.get("import") or {}
    ImportSettings.from_dict(from_file, source=str(path))  # so that a mistake in it is told with its place
    given = {key: value for key, value in flags.items() if value is not None}
    settings = ImportSettings.from_dict({**from_file, **given}, source="import")
    size = task_size_of(content, source=str(path))
    asked = {key: value for key, value in task.items() if value is not None}
    return ImportRequest(name=name, raw=raw, settings=settings, task=size.model_copy(update=asked))


def import_raw(
    request: ImportRequest, root: Path, *, notify: Callable[[str], None], progress: ProgressCallback
) -> Dataset:
    """Import raw files as a data set below ``root``; an earlier one of that name is replaced in one step.

    Args:
        request: what.
        root: where data sets live.
        notify: tells the user something at once.
        progress: called as ``progress(what, done, total)``.

    Raises:
        ConfigError: an unknown form or protocol, or a name that cannot be used.
        DataError: the raw files do not make a data set; nothing is left behind.
    """
    _check_name(request.name)
    _check(request.settings)
    partial = root / f".importing-{request.name}"
    try:
        if not request.raw.exists():
            raise DataError(f"{request.raw} does not exist; check the path.")
        partial.mkdir(parents=True, exist_ok=True)
        with OptionalLock(partial / "lock", timeout=0):
            shutil.rmtree(partial / "work", ignore_errors=True)  # what an import that was killed has left
            try:
                _import(request, root / request.name, Workplace(partial / "work", notify, progress))
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except Timeout:
        raise ConfigError(f"{request.name} is being imported by another process; wait for it.") from None
    except OSError as error:
        if error.errno in NO_ROOM:
            raise DataError(
                f"{root} has no room left ({error.strerror}); free space or choose another --data-root."
            ) from error
        what, why = error.filename or request.raw, error.strerror or error
        raise DataError(f"{what} cannot be used ({why}); check it, or choose another folder or --data-root.") from error
    return open_dataset(request.name, root)


def _check_name(name: str) -> None:
    if not re.fullmatch(NAME, name) or name in BUILT_IN:
        raise ConfigError(
            f"`{name}` cannot name a data set; use up to 100 letters, digits, - and _, the first a letter or digit, and not "
            f"{', '.join(BUILT_IN)}."
        )


def _check(settings: ImportSettings) -> None:
    if settings.form not in (None, *FORMATS):
        raise ConfigError("`--form` is wrong: " + unknown_name("form", str(settings.form), FORMATS))
    if settings.protocol not in (None, *PROTOCOLS):
        raise ConfigError("`--protocol` is wrong: " + unknown_name("protocol", str(settings.protocol), PROTOCOLS))


def _import(request: ImportRequest, folder: Path, work: Workplace) -> None:
    settings, raw = request.settings, request.raw
    if is_archive(raw) and raw.suffix.lower() not in OWN_CONTAINERS:
        work.notify(f"unpacking {raw.name}")
        raw = unpack(raw, work.folder / "unpacked")
    elif raw.is_dir():
        raw = _wrapped(raw)
    form = settings.form or recognise(raw)
    data = FORMATS[form].read(raw, settings, work)
    complete = set(PARTS) <= set(data.parts.values())
    protocol = settings.protocol or ("as-given" if complete else "random")
    used: dict[str, Any] = settings.model_dump(mode="json", exclude_unset=True)
    assemble(
        data,
        folder,
        protocol=PROTOCOLS[protocol],
        settings=settings,
        task=request.task,
        description={"importer": form, "options": {**used, "form": form, "protocol": protocol}},
        progress=work.progress,
    )


def recognise(raw: Path) -> str:
    """Return the name of the first form that recognises ``raw``.

    Raises:
        DataError: none does, or the last one alone, which takes any folders for classes, and another one nearly does.
    """
    for name, form in FORMATS.items():
        if form.recognise(raw):
            if name == CATCH_ALL:
                _check_near_misses(raw)
            return name
    forms = "; ".join(f"{name}: {form.FORM}" for name, form in FORMATS.items())
    raise DataError(f"{raw} is of no known form; name one with --form ({forms}).")


def _check_near_misses(raw: Path) -> None:
    for form in FORMATS.values():
        missing = getattr(form, "near_miss", lambda raw: "")(raw)
        if missing:
            raise DataError(f"{missing}. If its folders are classes, give --form {CATCH_ALL}.")


def _wrapped(raw: Path) -> Path:
    """Return the folder inside ``raw`` if it is the only thing there and is recognised, as archives often are unpacked."""
    inner = inner_folder(raw)
    return inner if inner != raw and any(form.recognise(inner) for form in FORMATS.values()) else raw
