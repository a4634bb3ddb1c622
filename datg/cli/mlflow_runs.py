"""The MLflow runs that stand above the trials of a search and above the seeds of a final training."""

from datg.final_training.run import TRAINING, PreparedTraining
from datg.search.settings import SearchSettings
from datg.search.state.folder import COMPARISON_FORMS, SearchFolder
from datg.tracking.runs import Parent
from datg.trial.records import context_tags


def search_run(folder: SearchFolder, settings: SearchSettings) -> Parent:
    """Return the MLflow run above the trials of a search."""
    config = settings.config
    # What the trials of a comparison do not have in common is no tag of the run above them.
    own_tags = {"search"} | ({"learner", "strategy", "seed"} if settings.grid else set())
    kind = {"kind": "comparison"} if settings.grid else {}
    if settings.comparison:
        kind = {"comparison": settings.comparison}
    names = ("trials",) if settings.grid else ("trials", "sampler", "pruner", "seed")
    return Parent(
        name=folder.name,
        experiment=f"datg/{config.dataset}",
        tags={key: value for key, value in context_tags(config, folder.name).items() if key not in own_tags} | kind,
        params={name: getattr(settings, name) for name in names},
        artifacts=[folder.settings, folder.best, *map(folder.comparison, COMPARISON_FORMS)],
        id=settings.id,
        runs_file=folder.mlflow,
        selects=not settings.grid,
        own_trial=None if settings.own_setting is None else 0,
    )


def training_run(prepared: PreparedTraining) -> Parent:
    """Return the run above the seeds of a final training."""
    tags = context_tags(prepared.config, prepared.folder.name)
    origin = {key: prepared.provenance.get(key) for key in ("search", "trial", "mlflow run")}
    return Parent(
        id=prepared.id,
        name=prepared.folder.name,
        experiment=f"datg/{prepared.config.dataset}",
        tags={key: value for key, value in tags.items() if key not in ("search", "seed")} | {"kind": "final training"},
        params={
            "seeds": len(prepared.seeds),
            **{f"from {key}": value for key, value in origin.items() if value is not None},
        },
        artifacts=[prepared.folder / TRAINING],
        runs_file=prepared.folder / "mlflow.json",
    )
