"""`datg import_data`: import raw files as a data set."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datg.cli.options import DataRoot, Json, Verbose, names
from datg.data import search_spaces
from datg.data.importing.formats import FORMATS
from datg.data.protocols import PROTOCOLS
from datg.runtime.called import command

if TYPE_CHECKING:
    from datg.data.catalog import Dataset

FILES, SPLIT, CELLS, TASKS = (
    "Raw files",
    "Split into base, validation and novel classes",
    "Cells",
    "Size of the tasks that classes must be large enough for",
)


def import_data(
    name: Annotated[str, typer.Argument(help="Name of the data set from now on.")],
    raw: Annotated[Path, typer.Argument(help="The raw files: a folder, a file, or a zip or tar of one.")],
    form: Annotated[
        str | None,
        typer.Option(
            help=f"Form of the raw files: {names(FORMATS)}.", show_default="recognised", rich_help_panel=FILES
        ),
    ] = None,
    min_examples: Annotated[
        int | None,
        typer.Option(
            "--min-examples",
            "--min-images",
            min=1,
            help="Smallest number of examples of a class that is kept.",
            show_default="20",
            rich_help_panel=FILES,
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(min=16, help="Side of the stored pictures in pixels.", show_default="84", rich_help_panel=FILES),
    ] = None,
    duplicates: Annotated[
        str | None,
        typer.Option(
            help="What happens to examples that stand in several classes: drop or keep.",
            show_default="drop",
            rich_help_panel=FILES,
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="CLASS", help="Class to leave out; may be repeated.", rich_help_panel=FILES),
    ] = None,
    class_list: Annotated[
        Path | None,
        typer.Option(help="YAML file of the form super-classes; written if it does not exist.", rich_help_panel=FILES),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            "--split",
            help=f"How classes are split: {names(PROTOCOLS)}. Hold-out validates on new examples of known classes, leave-one-out "
            "on one new class.",
            show_default="of search_spaces/NAME.yaml, else as-given or random",
            rich_help_panel=SPLIT,
        ),
    ] = None,
    base_classes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of base classes (random, hold-out, leave-one-out).",
            show_default="20",
            rich_help_panel=SPLIT,
        ),
    ] = None,
    validation_classes: Annotated[
        int | None,
        typer.Option(min=1, help="Number of validation classes (random).", show_default="12", rich_help_panel=SPLIT),
    ] = None,
    novel_classes: Annotated[
        int | None,
        typer.Option(min=1, help="Number of novel classes (random).", show_default="20", rich_help_panel=SPLIT),
    ] = None,
    split_seed: Annotated[
        int | None,
        typer.Option(
            min=0, help="Seed of the split (random, hold-out, leave-one-out).", show_default="0", rich_help_panel=SPLIT
        ),
    ] = None,
    split_file: Annotated[
        Path | None,
        typer.Option(help="YAML file with the lists base, validation and novel (file, groups).", rich_help_panel=SPLIT),
    ] = None,
    ratio: Annotated[
        float | None,
        typer.Option(
            help="Share of the training classes that are base classes (mini-imagenet-s).",
            show_default="0.2",
            rich_help_panel=SPLIT,
        ),
    ] = None,
    held_out: Annotated[
        float | None,
        typer.Option(
            help="Share of a class's examples that only validation sees (hold-out, leave-one-out).",
            show_default="0.2",
            rich_help_panel=SPLIT,
        ),
    ] = None,
    left_out: Annotated[
        str | None,
        typer.Option(help="Class that only validation sees (leave-one-out).", rich_help_panel=SPLIT),
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(help="Column that names the class of a cell.", rich_help_panel=CELLS)
    ] = None,
    group_column: Annotated[
        str | None, typer.Option(help="Column that names the group of a cell (protocol groups).", rich_help_panel=CELLS)
    ] = None,
    preparation: Annotated[
        str | None,
        typer.Option(
            help="Preparation of cells: counts (normalise, choose genes, scale) or none.",
            show_default="counts",
            rich_help_panel=CELLS,
        ),
    ] = None,
    counts: Annotated[
        str | None,
        typer.Option(
            help="Matrix with the counts of cells: X, raw or layer:NAME.", show_default="X", rich_help_panel=CELLS
        ),
    ] = None,
    scale_on: Annotated[
        str | None,
        typer.Option(
            help="Cells on which genes are chosen and scaled: all or base.", show_default="all", rich_help_panel=CELLS
        ),
    ] = None,
    ways: Annotated[
        int | None,
        typer.Option(min=2, help="Number of classes of a task (N).", show_default="5", rich_help_panel=TASKS),
    ] = None,
    shots: Annotated[
        int | None,
        typer.Option(min=1, help="Number of support examples per class (K).", show_default="1", rich_help_panel=TASKS),
    ] = None,
    queries: Annotated[
        int | None,
        typer.Option(min=1, help="Number of query examples per class (Q).", show_default="15", rich_help_panel=TASKS),
    ] = None,
    data_root: DataRoot = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Import RAW as data set NAME, which every other command finds by that name.

    Example: datg import_data dermnet /data/Dermnet --min-examples 20

    Example: datg import_data moles /data/moles.zip --protocol random --base-classes 20 --novel-classes 10
    """
    from datg.cli.console import console, progress_bar, say, without_c_libraries
    from datg.data.catalog import data_root as find_root
    from datg.data.catalog import data_root_flag
    from datg.data.importing.run import import_raw, make_request

    flags = {
        "form": form,
        "protocol": protocol,
        "min_examples": min_examples,
        "image_size": image_size,
        "duplicates": duplicates,
        "base_classes": base_classes,
        "validation_classes": validation_classes,
        "novel_classes": novel_classes,
        "split_seed": split_seed,
        "split_file": split_file,
        "ratio": ratio,
        "held_out": held_out,
        "left_out": left_out,
        "label_column": label_column,
        "group_column": group_column,
        "preparation": preparation,
        "counts": counts,
        "scale_on": scale_on,
        "exclude": exclude,
        "class_list": class_list,
    }
    task = {"ways": ways, "shots": shots, "queries": queries}
    root = find_root(data_root)
    request = make_request(name, raw, flags, task, spaces=search_spaces())
    with without_c_libraries():
        out = console()
        with progress_bar(out) as show:
            dataset = import_raw(request, root, notify=lambda text: say(out, text), progress=show)
    if as_json:
        table, split = dataset.table, dataset.split.model_dump()
        print(json.dumps({"fingerprint": table.fingerprint, **table.description["report"], "split": split}))
    else:
        sizes = " ".join(f"--set task.{key}={value}" for key, value in task.items() if value is not None)
        following = command("search", "--dataset", dataset.name, *data_root_flag(root), *([sizes] if sizes else []))
        print("\n".join([*_describe(dataset), f"next: {following}"]))


def _describe(dataset: "Dataset") -> list[str]:
    """Return what an import found in lines: its report, the sizes of its classes, and its split."""
    table, split = dataset.table, dataset.split
    report = table.description["report"]
    lines = [f"{'form':32} {table.description['importer']}"]
    lines += [f"{key:32} {len(value) if isinstance(value, dict) else value}" for key, value in report.items()]
    lines += [f"  refused {source}: {reason}" for source, reason in report["refused"].items()]
    lines += [f"  {number:4} classes with {low} to {high} examples" for low, high, number in table.size_histogram()]
    lines.append(
        f"split {split.protocol}: {len(split.base)} base, {len(split.validation)} validation, {len(split.novel)} novel classes"
    )
    lines += [f"note: {remark}" for remark in split.remarks]
    return [*lines, f"fingerprint {table.fingerprint}"]
