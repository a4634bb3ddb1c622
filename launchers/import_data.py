"""Imports raw pictures into a data set that every other command finds by name.

python launchers/import_data.py dermnet /data/Dermnet --min-images 20
python launchers/import_data.py moles /data/moles --protocol random --base-classes 20 --novel-classes 10
"""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from datg.command_line import DataRoot, Json, Verbose, run_command


class Duplicates(StrEnum):
    """What happens to a picture that stands in several classes."""

    DROP = "drop"
    KEEP = "keep"


def import_data(
    name: Annotated[str, typer.Argument(help="Name of the data set from now on.")],
    raw: Annotated[Path, typer.Argument(help="The raw files, for instance a folder of class folders.")],
    form: Annotated[
        str | None, typer.Option(help="Form of the raw files.", show_default="by name, else folder")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="How classes are split: dermnet-s, random, file.", show_default="by name, else random"),
    ] = None,
    min_images: Annotated[int, typer.Option(min=1, help="Leave out classes with fewer pictures.")] = 20,
    image_size: Annotated[int, typer.Option(min=16, help="Side of the stored pictures in pixels.")] = 84,
    duplicates: Annotated[
        Duplicates, typer.Option(help="Pictures in several classes: drop or keep.")
    ] = Duplicates.DROP,
    base_classes: Annotated[int, typer.Option(min=1, help="For protocol random.")] = 20,
    validation_classes: Annotated[int, typer.Option(min=1, help="For protocol random.")] = 12,
    novel_classes: Annotated[int, typer.Option(min=1, help="For protocol random.")] = 20,
    split_seed: Annotated[int, typer.Option(min=0, help="For protocol random.")] = 0,
    split_file: Annotated[
        Path | None, typer.Option(help="For protocol file: YAML with base, validation, novel.")
    ] = None,
    data_root: DataRoot = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Imports RAW as data set NAME."""
    from datg.data import catalog
    from datg.data.importers import ImportRequest, import_raw
    from datg.data.splits import SplitOptions
    from datg.display import console, progress_bar

    request = ImportRequest(
        name=name,
        raw=raw,
        form=form,
        protocol=protocol,
        image_size=image_size,
        min_images=min_images,
        keep_duplicates=duplicates is Duplicates.KEEP,
        split=SplitOptions(
            base=base_classes, validation=validation_classes, novel=novel_classes, seed=split_seed, file=split_file
        ),
    )
    out = console()
    with progress_bar(out) as show:
        dataset = import_raw(request, catalog.data_root(data_root), progress=show)
    report = dataset.table.description["report"]
    if as_json:
        print(json.dumps({"fingerprint": dataset.table.fingerprint, **report, "split": dataset.split.model_dump()}))
        return
    for key, value in report.items():
        print(f"{key:32} {len(value) if isinstance(value, dict) else value}")
    for source, reason in report["refused"].items():
        print(f"  refused {source}: {reason}")
    for low, high, number in dataset.table.size_histogram():
        print(f"  {number:4} classes with {low} to {high} examples")
    split = dataset.split
    print(
        f"split {split.protocol}: {len(split.base)} base, {len(split.validation)} validation, {len(split.novel)} novel classes"
    )
    print(f"fingerprint {dataset.table.fingerprint}")
    print(f"next: python launchers/search.py --dataset {name}")


if __name__ == "__main__":
    run_command(import_data)
