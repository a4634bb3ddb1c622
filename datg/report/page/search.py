"""The report of a search: what was found, which settings matter, how it went, on what data, how it was made."""

import time
from dataclasses import dataclass
from functools import cached_property

import optuna

from datg.config import flatten
from datg.report.leaderboard import score_row
from datg.report.page import figures
from datg.report.page.dataset import data_blocks, picture_blocks
from datg.report.page.importances import LEAST_TRIALS, Importance, importances
from datg.report.page.made_from import trainings_of
from datg.report.page.page import Block, Figure, Section, Table, Text, cell, score, section
from datg.report.page.study import as_study, widest
from datg.report.selection import suspicions
from datg.report.status import Status, how_to_resume, read_status
from datg.runtime.progress import format_duration
from datg.search.settings import SearchSettings
from datg.search.space import default_params
from datg.search.state.folder import SearchFolder
from datg.search.state.records import RecordReader
from datg.storage.lease import TRIAL_LEASE, read_lease
from datg.trial.records import FAILED, TrialRecord, ranked
from datg.trial.selection import Selection, gain, select


@dataclass(frozen=True)
class Search:
    """Hold what a search's folder tells."""

    folder: SearchFolder
    settings: SearchSettings
    records: list[TrialRecord]
    references: list[TrialRecord]
    status: Status

    @classmethod
    def read(cls, folder: SearchFolder) -> "Search":
        """Read it, running or ended.

        Raises:
            StateError: it is damaged beyond reading, or of another version.
        """
        settings = SearchSettings.load(folder)
        reader = RecordReader(folder, settings)
        return cls(folder, settings, reader.records(), reader.references(), read_status(folder))

    @cached_property
    def selection(self) -> Selection:
        """Return the best and its ties."""
        return select(self.records)

    @cached_property
    def study(self) -> optuna.Study:
        """Return the trials as Optuna knows them."""
        return as_study(self.settings, self.records)

    @cached_property
    def importances(self) -> list[Importance]:
        """Return what each setting mattered; nothing where there are too few trials."""
        return importances(self.study) if len(self.settings.space) > 1 else []

    @property
    def scored(self) -> list[TrialRecord]:
        """Return trials with a score and all of their settings."""
        keys = self.settings.space
        return [r for r in self.records if r.objective is not None and all(r.searched.get(k) is not None for k in keys)]

    def describe(self) -> str:
        """Return what was searched, in a line."""
        config, task = self.settings.config, self.settings.config.task
        return (
            f"{config.strategy_name} with {config.learner_name} on {config.dataset}, {task.ways}-way {task.shots}-shot, "
            f"{config.training.iterations} iterations; sampler {self.settings.sampler}, pruner {self.settings.pruner}."
        )


def search_sections(search: Search) -> list[Section]:
    """Return the report of one search, part by part."""
    best = search.selection.best
    return [
        section("What was found", lambda: answer(search)),
        section("Trials", lambda: [trials_table(search)]),
        section("Which settings matter", lambda: _settings(search)),
        section("How it went", lambda: _course(search)),
        section("Data", lambda: data_blocks(search.settings, best)),
        section("Pictures of the data", lambda: picture_blocks(search.settings, best)),
        section("Made from it", lambda: trainings_of(search.folder)),
        section("How it was made", lambda: _made(search)),
    ]


