"""`datg train`: final training of a configuration with several seeds."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datg.cli.options import OUTPUT, WHAT, DataRoot, Device, Json, Output, Settings, TestDataset, TrackingUri, Verbose
from datg.runtime.called import RUNS, called, command
from datg.runtime.exit_codes import ExitCode
from datg.runtime.signals import Terminated, leave

if TYPE_CHECKING:
    from rich.console import Console

    from datg.final_training.run import PreparedTraining
    from datg.trial.accuracies import Summary


def train(
    config: Annotated[Path, typer.Argument(help="An exported configuration, or a search space's fixed values.")],
    seeds: Annotated[
        int,
        typer.Option(
            min=1,
            help="Number of training seeds: 0, 1, ... except the search's own.",
            rich_help_panel=WHAT,
        ),
    ] = 1,
    settings: Settings = None,
    test_dataset: TestDataset = None,
    all_base_examples: Annotated[
        bool,
        typer.Option(
            "--all-base-examples",
            help="Train on held-out examples, too, and keep the last weights.",
            rich_help_panel=WHAT,
        ),
    ] = False,
    device: Device = None,
    data_root: DataRoot = None,
    output: Output = RUNS,
    tracking_uri: TrackingUri = None,
    register: Annotated[
        bool,
        typer.Option(
            "--register",
            help="Register the model in MLflow as datg-DATASET, with the alias best.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Train CONFIG with several seeds, evaluate each on novel classes, log results and model to MLflow.

    The same command resumes a training that was stopped.

    Example: datg train configs/dermnet-20261122-1-top1.yaml --seeds 3

    Example: datg train search_spaces/dermnet.yaml --set strategy.name=vanilla
    """
    from datg.cli.console import console, print_rows, progress_bar, say
    from datg.cli.mlflow_runs import training_run
    from datg.final_training.run import prepare_training
    from datg.report.leaderboard import score_row
    from datg.runtime.precision import has_bf16_units, slow_bf16
    from datg.tracking.store import tracking_uri as store
    from datg.tracking.view import MlflowView

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
        say(out, "validation examples are trained on: validation accuracies tell nothing, the last weights are kept.")
    if prepared.config.training.precision == "bf16" and not has_bf16_units(prepared.device):
        say(out, slow_bf16("this machine"))
    say(out, f"final training {prepared.folder.name} in {prepared.folder}")
    view = MlflowView(
        store(tracking_uri),
        training_run(prepared),
        prepared.dataset,
        prepared.records,
        warn=lambda text: say(out, text),
        resend="this command, called again,",
    )
    if sum(record.complete for record in prepared.records()) == len(prepared.seeds):
        say(out, "all seeds are trained and evaluated already; nothing is left to do.")
    view.start()
    code, stopped = ExitCode.BUG, False
    try:
        with progress_bar(out) as show:
            prepared.run(show, lambda text: say(out, text))
        code = ExitCode.DONE if prepared.accuracies() else ExitCode.NO_SUCCESS
    except (KeyboardInterrupt, Terminated):
        stopped = True
        raise
    finally:
        status = "KILLED" if stopped else "FINISHED" if code == ExitCode.DONE else "FAILED"
        unsent = view.close(status=status, hurry=lambda: stopped)
    model_uri = ""
    if code == ExitCode.DONE and unsent is None:
        model_uri = _log_model(prepared, store(tracking_uri), register=register, root=data_root, out=out)
    rows = [{"seed": record.number, **score_row(record)} for record in prepared.records()]
    shown = ("seed", "outcome", "validation", "validation ci95", "test", "test ci95", "best at", "iterations")
    summary = prepared.summary()
    if as_json:
        told = {"training": prepared.folder.name, "seeds": rows, "summary": summary and vars(summary)}
        print(json.dumps({**told, "model": model_uri}))
    else:
        print_rows([{key: row[key] for key in shown} for row in rows], out)
        if summary is not None:
            print(describe_summary(summary))
    if unsent is not None:
        say(out, f"MLflow lacks {unsent}; the same command sends the rest, and the model.")
    say(out, f"apply it: {command('apply', called(prepared.folder), 'SUPPORT QUERIES')}")
    leave(code)


def _log_model(prepared: "PreparedTraining", uri: str, *, register: bool, root: Path | None, out: "Console") -> str:
    """Fit temperatures and log the model of all seeds to MLflow; a failure is a line, and "" is returned."""
    from datg.cli.console import progress_bar, say
    from datg.errors import without_password
    from datg.inference.load import load_model
    from datg.inference.mlflow_model import log_training
    from datg.inference.package import with_calibration
    from datg.tracking.sent import read_sent

    try:
        with progress_bar(out) as show:
            model = load_model(prepared.folder, data_root=root, device=prepared.device)
            model = with_calibration(
                model,
                prepared.folder,
                root,
                lambda done, total: show("fitting temperatures of task shapes", done, total),
            )
        run_id = read_sent(prepared.folder / "mlflow.json").parent
        model_uri = log_training(model, prepared, run_id, uri, register=register)
    except Exception as error:  # whatever MLflow or the network throw: what was trained stands in the folder
        reason = without_password(str(error).strip() or type(error).__name__).splitlines()[0]
        say(out, f"the model was not logged to MLflow ({reason}); the same command logs it.")
        return ""
    say(out, f"model in MLflow: {model_uri}")
    return model_uri


def describe_summary(summary: "Summary") -> str:
    """Return the accuracy on novel classes with its intervals, in a sentence."""
    text = f"novel classes {summary.mean:.4f}, 95 % interval over tasks ± {summary.ci95:.4f}"
    if summary.seeds_ci95 is None:
        return f"{text}; one seed does not show how much another would change it: --seeds 5 does"
    spread = f"(Student's; standard deviation {summary.spread:.4f})"
    return f"{text}, over {summary.seeds} training seeds ± {summary.seeds_ci95:.4f} {spread}"
