"""How many draws of its noise Meta-Dropout needs in an evaluation: one training, evaluated with more and more on the same tasks.

    python -m benchmarks.meta_dropout_draws             # about fifteen minutes a seed on one core

MAML on glyphs without the false cue (:mod:`benchmarks.without_cue`), on which it learns.
"""

from typing import Annotated

import numpy as np
import torch
import typer

import datg
from benchmarks.without_cue import glyphs_without_cue
from datg.cli.main import run_command
from datg.trial.data import TrialData
from datg.trial.evaluation import evaluate
from datg.trial.prepare import make_sampler, make_training

PUBLISHED = 30


def config_with(draws: int, seed: int) -> datg.TrialConfig:
    """Return the setting whose final evaluation averages so many draws."""
    return datg.TrialConfig.from_dict(
        {
            "dataset": "glyphs",
            "seed": seed,
            "backbone": {"filters": 16},
            "learner": {"name": "maml"},
            "strategy": {"name": "meta_dropout", "samples_test": draws},
            "task": {"ways": 5, "shots": 1, "queries": 15},
        }
    )


def meta_dropout_draws(
    iterations: Annotated[int, typer.Option(min=1, help="Iterations of the training.")] = 1200,
    tasks: Annotated[int, typer.Option(min=2, help="Validation tasks.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Of the training.")] = 0,
) -> None:
    """Print the validation accuracy with each number of draws, and its paired difference from the published number's."""
    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    with glyphs_without_cue() as dataset:
        data = TrialData.from_dataset(dataset)
        training = make_training(config_with(PUBLISHED, seed), data, cpu)
        training.advance(iterations)
        weights, found = training.learner.state_dict(), {}
        for draws in (PUBLISHED, 10, 5, 3, 2, 1):
            config = config_with(draws, seed)
            learner = make_training(config, data, cpu).learner
            learner.load_state_dict(weights)
            sampler = make_sampler(config, data.validation, cpu)
            found[draws] = evaluate(learner, sampler, tasks=tasks, seed=0, purpose="test").accuracies
            differences = found[draws] - found[PUBLISHED]
            half = 1.96 * np.std(differences, ddof=1) / np.sqrt(tasks)
            print(
                f"{draws:2} draws: {found[draws].mean():.4f}, minus {PUBLISHED} draws {differences.mean():+.4f} ± {half:.4f}",
                flush=True,
            )


if __name__ == "__main__":
    run_command(meta_dropout_draws)
