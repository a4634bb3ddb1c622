"""How much does a model trained on glyphs look at the colour of the background?

    python -m benchmarks.false_cue runs/glyphs-comparison-20261123-1

Novel classes have random hues, so a query whose hue is nearest to that of some support example says nothing about its class
(that guess is right in one of N cases). The share of queries that a model puts into that class is how far it follows the
cue. Every best.safetensors of a ProtoNet below the given folders is measured on 2,000 tasks.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

from datg.cli.main import run_command
from datg.cli.options import DataRoot
from datg.learners.prediction import embed_all
from datg.trial.find_checkpoint import novel_classes
from datg.trial.folder import BEST, NETWORK
from datg.trial.model import load_best
from datg.trial.prepare import make_sampler

TASKS = 2000


def false_cue(
    runs: Annotated[list[Path], typer.Argument(help="Folders of comparisons or final trainings at one shot.")],
    data_root: DataRoot = None,
) -> None:
    """Print one line a strategy: mean over its seeds, and their standard deviation."""
    shares: dict[str, list[float]] = {}
    for path in sorted(path for run in runs for path in run.rglob(BEST) if NETWORK not in path.parts):
        best = load_best(path)
        if best.learner.embeds_once:
            shares.setdefault(best.config.strategy_name, []).append(follows_hue(path, data_root))
    for strategy, of_seeds in shares.items():
        spread = (
            f" (standard deviation over {len(of_seeds)} seeds {np.std(of_seeds, ddof=1):.3f})"
            if len(of_seeds) > 1
            else ""
        )
        print(f"{strategy}: {np.mean(of_seeds):.3f}{spread}")


def follows_hue(path: Path, data_root: Path | None) -> float:
    """Return the share of queries that the model at ``path`` puts into the class of the support example nearest in hue."""
    config, novel = novel_classes(path, data_root, shots=1)
    learner = load_best(path).learner.eval()
    sampler = make_sampler(config, novel, torch.device("cpu"))
    tasks = sampler.draw_numbered(0, TASKS, seed=0)
    hues = background_hue(sampler.classes.gather(tasks.rows))
    with torch.inference_mode():
        # Embeddings are laid out class by class, like the counts; rows of the table are mapped to them.
        embedded = embed_all(learner.backbone, sampler.classes)
        offsets = embedded.starts[tasks.classes] - sampler.classes.starts[tasks.classes]
        guesses = learner.predict(embedded.gather(tasks.rows + offsets[..., None]), 1).argmax(2)
    support, query = hues[:, :, 0], hues[:, :, 1:].flatten(1)
    nearest = (query[:, :, None] - support[:, None]).abs().argmin(2)
    return (guesses == nearest).float().mean().item()


def background_hue(examples: Tensor) -> Tensor:
    """Return the hue of the mean colour of the border, as a point on the unit circle: `(..., 3, h, w)` to complex `(...)`."""
    edges = [examples[..., 0, :], examples[..., -1, :], examples[..., :, 0], examples[..., :, -1]]
    red, green, blue = torch.cat(edges, dim=-1).mean(-1).unbind(-1)
    return torch.polar(torch.ones_like(red), torch.atan2(3**0.5 * (green - blue), 2 * red - green - blue))


if __name__ == "__main__":
    run_command(false_cue)
