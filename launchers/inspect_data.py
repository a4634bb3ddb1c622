"""Shows a data set: classes and sizes, examples, clusters of its base classes, and a few generated tasks, as PNG files.

python launchers/inspect_data.py dermnet
python launchers/inspect_data.py dermnet --clusters 4 --ways 5 --out dermnet-pictures
python launchers/inspect_data.py mini_imagenet --identify-by mini_named    # which numbered class is which named one
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from datg.command_line import DataRoot, Json, Verbose, run_command

SPACES = Path(__file__).resolve().parent.parent / "search_spaces"


def inspect_data(
    name: Annotated[str, typer.Argument(help="Of the data set.")],
    clusters: Annotated[int, typer.Option(min=2, help="k, clusters of the base classes.")] = 2,
    ways: Annotated[
        int | None, typer.Option(min=2, help="N of the generated tasks.", show_default="of the search space")
    ] = None,
    examples: Annotated[int, typer.Option(min=1, help="Of each class on a contact sheet.")] = 8,
    tasks: Annotated[int, typer.Option(min=1, help="Generated tasks.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Of the generated tasks.")] = 0,
    identify_by: Annotated[
        str | None, typer.Option(metavar="DATASET", help="A copy with class names, to find out which class is which.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the pictures.", show_default="inspection/NAME")] = None,
    data_root: DataRoot = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Shows data set NAME."""
    from datg.data import catalog
    from datg.inspection.identification import identify, write_identities
    from datg.inspection.inspect import inspect
    from datg.space_file import read_space_file, space_file_of, task_size_of

    root, folder = catalog.data_root(data_root), out or Path("inspection") / name
    dataset = catalog.open_dataset(name, root)
    if identify_by is not None:
        named = catalog.open_dataset(identify_by, root)
        found = identify(dataset.table, named.table)
        path = folder / f"{name}-in-{identify_by}.yaml"
        doubts = write_identities(dataset, named, found, path)
        lines = [f"{class_}: {who.name} ({who.votes} of {who.of} votes)" for class_, who in found.items()]
        lines += [f"not sure: {doubt}" for doubt in doubts] + [str(path)]
        identities = {class_: vars(who) for class_, who in found.items()}
        print(
            json.dumps({"classes": identities, "not sure": doubts, "file": str(path)}) if as_json else "\n".join(lines)
        )
        return
    space = space_file_of(name, dataset.table.shape, SPACES)
    shown = inspect(
        dataset,
        folder,
        ways=ways or task_size_of(read_space_file(space), source=str(space)).ways,
        clusters=clusters,
        examples=examples,
        tasks=tasks,
        seed=seed,
    )
    print(json.dumps(shown.values()) if as_json else "\n".join(shown.lines()))


if __name__ == "__main__":
    run_command(inspect_data)
