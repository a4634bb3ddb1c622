"""What keeps Meta-MaxUp at chance: glyphs without the false cue, and fewer copies or one augmentation at a time.

    python -m benchmarks.without_cue                    # about six minutes on one core

Backgrounds of base classes get random hues, as those of the other classes have; the data set is made in a temporary folder.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import torch
import typer

import datg
from datg.cli.main import run_command
from datg.data import glyphs
from datg.data.catalog import Dataset
from datg.generation.augmentation import PICTURE_POOL

VARIANTS: list[dict[str, Any]] = [{"copies": 1, "pool": ["identity"]}, {"copies": 1}, {"copies": 2}, {"copies": 4}]
VARIANTS += [{"copies": 4, "pool": [entry]} for entry in PICTURE_POOL if "+" not in entry]


def without_cue(
    iterations: Annotated[int, typer.Option(min=4, help="Iterations of each training.")] = 400,
    tasks: Annotated[int, typer.Option(min=2, help="Validation tasks.")] = 600,
) -> None:
    """Print the best validation accuracy of vanilla and of each variant of Meta-MaxUp, seed 0, 16 filters."""
    torch.set_num_threads(1)
    with glyphs_without_cue() as dataset:
        for strategy in [{"name": "vanilla"}, *({"name": "meta_maxup", **variant} for variant in VARIANTS)]:
            config = datg.TrialConfig.from_dict(
                {
                    "dataset": "glyphs",
                    "strategy": strategy,
                    "backbone": {"filters": 16},
                    "training": {"iterations": iterations, "eval_every": iterations // 4},
                    "evaluation": {"validation_tasks": tasks},
                }
            )
            last = datg.run_trial(config, dataset).last
            assert last is not None
            print(
                f"{strategy}: {last.objective:.4f} ± {last.objective_ci95:.4f}, loss {last.losses['ce']:.3f}",
                flush=True,
            )


@contextlib.contextmanager
def glyphs_without_cue() -> Iterator[Dataset]:
    """Draw glyphs whose base classes have random hues, too, and open them."""
    random_hues = partial(_drawn_without_group, glyphs._draw)
    with tempfile.TemporaryDirectory() as root, mock.patch.object(glyphs, "_draw", random_hues):
        yield datg.open_dataset("glyphs", Path(root))


def _drawn_without_group(draw: Any, character: str, group: int | None, rng: Any) -> Any:
    return draw(character, None, rng)


if __name__ == "__main__":
    run_command(without_cue)
