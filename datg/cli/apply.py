"""`datg apply`: classify a user's examples by a few labelled ones of each class."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datg.cli.options import OUTPUT, WHAT, DataRoot, Device, Json, Output, TrackingUri, Verbose
from datg.runtime.called import RUNS
from datg.runtime.exit_codes import ExitCode
from datg.runtime.signals import leave

if TYPE_CHECKING:
    from datg.inference.apply import Answers

SHOWN_CLASSES = 12  # of a confusion matrix on a terminal


def apply(
    model: Annotated[
        str,
        typer.Argument(
            help="A search (its best trial), a trial, a final training (all seeds), a checkpoint, or models:/NAME@ALIAS."
        ),
    ],
    support: Annotated[
        Path,
        typer.Argument(help="Class folders, a CSV with path and label, an .npz or .h5ad: some examples of each class."),
    ],
    queries: Annotated[
        list[Path], typer.Argument(help="What to classify: pictures, a folder, a CSV with path, an .npz or .h5ad.")
    ],
    out: Annotated[Path, typer.Option(help="CSV file for the answers.", rich_help_panel=OUTPUT)] = Path(
        "predictions.csv"
    ),
    review: Annotated[
        Path | None,
        typer.Option(
            metavar="PNG", help="Picture of the queries whose answers are least certain.", rich_help_panel=OUTPUT
        ),
    ] = None,
    save_model: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder for an MLflow model with this SUPPORT in it, which classifies pictures or cells by itself.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(
            help="Column of an .h5ad that names the class of a cell.",
            show_default="that of the import, for SUPPORT",
            rich_help_panel=WHAT,
        ),
    ] = None,
    counts: Annotated[
        str | None,
        typer.Option(
            metavar="X|raw|layer:NAME",
            help="Matrix of an .h5ad that holds the counts of genes.",
            show_default="that of the import",
            rich_help_panel=WHAT,
        ),
    ] = None,
    device: Device = None,
    data_root: DataRoot = None,
    output: Output = RUNS,
    tracking_uri: TrackingUri = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Classify QUERIES by the examples of SUPPORT, as MODEL has learned to; a class may have any number of examples.

    Example: datg apply runs/dermnet-top1-final support/ queries/ --out predictions.csv --review least_certain.png
    """
    from datg.cli.console import console, progress_bar, say, without_c_libraries
    from datg.cli.destinations import check_destinations
    from datg.data.import_settings import ImportSettings
    from datg.errors import ConfigError
    from datg.inference.apply import apply as apply_model
    from datg.inference.load import load_model
    from datg.inference.outputs import draw_review, write_predictions
    from datg.runtime.allocator import keep_freed_memory
    from datg.trial.final_evaluation import choose_device

    check_destinations({"--out": (out, ".csv"), "--review": (review, ".png")}, [support, *queries])
    if save_model is not None and save_model.exists() and (save_model.is_file() or any(save_model.iterdir())):
        raise ConfigError(f"`--save-model` {save_model} holds something already; name a new folder.")
    if counts is not None:
        ImportSettings.from_dict({"counts": counts}, source="apply")
    keep_freed_memory()
    with without_c_libraries():
        messages = console()
        with progress_bar(messages) as show:
            loaded = load_model(
                model,
                output=output,
                data_root=data_root,
                device=choose_device(device),
                tracking_uri=tracking_uri,
                progress=lambda done, total: show("fitting a temperature on validation tasks", done, total),
            )
            if review is not None and len(loaded.shape) != 3:
                raise ConfigError("`--review` shows pictures, but the model is of cells; leave it out.")
            answers = apply_model(
                loaded,
                support,
                queries,
                label_column=label_column,
                counts=counts,
                notify=lambda text: say(messages, text),
                progress=show,
            )
    write_predictions(answers, out)
    files = {"predictions": str(out)}
    if review is not None:
        draw_review(answers, review)
        files["review"] = str(review)
    if save_model is not None:
        from datg.inference.mlflow_model import save_with_support

        save_with_support(loaded, answers, save_model)
        files["model"] = str(save_model)
    told = {"model": loaded.source, "seeds": len(loaded.networks), "strategy": loaded.config.strategy_name}
    told |= {"learner": loaded.config.learner_name, "dataset": loaded.config.dataset}
    print(json.dumps(_as_json(answers, told, files)) if as_json else "\n".join(_as_text(answers, told, files)))
    for source, why in answers.refused.items():
        say(console(), f"error: {source} is left out: {why}.")
    leave(ExitCode.USAGE if answers.refused else ExitCode.DONE)


def _as_text(answers: "Answers", told: dict[str, Any], files: dict[str, str]) -> list[str]:
    from datg.inference.calibration import describe_counts
    from datg.inference.examples import by_class

    seeds = f"{told['seeds']} seeds of " if told["seeds"] > 1 else ""
    counts = [len(examples) for examples in by_class(answers.support).values()]
    lines = [
        f"model: {seeds}{told['model']} ({told['strategy']}, {told['learner']} trained on {told['dataset']})",
        f"support: {describe_counts(counts)}; queries: {len(answers.queries.sources)}",
        answers.predictions.temperature.sentence(),
    ]
    if answers.left_out is not None:
        lines.append(f"support examples classified by the others of their class: {answers.left_out.sentence()}")
    lines += answers.remarks
    if answers.accuracy is not None:
        lines.append(f"accuracy {answers.accuracy.sentence()}")
        lines += _confusion_lines(answers)
    return lines + [f"{what}: {path}" for what, path in files.items()]


def _confusion_lines(answers: "Answers") -> list[str]:
    """Return the confusion matrix, classes by their numbers; of many classes the most frequent mistakes."""
    classes, matrix = answers.predictions.classes, answers.confusion
    if len(classes) > SHOWN_CLASSES:
        wrong = [(int(matrix[i, j]), i, j) for i in range(len(classes)) for j in range(len(classes)) if i != j]
        worst = [entry for entry in sorted(wrong, reverse=True)[:SHOWN_CLASSES] if entry[0]]
        return [f"  {count} of {classes[i]} were taken for {classes[j]}" for count, i, j in worst]
    width = max(4, len(str(int(matrix.max()))) + 1)
    lines = ["confusion (rows: label, columns: answer)"]
    lines.append(" " * 6 + "".join(f"{number:>{width}}" for number in range(1, len(classes) + 1)))
    for number, (name, row) in enumerate(zip(classes, matrix, strict=True), 1):
        lines.append(f"{number:>5} " + "".join(f"{int(count):>{width}}" for count in row) + f"  {name}")
    return lines


def _as_json(answers: "Answers", told: dict[str, Any], files: dict[str, str]) -> dict[str, Any]:
    from dataclasses import asdict

    def share(found: Any) -> dict[str, Any] | None:
        return None if found is None else {"value": found.value, "interval": found.interval, "of": found.of}

    labelled = answers.accuracy is not None
    return {
        **told,
        "classes": answers.predictions.classes,
        "queries": len(answers.queries.sources),
        "temperature": asdict(answers.predictions.temperature),
        "support by the others": share(answers.left_out),
        "accuracy": share(answers.accuracy),
        "confusion": answers.confusion.tolist() if labelled else None,
        "refused": answers.refused,
        "remarks": answers.remarks,
        "files": files,
    }
