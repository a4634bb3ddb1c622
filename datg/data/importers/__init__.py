"""Importers: one module a raw form; each fills a class table from files that a user has.

A new form is one module with a function like :func:`~datg.data.importers.folder.import_folder` and one line in
:data:`IMPORTERS`.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from datg.data.catalog import BUILT_IN, IMPORT_DEFAULTS, Dataset, ImportDefaults, open_dataset
from datg.data.importers.folder import FolderOptions, Progress, import_folder
from datg.data.splits import PROTOCOLS, Split, SplitOptions, check_split
from datg.errors import ConfigError, DataError, unknown_name

IMPORTERS = {"folder": import_folder}


@dataclass(frozen=True, kw_only=True)
class ImportRequest:
    """What is to be imported: see the options of ``launchers/import_data.py``; None takes the default of the name."""

    name: str
    raw: Path
    form: str | None
    protocol: str | None
    image_size: int
    min_images: int
    keep_duplicates: bool
    split: SplitOptions


def import_raw(request: ImportRequest, root: Path, *, progress: Progress) -> Dataset:
    """Imports raw files as a data set below ``root``; an earlier one of that name is replaced in one step.

    Raises:
        ConfigError: an unknown form or protocol, or a name that cannot be used.
        DataError: the raw files do not make a data set; nothing is left behind.
    """
    defaults = IMPORT_DEFAULTS.get(request.name, ImportDefaults())
    form, protocol = request.form or defaults.form, request.protocol or defaults.protocol
    if form not in IMPORTERS:
        raise ConfigError("`--form` is wrong: " + unknown_name("form", form, IMPORTERS))
    if protocol not in PROTOCOLS:
        raise ConfigError("`--protocol` is wrong: " + unknown_name("protocol", protocol, PROTOCOLS))
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", request.name) or request.name in BUILT_IN:
        raise ConfigError(
            f"`{request.name}` cannot name a data set; use letters, digits, - and _, and not {', '.join(BUILT_IN)}."
        )

    def choose_split(counts: dict[str, int]) -> Split:
        split = PROTOCOLS[protocol](counts, request.split)
        check_split(split, counts)
        return split

    options = FolderOptions(
        image_size=request.image_size, min_images=request.min_images, keep_duplicates=request.keep_duplicates
    )
    try:
        IMPORTERS[form](request.raw, root / request.name, options=options, choose_split=choose_split, progress=progress)
    except PermissionError as error:
        raise DataError(f"{error.filename} cannot be used ({error.strerror}); choose another folder.") from error
    return open_dataset(request.name, root)
