"""`datg inspect_data`: show a data set before hours of work."""

import json
from pathlib import Path
from typing import Annotated

import typer

from datg.cli.options import OUTPUT, WHAT, DataRoot, Json, Verbose
from datg.data import search_spaces


def inspect_data(
    name: Annotated[str, typer.Argument(help="Name of the data set.")],
    clusters: Annotated[
        int, typer.Option(min=2, help="Number of clusters of the base classes (k).", rich_help_panel=WHAT)
    ] = 2,
    ways: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Number of classes of a generated task (N).",
            show_default="of the search space",
            rich_help_panel=WHAT,
        ),
    ] = None,
    examples: Annotated[
        int, typer.Option(min=1, help="Examples of each class on a contact sheet.", rich_help_panel=WHAT)
    ] = 8,
    tasks: Annotated[int, typer.Option(min=1, help="Number of generated tasks.", rich_help_panel=WHAT)] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the generated tasks.", rich_help_panel=WHAT)] = 0,
    identify_by: Annotated[
        str | None,
        typer.Option(
            metavar="DATASET",
            help="A copy with class names, used to identify the classes.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the pictures.", show_default="inspection/NAME", rich_help_panel=OUTPUT),
    ] = None,
    data_root: DataRoot = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show data set NAME: classes and sizes, examples, clusters of its base classes and generated tasks, as PNG files.

    Example: datg inspect_data dermnet --clusters 4

    Example: datg inspect_data mini_imagenet --identify-by mini_named
    """
    from datg.cli.console import console

    console().print(f"looking at {name}: clusters, contact sheets, generated tasks")
    from datg.data import catalog
    from datg.data.dataset_yaml import dataset_yaml_for, read_dataset_yaml, task_size_of
    from datg.inspection.identification import identify, write_identities
    from datg.inspection.inspect import inspect

    root, folder = catalog.data_root(data_root), out or Path("inspection") / name
    dataset = catalog.open_dataset(name, root)
    if identify_by is not None:
        named = catalog.open_dataset(identify_by, root)
        matches = identify(dataset.table, named.table)
        path = folder / f"{name}-in-{identify_by}.yaml"
        doubts = write_identities(dataset, named, matches, path)
        lines = [f"{class_}: {who.name} ({who.votes} of {who.of} votes)" for class_, who in matches.items()]
        lines += [f"not sure: {doubt}" for doubt in doubts] + [str(path)]
        identities = {class_: vars(who) for class_, who in matches.items()}
        print(
            json.dumps({"classes": identities, "not sure": doubts, "file": str(path)}) if as_json else "\n".join(lines)
        )
        return
    space = dataset_yaml_for(name, dataset.table.shape, search_spaces())
    shown = inspect(
        dataset,
        folder,
        ways=ways or task_size_of(read_dataset_yaml(space), source=str(space)).ways,
        clusters=clusters,
        examples=examples,
        tasks=tasks,
        seed=seed,
    )
    print(json.dumps(shown.values()) if as_json else "\n".join(shown.lines()))
