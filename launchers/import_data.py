"""Imports raw files into a data set that every other command finds by name.

python launchers/import_data.py dermnet /data/Dermnet --min-examples 20
python launchers/import_data.py mini_imagenet /data/miniImagenet       # pickles, caches, CSV lists or folders
python launchers/import_data.py isic /data/ISIC2018 --protocol leave-one-out --left-out MEL
python launchers/import_data.py tabula_muris /data/tabula-muris-comet.h5ad
python launchers/import_data.py moles /data/moles.zip --protocol random --base-classes 20 --novel-classes 10
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from datg.command_line import FORM_NAMES, PROTOCOL_NAMES, DataRoot, Json, Verbose, run_command

SPACES = Path(__file__).resolve().parent.parent / "search_spaces"


def import_data(
    name: Annotated[str, typer.Argument(help="Name of the data set from now on.")],
    raw: Annotated[Path, typer.Argument(help="The raw files: a folder, a file, or a zip or tar of one.")],
    form: Annotated[str | None, typer.Option(help=f"{FORM_NAMES}.", show_default="recognised")] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            "--split",
            help=f"{PROTOCOL_NAMES}. Hold-out validates on new examples of known classes, leave-one-out on one new class.",
            show_default="of search_spaces/NAME.yaml, else as-given or random",
        ),
    ] = None,
    min_examples: Annotated[
        int | None,
        typer.Option("--min-examples", "--min-images", min=1, help="Leave out smaller classes.", show_default="20"),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=16, help="Side of the stored pictures in pixels.", show_default="84")
    ] = None,
    duplicates: Annotated[
        str | None, typer.Option(help="drop or keep examples of several classes.", show_default="drop")
    ] = None,
    base_classes: Annotated[
        int | None, typer.Option(min=1, help="For random, hold-out, leave-one-out.", show_default="20")
    ] = None,
    validation_classes: Annotated[int | None, typer.Option(min=1, help="For random.", show_default="12")] = None,
    novel_classes: Annotated[int | None, typer.Option(min=1, help="For random.", show_default="20")] = None,
    split_seed: Annotated[
        int | None, typer.Option(min=0, help="For random, hold-out, leave-one-out.", show_default="0")
    ] = None,
    split_file: Annotated[
        Path | None, typer.Option(help="For file and groups: YAML with base, validation, novel.")
    ] = None,
    ratio: Annotated[
        float | None, typer.Option(help="For mini-imagenet-s: share of training classes.", show_default="0.2")
    ] = None,
    held_out: Annotated[
        float | None, typer.Option(help="For hold-out, leave-one-out: share of examples.", show_default="0.2")
    ] = None,
    left_out: Annotated[str | None, typer.Option(help="For leave-one-out: the class.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Of cells: names their class.")] = None,
    group_column: Annotated[str | None, typer.Option(help="Of cells: what groups splits by.")] = None,
    preparation: Annotated[
        str | None, typer.Option(help="Of cells: counts (normalised and scaled) or none.", show_default="counts")
    ] = None,
    scale_on: Annotated[
        str | None, typer.Option(help="Of cells: all or base ones choose and scale genes.", show_default="all")
    ] = None,
    class_list: Annotated[
        Path | None, typer.Option(help="Of super-classes: YAML; written if it does not exist.")
    ] = None,
    ways: Annotated[int | None, typer.Option(min=2, help="N that must be possible.", show_default="5")] = None,
    shots: Annotated[int | None, typer.Option(min=1, help="K that must be possible.", show_default="1")] = None,
    queries: Annotated[int | None, typer.Option(min=1, help="Q that must be possible.", show_default="15")] = None,
    data_root: DataRoot = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Imports RAW as data set NAME."""
    from datg.data.catalog import data_root as find_root
    from datg.data.import_report import describe
    from datg.data.importing import import_raw, make_request
    from datg.display import console, progress_bar

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
        "scale_on": scale_on,
        "class_list": class_list,
    }
    task = {"ways": ways, "shots": shots, "queries": queries}
    request = make_request(name, raw, flags, task, spaces=SPACES)
    out = console()
    with progress_bar(out) as show:
        dataset = import_raw(
            request, find_root(data_root), say=lambda text: out.print(text, soft_wrap=True), progress=show
        )
    if as_json:
        table, split = dataset.table, dataset.split.model_dump()
        print(json.dumps({"fingerprint": table.fingerprint, **table.description["report"], "split": split}))
    else:
        print("\n".join(describe(dataset)))


if __name__ == "__main__":
    run_command(import_data)
