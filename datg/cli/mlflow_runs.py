"""The MLflow runs that stand above the trials of a search and above the seeds of a final training."""

from datg.final_training.run import TRAINING, PreparedTraining
from datg.report.selection import describe_selection
from datg.search.settings import SearchSettings
from datg.search.state.folder import COMPARISON_FORMS, SearchFolder
from datg.search.state.records import RecordReader
from datg.tracking.runs import Parent
from datg.tracking.saved_view import page
from datg.tracking.sent import read_sent
from datg.tracking.store import how_to_look
from datg.trial.records import RUNNING, TrialRecord, context_tags
from datg.trial.selection import select


def search_run(folder: SearchFolder, settings: SearchSettings) -> Parent:
    """Return the MLflow run above the trials of a search."""
    config = settings.config
    # What the trials of a comparison do not have in common is no tag of the run above them.
    own_tags = {"search"} | ({"learner", "strategy", "seed"} if settings.grid else set())
    kind = {"kind": "comparison"} if settings.grid else {}
    if settings.comparison:
        kind = {"comparison": settings.comparison}
    changing = ["trials"] if settings.grid else ["trials", "sampler", "pruner"]
    kind |= {name: str(getattr(settings, name)) for name in changing} | {
        "final_episodes": str(config.evaluation.test_tasks)
    }
    fixed = [*([] if settings.grid else ["seed"]), *(["warm_start"] if settings.warm_start else [])]
    return Parent(
        name=folder.name,
        experiment=f"datg/{config.dataset}",
        tags={key: value for key, value in context_tags(config, folder.name).items() if key not in own_tags} | kind,
        params={name: getattr(settings, name) for name in fixed},
        artifacts=[folder.report, folder.settings, folder.best, *map(folder.comparison, COMPARISON_FORMS)],
        id=settings.id,
        runs_file=folder.mlflow,
        columns=list(settings.searched(0, {}) if settings.grid else settings.space),
        name_of=_name_in_grid if settings.grid else Parent.name_of,
        describe=lambda: _describe(folder, settings),
        selects=not settings.grid,
        own_trial=None if settings.own_setting is None else 0,
    )


def _name_in_grid(record: TrialRecord) -> str:
    searched = record.searched
    return f"{searched['strategy']} {searched['learner']} seed {searched['seed']}"


def how_to_compare(folder: SearchFolder, settings: SearchSettings, uri: str) -> str:
    """Return how to see the trials of a search in MLflow, the best first."""
    experiment = read_sent(folder.mlflow).experiment
    return how_to_look(uri, page(experiment, settings.id) if experiment else "")


def _describe(folder: SearchFolder, settings: SearchSettings) -> list[str]:
    """Return what a search has found; nothing before every trial was tried, and for a comparison, whose tables tell it."""
    reader = RecordReader(folder, settings)
    records = reader.records()
    if settings.grid or sum(record.state != RUNNING for record in records) < settings.trials:
        return []
    return describe_selection(select(records), records, reader.references(), settings)


def training_run(prepared: PreparedTraining) -> Parent:
    """Return the run above the seeds of a final training."""
    tags = context_tags(prepared.config, prepared.folder.name)
    origin = {key: prepared.provenance.get(key) for key in ("search", "trial", "mlflow run")}
    return Parent(
        id=prepared.id,
        name=prepared.folder.name,
        experiment=f"datg/{prepared.config.dataset}",
        tags={key: value for key, value in tags.items() if key not in ("search", "seed")}
        | {"kind": "final training", "seeds": str(len(prepared.seeds))},
        params={f"from {key}": value for key, value in origin.items() if value is not None},
        artifacts=[prepared.folder / TRAINING],
        name_of=lambda record: f"seed {record.number}",
        runs_file=prepared.folder / "mlflow.json",
    )
