"""Final training of a configuration with several seeds, each evaluated on novel classes, logged to MLflow.

    python launchers/train.py configs/dermnet-20261122-1-top1.yaml --seeds 3
    python launchers/train.py configs/isic-20261122-1-top1.yaml --all-base-examples   # held-out examples, too
    python launchers/train.py search_spaces/dermnet.yaml --set strategy.name=vanilla   # a baseline, at the paper's setting

Run again with the same arguments it goes on where it was stopped.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from datg.command_line import DataRoot, Json, Output, Settings, TestDataset, TrackingUri, Verbose, leave, run_command
from datg.stop import Terminated


def train(
    config: Annotated[Path, typer.Argument(help="An exported configuration, or a search space's fixed values.")],
    seeds: Annotated[int, typer.Option(min=1, help="How many training seeds: 0, 1, ...")] = 1,
    settings: Settings = None,
    test_dataset: TestDataset = None,
    all_base_examples: Annotated[
        bool, typer.Option("--all-base-examples", help="Trains on held-out examples, too, and keeps the last weights.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.", show_default="cuda if there is one")] = None,
    data_root: DataRoot = None,
    output: Output = Path("runs"),
    tracking_uri: TrackingUri = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Trains CONFIG finally."""
    from datg.conduct_training import prepare_training
    from datg.display import console, print_rows, progress_bar
    from datg.tracking.view import MlflowView
    from datg.tracking.view import tracking_uri as store

    prepared = prepare_training(
        config,
        settings or [],
        seeds=seeds,
        output=output,
        root=data_root,
        device=device,
        test_dataset=test_dataset,
        all_base_examples=all_base_examples,
    )
    out = console()
    if all_base_examples:
        out.print("validation examples are trained on: validation accuracies tell nothing, the last weights are kept.")
    out.print(f"final training {prepared.folder.name} in {prepared.folder}", soft_wrap=True)
    view = MlflowView(
        store(tracking_uri),
        prepared.parent_run(),
        prepared.dataset,
        prepared.records,
        warn=lambda text: out.print(text),
    )
    view.start()
    code, stopped = 1, False
    try:
        with progress_bar(out) as show:
            prepared.run(show)
        code = 0 if prepared.accuracies() else 3
    except (KeyboardInterrupt, Terminated):
        stopped = True
        raise
    finally:
        status = "KILLED" if stopped else "FINISHED" if code == 0 else "FAILED"
        unsent = view.close(status=status, hurry=lambda: stopped)
    rows, summary = prepared.rows(), prepared.summary()
    if as_json:
        print(json.dumps({"training": prepared.folder.name, "seeds": rows, "summary": summary and vars(summary)}))
    else:
        print_rows(rows, out)
        if summary is not None:
            spread = "" if summary.spread is None else f", standard deviation over seeds {summary.spread:.4f}"
            print(
                f"novel classes {summary.mean:.4f} ± {summary.ci95:.4f} (95 % over tasks, {summary.seeds} seeds){spread}"
            )
    if unsent is not None:
        out.print(f"MLflow lacks {unsent}; the same command sends the rest.")
    leave(code)


if __name__ == "__main__":
    run_command(train)
