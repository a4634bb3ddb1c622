"""Training and evaluation as published few-shot code writes them: the reference of the benchmarks and of a test.

One forward pass a task, loops over tasks, classes and queries, float32 pictures copied for every episode, one episode at a time
in a test. The form is that of huaxiuyao/MLTI (ProtoNet); MAML is written in the same way with `torch.autograd.grad`. The
mathematics are this package's own, and so are the draws, so that losses and accuracies can be compared.
"""

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from datg.data.episodes import DeviceTable, TaskSampler
from datg.generation.mixup import draw_layers, draw_pairings
from datg.generation.mmd import NEAR, SCALES
from datg.learners.inner_loop import InnerLoop
from datg.learners.learner import Learner
from datg.runtime.random_streams import derive_seed
from datg.strategies.datg import Datg
from datg.strategies.strategy import Batch

Block = tuple[Tensor, Tensor, nn.BatchNorm2d]  # weight and bias of the convolution, normalisation


@dataclass(frozen=True)
class Textbook:
    """Hold a learner on pictures, and float32 data by class.

    Attributes:
        learner: its parameters are what is trained; conv4.
        classes: the pictures of each class, `(n, channels, height, width)` float32 in [0, 1].
        starts: the first row of each class in the class table.
    """

    learner: Learner
    classes: list[Tensor]
    starts: list[int]

    @classmethod
    def of(cls, learner: Learner, classes: DeviceTable) -> "Textbook":
        """Load all data as float32, as the published code does."""
        spans = list(zip(classes.starts.tolist(), classes.counts.tolist(), strict=True))
        pictures = [classes.examples[start : start + count].float() / 255 for start, count in spans]
        return cls(learner, pictures, [start for start, _ in spans])

    def episode(self, chosen: Tensor, rows: Tensor, shots: int) -> tuple[Tensor, Tensor]:
        """Return support `(N * K, ...)` and query `(N * Q, ...)` of one task, copied class by class."""
        ways, number = rows.shape
        shape = self.classes[0].shape[1:]
        support, query = (self.classes[0].new_zeros(ways * size, *shape) for size in (shots, number - shots))
        for way in range(ways):
            index = int(chosen[way])
            places = rows[way] - self.starts[index]
            support[way * shots : (way + 1) * shots] = self.classes[index][places[:shots]]
            query[way * (number - shots) : (way + 1) * (number - shots)] = self.classes[index][places[shots:]]
        return support, query

    def blocks(self) -> list[Block]:
        """Return weights, biases and normalisation of the backbone's blocks."""
        return [(block.affine.weight, block.affine.bias, block.norm) for block in self.learner.backbone.blocks]  # type: ignore[union-attr,misc]

    def sets(self, support: Tensor, query: Tensor) -> list[Tensor]:
        """Return what is normalised together: both for ProtoNet, each by itself for MAML."""
        return [support, query] if isinstance(self.learner, InnerLoop) else [torch.cat([support, query])]

    def encode(self, sets: list[Tensor], start: int, stop: int, *, running: bool = False) -> list[Tensor]:
        """Pass each set from one layer to another."""
        for block in self.blocks()[start:stop]:
            sets = [conv_block(examples, block, running=running) for examples in sets]
        return sets

    def loss(self, sets: list[Tensor], ways: int, shots: int) -> Tensor:
        """Return the mean cross-entropy of the queries of one task, from its sets at layer L_S, summed query by query."""
        logits = self.logits(sets, ways, shots, training=True)
        log_probabilities = functional.log_softmax(logits, dim=1)
        queries = len(logits) // ways
        losses = [-log_probabilities[query, query // queries] for query in range(len(logits))]
        return torch.stack(losses).mean()

    def logits(self, sets: list[Tensor], ways: int, shots: int, *, training: bool) -> Tensor:
        """Return `(N * Q, N)` logits of one task, from its sets at layer L_S."""
        if isinstance(self.learner, InnerLoop):
            return self._adapted_logits(self.learner, sets, ways, training=training)
        embeddings = sets[0].reshape(len(sets[0]), -1)
        prototypes = embeddings[: ways * shots].view(ways, shots, -1).mean(1)
        return -euclidean_distances(embeddings[ways * shots :], prototypes)

    def _adapted_logits(self, learner: InnerLoop, sets: list[Tensor], ways: int, *, training: bool) -> Tensor:
        support, query = sets
        labels = torch.arange(ways).repeat_interleave(len(support) // ways)
        *_, last = self.blocks()
        fast = [last[0], last[1], last[2].weight, last[2].bias, learner.head.weight, learner.head.bias]
        if not training:
            fast = [value.detach().requires_grad_() for value in fast]
        steps = learner.inner.inner_steps if training else learner.inner.inner_steps_test
        for _ in range(steps):
            loss = functional.cross_entropy(adapted_part(support, fast), labels)
            gradients = torch.autograd.grad(loss, fast, create_graph=training)
            fast = [value - learner.inner.inner_lr * gradient for value, gradient in zip(fast, gradients, strict=True)]
        return adapted_part(query, fast)

    def accuracy(self, sampler: TaskSampler, number: int, *, seed: int, purpose: str) -> float:
        """Return the accuracy on one numbered task, its pictures embedded for it alone."""
        drawn = sampler.draw_numbered(number, 1, seed=derive_seed(seed, purpose))
        ways, shots = sampler.ways, sampler.shots
        support, query = self.episode(drawn.classes[0], drawn.rows[0], shots)
        with torch.no_grad():
            sets = self.encode(self.sets(support, query), 0, self.learner.last_shared, running=self.learner.embeds_once)
        with torch.set_grad_enabled(isinstance(self.learner, InnerLoop)):
            guesses = self.logits(sets, ways, shots, training=False).argmax(1)
        right = torch.arange(ways).repeat_interleave(sampler.queries)
        return float((guesses == right).float().mean().item())


def conv_block(examples: Tensor, block: Block, *, running: bool = False) -> Tensor:
    """Apply convolution, batch normalisation, ReLU, pooling, in the order of the textbooks."""
    weight, bias, norm = block
    hidden = functional.conv2d(examples, weight, bias, padding=1)
    mean, variance = (norm.running_mean, norm.running_var) if running else (None, None)
    hidden = functional.batch_norm(hidden, mean, variance, norm.weight, norm.bias, not running, eps=norm.eps)
    return functional.max_pool2d(functional.relu(hidden), 2)


def adapted_part(examples: Tensor, fast: list[Tensor]) -> Tensor:
    """Apply the last block and head of MAML under adapted parameters."""
    weight, bias, scale, shift, head, head_bias = fast
    hidden = functional.conv2d(examples, weight, bias, padding=1)
    hidden = functional.batch_norm(hidden, None, None, scale, shift, True)
    hidden = functional.max_pool2d(functional.relu(hidden), 2)
    return functional.linear(hidden.reshape(len(hidden), -1), head, head_bias)


def euclidean_distances(left: Tensor, right: Tensor) -> Tensor:
    """Return `(n, m)` squared distances by expansion, as published."""
    size = len(left), len(right), left.shape[1]
    return (left[:, None].expand(size) - right[None].expand(size)).pow(2).sum(2)


def vanilla_loss(textbook: Textbook, batch: Batch) -> Tensor:
    """Return the mean loss of B real tasks."""
    sampler, layer = batch.sampler, textbook.learner.last_shared
    drawn = sampler.draw(batch.size, generator=batch.streams.tasks)
    losses = []
    for chosen, rows in zip(drawn.classes, drawn.rows, strict=True):
        support, query = textbook.episode(chosen, rows, batch.shots)
        sets = textbook.encode(textbook.sets(support, query), 0, layer)
        losses.append(textbook.loss(sets, sampler.ways, batch.shots))
    return torch.stack(losses).mean()


def datg_loss(textbook: Textbook, batch: Batch, strategy: Datg) -> Tensor:
    """Return the mean loss of B generated tasks plus the weighted MMD, for the defaults of mixer, kernel and layer of the MMD."""
    assert batch.clusters is not None and strategy.p_mix == 1
    assert (strategy.mixer, strategy.mmd_kernel, strategy.mmd_layer) == ("linear", "gaussian", "embedding")
    sampler, rng, streams = batch.sampler, batch.streams.mixing, batch.streams
    learner, depth = textbook.learner, textbook.learner.backbone.depth
    one, other = rng.choice(len(batch.clusters), size=2, replace=False)
    layers = draw_layers(batch.size, strategy.mix_low, strategy.highest_layer(learner), rng)
    shares = rng.beta(strategy.alpha, strategy.beta, size=batch.size)
    pairing = torch.from_numpy(draw_pairings(batch.size, sampler.ways, rng))
    firsts = sampler.draw(batch.size, generator=streams.tasks, within=batch.clusters[one])
    seconds = sampler.draw(batch.size, generator=streams.partners, within=batch.clusters[other]).permuted(pairing)
    losses, generated, real_first, real_second = [], [], [], []
    for task in range(batch.size):
        first, second = (
            textbook.sets(*textbook.episode(drawn.classes[task], drawn.rows[task], batch.shots))
            for drawn in (firsts, seconds)
        )
        first, second = (textbook.encode(sets, 0, layers[task]) for sets in (first, second))
        mixed = [shares[task] * a + (1 - shares[task]) * b for a, b in zip(first, second, strict=True)]
        mixed = textbook.encode(mixed, layers[task], learner.last_shared)
        losses.append(textbook.loss(mixed, sampler.ways, batch.shots))
        generated.append(textbook.encode(mixed, learner.last_shared, depth))
        with nullcontext() if strategy.mmd_gradient == "both" else torch.no_grad():
            real_first.append(textbook.encode(first, layers[task], depth))
            real_second.append(textbook.encode(second, layers[task], depth))
    points = [torch.cat(sets).flatten(1) for sets in generated + real_first + real_second]
    if strategy.mmd_gradient == "generated":
        points[batch.size :] = [real.detach() for real in points[batch.size :]]
    discrepancies = mean_discrepancies(points[: batch.size], points[batch.size :], strategy.mmd_bandwidth)
    return torch.stack(losses).mean() + strategy.mmd_weight * discrepancies.mean()


def mean_discrepancies(generated: list[Tensor], real: list[Tensor], bandwidth: float) -> Tensor:
    """Return Eq. 4 task by task: `(B,)`, each the mean over real tasks."""
    distances = torch.pdist(torch.cat(generated + real)).square()
    median = distances.median()
    scale = bandwidth * distances[(distances - median).abs() <= NEAR * median].mean()

    def mean_kernel(left: Tensor, right: Tensor) -> Tensor:
        distances = left.square().sum(1)[:, None] + right.square().sum(1)[None] - 2 * left @ right.T
        return torch.stack([torch.exp(-distances.clamp(min=0) / (c * scale)) for c in SCALES]).mean()

    discrepancies = []
    for points in generated:
        terms = [
            mean_kernel(points, points) + mean_kernel(other, other) - 2 * mean_kernel(points, other) for other in real
        ]
        discrepancies.append(torch.stack(terms).mean())
    return torch.stack(discrepancies)


def loss_of(textbook: Textbook, batch: Batch, strategy: object) -> Tensor:
    """Return the loss of a meta-batch under DATG or Vanilla."""
    return datg_loss(textbook, batch, strategy) if isinstance(strategy, Datg) else vanilla_loss(textbook, batch)