def answer(search: Search) -> list[Block]:
    """Return the best trial, what it is worth, what it gained, and what to be careful about."""
    best, selection = search.selection.best, search.selection
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(search.status.outcomes.items()))
    progress = f"{len(search.records)} of {search.settings.trials} trials begun; {outcomes or 'none has ended yet'}."
    if best is None:
        why = (
            "No trial has finished yet, so there is no best."
            if not search.status.done
            else "No trial finished, so there is no best."
        )
        return [Text([why, progress], "answer"), *_warnings(search)]
    assert best.last is not None
    rows = [
        [
            "validation, by which it was chosen",
            score(best.objective, best.last.objective_ci95),
            f"the best of {selection.of} trials, each the best of its validations: optimistic",
        ],
        *(
            [
                [
                    "fresh validation tasks",
                    score(fresh.accuracy, fresh.ci95),
                    f"{fresh.episodes} tasks that no choice has seen",
                ]
            ]
            if (fresh := best.fresh_validation)
            else []
        ),
        *(
            [
                [
                    "novel classes",
                    score(test.accuracy, test.ci95),
                    f"{test.episodes} tasks of classes that no choice has seen",
                ]
            ]
            if (test := best.test)
            else []
        ),
    ]
    headline = f"Trial {best.number} is the best{f' of {selection.of}' if selection.of > 1 else ''}: "
    worth = best.fresh_validation or best.test
    headline += f"{score(best.objective, best.last.objective_ci95)} on validation"
    headline += (
        f", {score(worth.accuracy, worth.ci95)} on {'fresh validation tasks' if best.fresh_validation else 'novel classes'}."
        if worth
        else "."
    )
    values = ", ".join(f"{figures.short(key)} {cell(value)}" for key, value in best.searched.items())
    ties = ", ".join(str(record.number) for record in selection.ties)
    tied = [f"It cannot be told from trial {ties}: the 95 % interval of the paired difference holds 0."] if ties else []
    return [
        Text([headline, values, *tied, progress], "answer"),
        Table(["accuracy on", "mean ± 95 % interval", "what it claims"], rows),
        *_gains(search),
        *_warnings(search),
    ]


def _gains(search: Search) -> list[Block]:
    """Return how far the best is ahead of what the search is measured against."""
    best = search.selection.best
    assert best is not None
    own = [r for r in search.records if r.number == 0 and search.settings.own_setting is not None and r is not best]
    names = {"own": "the setting that the search began from"}
    rows = []
    for record in [*search.references, *own]:
        name = names.get(record.reference, record.reference) or "trial 0, the setting that the search began from"
        gained = gain(best, record)
        parts = (gained.validation, gained.novel)
        rows.append(
            [
                name,
                record.outcome or "running",
                *(("" if p is None else f"{p.value:+.4f} ± {p.ci95:.4f}") for p in parts),
            ]
        )
    if not rows:
        return []
    return [
        Text(["The best minus what it is measured against, paired by task:"]),
        Table(["measured against", "outcome", "validation", "novel classes"], rows),
    ]


def _warnings(search: Search) -> list[Block]:
    lines = list(search.status.causes)
    if search.selection.best is not None:
        lines += suspicions(search.selection.best, search.records, search.settings)
    collapsed = [str(r.number) for r in search.records if r.outcome == "collapsed"]
    if collapsed:
        lines.append(f"trial {', '.join(collapsed)} collapsed: as good as guessing on validation at the end")
    if search.status.unsent is not None:
        lines.append(f"MLflow lacks {search.status.unsent}")
    return [Text(lines, "warning")] if lines else []


def trials_table(search: Search) -> Table:
    """Return all trials, the best first."""
    order = ranked(search.records)
    records = [*order, *(record for record in search.records if record not in order)]
    keys = list(search.settings.space)
    rows = []
    for record in records:
        row = score_row(record)
        rows.append(
            [
                str(record.number),
                search.selection.mark(record.number),
                row["outcome"],
                score(row["validation"], row["validation ci95"]),
                score(row["fresh validation"], row["fresh validation ci95"]),
                score(row["test"], row["test ci95"]),
                "" if record.last is None else f"{record.last.best_iteration} of {record.last.iteration}",
                "" if record.last is None else f"{record.last.seconds:.0f}",
                *(cell(record.searched.get(key)) for key in keys),
            ]
        )
    head = ["trial", "chosen", "outcome", "validation", "fresh validation", "novel classes", "best at", "seconds"]
    marks = [search.selection.mark(record.number) for record in records]
    return Table([*head, *map(figures.short, keys)], rows, marks, sortable=True)


