"""The rows of a comparison: accuracies on novel classes, and differences paired task by task and seed by seed."""

from dataclasses import dataclass, field

from datg.search.comparison.grid import Pair
from datg.trial.accuracies import Accuracies, Summary, load_evaluation, summarise
from datg.trial.folder import EVALUATION
from datg.trial.records import DONE, TrialRecord

Scores = dict[int, Accuracies]  # `(tasks,)` accuracies on the same tasks, by training seed
REFERENCES = ("vanilla", "datg")  # each row's difference to them is told


@dataclass(frozen=True, kw_only=True)
class Row:
    """Hold one strategy with one learner.

    Attributes:
        records: its trials, one a seed.
        tuned: of how many trials of a search its configuration is the best; None where it was not searched.
        failures: outcomes of seeds that are not in the score, and of those that collapsed.
        score: on novel classes; None before any seed has been evaluated.
        differences: to each of :data:`REFERENCES`, on the tasks and seeds that both have; None where they share no seed.
    """

    learner: str
    strategy: str
    records: list[TrialRecord] = field(repr=False)
    tuned: int | None = None
    failures: str = ""
    score: Summary | None = None
    differences: dict[str, Summary | None] = field(default_factory=dict)

    @property
    def seeds(self) -> int:
        """Return how many seeds were evaluated."""
        return 0 if self.score is None else self.score.seeds


def compare(records: list[TrialRecord]) -> list[Row]:
    """Return the rows of a comparison, from the trials that have been evaluated so far."""
    groups: dict[Pair, list[TrialRecord]] = {}
    for record in records:
        groups.setdefault((record.searched["learner"], record.searched["strategy"]), []).append(record)
    scores = {pair: scores_of(group) for pair, group in groups.items()}
    return [_row(pair, group, scores) for pair, group in groups.items()]


def scores_of(group: list[TrialRecord]) -> Scores:
    """Return the accuracies of the trials of one row that ended well."""
    return {
        record.searched["seed"]: load_evaluation(record.folder / EVALUATION).accuracies
        for record in group
        if record.state == DONE and record.test is not None
    }


def _row(pair: Pair, group: list[TrialRecord], scores: dict[Pair, Scores]) -> Row:
    learner, strategy = pair
    bad = [record.outcome for record in group if record.outcome not in ("", "finished")]
    failures = ", ".join(f"{bad.count(outcome)} {outcome}" for outcome in sorted(set(bad)))
    by_seed, tuned = scores[pair], group[0].searched.get("tuned")
    if not by_seed:
        return Row(learner=learner, strategy=strategy, records=group, tuned=tuned, failures=failures)
    return Row(
        learner=learner,
        strategy=strategy,
        records=group,
        tuned=tuned,
        failures=failures,
        score=summarise(list(by_seed.values())),
        differences={name: paired(by_seed, scores.get((learner, name), {})) for name in REFERENCES if name != strategy},
    )


def paired(first: Scores, second: Scores) -> Summary | None:
    """Subtract accuracies, on the seeds that both have; None without one."""
    common = sorted(first.keys() & second.keys())
    return summarise([first[seed] - second[seed] for seed in common]) if common else None
