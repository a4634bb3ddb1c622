"""Importers: one module a raw form; each finds the classes and examples in files that a user has.

A new form is one module with ``FORM``, ``recognise`` and ``read`` (see :class:`~datg.data.importers.raw.Form`) and one line in
:data:`IMPORTERS`. Where no form is named, the first that recognises the raw files reads them.
"""

from datg.data.importers import (
    array_pickles,
    cache_pickles,
    class_pickles,
    csv_lists,
    folder,
    h5ad,
    ham10000,
    isic_challenge,
    npz,
    split_folders,
    super_classes,
)
from datg.data.importers.raw import Form

IMPORTERS: dict[str, Form] = {
    "array-pickles": array_pickles,
    "cache-pickles": cache_pickles,
    "class-pickles": class_pickles,
    "csv-lists": csv_lists,
    "isic-challenge": isic_challenge,
    "ham10000": ham10000,
    "npz": npz,
    "h5ad": h5ad,
    "split-folders": split_folders,
    "super-classes": super_classes,
    "folder": folder,
}