def _settings(search: Search) -> list[Block]:
    keys, scored = list(search.settings.space), search.scored
    finished = sum(trial.state == optuna.trial.TrialState.COMPLETE for trial in search.study.trials)
    if not scored:
        return [Text(["No trial has a score yet."])]
    found = search.importances
    few = f"only {finished} trials finished: {LEAST_TRIALS} are needed, with different scores, to say anything"
    order = [entry.key for entry in found] or keys
    distributions = widest(search.settings, [record.searched for record in scored])
    own = default_params(search.settings.ranges, search.settings.config)
    blocks: list[Block] = []
    if len(keys) > 1:
        title = f"Importance (PED-ANOVA, {finished} finished trials; a long interval says that it may be luck)"
        blocks.append(Figure(title, figures.importance_bars(found), few))
    best = search.selection.best
    for key in order:
        drawn = figures.slice_of(key, distributions[key], scored, best, own[key])
        blocks.append(Figure(f"{key} (without a search {cell(own[key])}, dashed)", drawn, small=True))
    if found:
        pair = " and ".join(map(figures.short, order[:2]))
        blocks.append(Figure(f"The two most important: {pair}", figures.contour(search.study, order)))
    if len(keys) > 1:
        title = "All settings of the finished trials (drag along an axis to select)"
        blocks.append(Figure(title, figures.parallel(search.study, order), "fewer than two trials finished"))
    return blocks


def _course(search: Search) -> list[Block]:
    best, one = search.selection.best, [("", search.records)]
    names = [f"trial {record.number}" for record in search.records]
    timed = [
        (_worker(record), str(record.number if not record.reference else record.reference), record)
        for record in [*search.records, *search.references]
        if record.reports
    ]
    none = "no trial has ended with a score yet"
    curves = figures.learning_curves(search.records, names, f"trial {best.number}" if best else "")
    return [
        Figure("Best so far, over trials", figures.best_so_far(one), none, small=True),
        Figure("Best so far, over hours", figures.best_so_far(one, by_hours=True), none, small=True),
        Figure("Validation accuracy as it was, all trials", curves, "no trial has been validated yet"),
        Figure("Who computed when (interruptions are not drawn)", figures.timeline(timed, time.time()), none),
    ]


def _worker(record: TrialRecord) -> str:
    lease = read_lease(record.folder / TRIAL_LEASE)
    return "unknown" if lease is None else f"{lease.host}, {lease.device}, process {lease.pid}"


def _made(search: Search) -> list[Block]:
    settings = search.settings
    every = [*search.records, *search.references]
    seconds = sum(record.last.seconds for record in every if record.last)
    on_gpu = sum(
        r.last.seconds for r in every if r.last and (w := read_lease(r.folder / TRIAL_LEASE)) and w.device != "cpu"
    )
    space = [
        [key, kind, ", ".join(map(cell, values))]
        for key, entry in settings.space.items()
        for kind, values in entry.items()
    ]
    origins = settings.origins
    values = [
        [key, cell(value), origins.get(key, "default")]
        for key, value in flatten(settings.config.to_dict()).items()
        if key not in settings.space
    ]
    gpu = f", {on_gpu / 3600:.2f} h of them on GPUs" if on_gpu else ""
    failed = sum(record.state == FAILED for record in search.records)
    lines = [f"Trials and references took {format_duration(seconds)} one after the other{gpu}; {failed} trials failed."]
    lines += [
        f"Changed on {change['when']} after {change['trials before']} trials: {'; '.join(change['differences'])}"
        for change in settings.changes
    ]
    versions = ", ".join(f"{name} {version}" for name, version in settings.versions.items())
    return [
        Text([*lines, f"Versions: {versions}."]),
        *([Text([settings.command], "code")] if settings.command else []),
        Text(["To go on:"]),
        Text(_commands(search), "code"),
        Text(["What was searched:"]),
        Table(["setting", "kind", "range"], space),
        Text(["What was not:"]),
        Table(["setting", "value", "from"], values),
    ]


def _commands(search: Search) -> list[str]:
    name = search.folder.name
    resume = search.status.resume or how_to_resume(name, comparison=False, external=search.settings.external_study)
    return [
        f"{resume}    # with more --trials it goes on",
        f"python launchers/export.py {name} --top 3 --out configs",
        f"python launchers/train.py configs/{name}-top1.yaml --seeds 3",
        f"python launchers/replay.py {name} {search.selection.best.number if search.selection.best else 0}",
    ]
