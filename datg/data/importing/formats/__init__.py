"""Raw forms: one module each, which finds the classes and examples in files that a user has.

A new form is one module with ``FORM``, ``recognise`` and ``read`` (see :class:`~datg.data.raw_data.Form`) and one line in
:data:`FORMATS`. A form may also have ``near_miss(raw)``, which says what is missing. Where no form is named, the first that
recognises the raw files reads them.
"""

from typing import TYPE_CHECKING

from datg.names import NameTable

if TYPE_CHECKING:
    from datg.data.raw_data import Form

FORMATS: "NameTable[Form]" = NameTable(
    {
        "array-pickles": "datg.data.importing.formats.array_pickles",
        "cache-pickles": "datg.data.importing.formats.cache_pickles",
        "class-pickles": "datg.data.importing.formats.class_pickles",
        "csv-lists": "datg.data.importing.formats.csv_lists",
        "isic-challenge": "datg.data.importing.formats.isic_challenge",
        "ham10000": "datg.data.importing.formats.ham10000",
        "npz": "datg.data.importing.formats.npz",
        "h5ad": "datg.data.importing.formats.h5ad",
        "split-folders": "datg.data.importing.formats.split_folders",
        "super-classes": "datg.data.importing.formats.super_classes",
        "folder": "datg.data.importing.formats.folder",
    }
)
