"""A trained model that classifies queries by a few labelled examples of each class, as many of each as there are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datg.data.episodes import as_network_inputs
from datg.data.preparation import Preparation
from datg.errors import ConfigError, DataError
from datg.inference.arrays import as_examples
from datg.inference.calibration import NOT_CALIBRATED, Temperature, softmax_mean
from datg.learners.learner import Learner
from datg.learners.prediction import embed_examples, examples_at_once
from datg.runtime.random_streams import generator
from datg.trial.config import TrialConfig
from datg.trial.model import BestWeights

Floats = npt.NDArray[np.float32]
Support = dict[str, npt.NDArray[Any]]  # by class, examples `(n, *shape)` as a data set holds them
Calibration = Callable[["FewShotModel", list[int]], Temperature]  # from the number of examples of each class


@dataclass(frozen=True)
class Predictions:
    """Hold what was said of M queries.

    Attributes:
        classes: N names, in the order of the support set.
        probabilities: `(M, N)` float32.
        temperature: that logits were divided by, and how well the probabilities are calibrated with it.
    """

    classes: list[str]
    probabilities: Floats
    temperature: Temperature

    @property
    def labels(self) -> list[str]:
        """Return the most probable class of each query."""
        return [self.classes[index] for index in self.probabilities.argmax(1)]

    @property
    def confidence(self) -> Floats:
        """Return `(M,)` the probability of that class."""
        highest: Floats = self.probabilities.max(1)
        return highest


@dataclass(frozen=True)
class FewShotModel:
    """Classify with one network, or with several seeds of it whose probabilities are averaged.

    Attributes:
        networks: at least one, all of the same configuration but for the seed.
        calibration: finds the temperature for a support set.
        source: where it comes from.
        device: where it computes.
        support: that was saved with it, for requests that bring none.
    """

    networks: Sequence[BestWeights]
    calibration: Calibration = field(default=lambda model, counts: NOT_CALIBRATED)
    source: str = ""
    device: torch.device = field(default=torch.device("cpu"))
    support: Support | None = None

    @property
    def config(self) -> TrialConfig:
        """Return the configuration of the first network."""
        return self.networks[0].config

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of an example."""
        return tuple(self.networks[0].info["shape"])

    @property
    def preparation(self) -> Preparation:
        """Return how the examples were prepared that it was trained on."""
        return Preparation.model_validate(self.networks[0].info.get("preparation", {}))

    @cached_property
    def learners(self) -> list[Learner]:
        """Return the networks as they stand in a test."""
        learners = [network.learner.to(self.device).eval() for network in self.networks]
        for learner in learners:
            learner.set_purpose("test")
        return learners

    @property
    def transductive(self) -> bool:
        """Return whether an answer depends on which queries are asked together (batch statistics)."""
        return not self.learners[0].embeds_once

    def classify(self, support: Mapping[str, Any], queries: Any) -> Predictions:
        """Classify queries by the examples of each class.

        Args:
            support: by the name of a class its examples, any number of each. Pictures are uint8 `(n, height, width, 3)`, which
                are resized as at import, or `(n, *shape)` as the data set holds them; cells are `(n, genes)` prepared scores.
            queries: `(M, ...)` of the same kind.

        Raises:
            DataError: they are of another kind, or too few.
            ConfigError: the number of classes is not the one that the learner was trained for.
        """
        examples = {name: as_examples(values, self.shape, f"class {name}") for name, values in support.items()}
        return self.classify_prepared(examples, as_examples(queries, self.shape, "queries"))

    def classify_prepared(self, support: Mapping[str, npt.NDArray[Any]], queries: npt.NDArray[Any]) -> Predictions:
        """Do what :meth:`classify` does with examples as the data set holds them, `(n, *shape)` uint8 or float32."""
        self.check(support, len(queries))
        counts = [len(values) for values in support.values()]
        temperature = self.calibration(self, counts)
        inputs = self.inputs(np.concatenate([*support.values(), queries]))
        first = sum(counts)
        rows = np.arange(first), np.arange(first, first + len(queries))
        found = self.probabilities(inputs, rows[0], labels_of(counts), rows[1], temperature.value)
        return Predictions(list(support), found, temperature)

    def inputs(self, examples: npt.NDArray[Any]) -> list[Tensor]:
        """Return, for each network, what :meth:`probabilities` takes rows of: embeddings if they are the same in every task."""
        values = torch.from_numpy(examples).to(self.device)
        if self.transductive:
            return [values] * len(self.learners)
        parts = values.split(examples_at_once(values))
        with torch.inference_mode():
            return [
                torch.cat([embed_examples(learner.backbone, as_network_inputs(part)) for part in parts])
                for learner in self.learners
            ]

    def probabilities(
        self,
        inputs: Sequence[Tensor],
        support: npt.NDArray[np.int64],
        labels: npt.NDArray[np.int64],
        queries: npt.NDArray[np.int64],
        temperature: float,
    ) -> Floats:
        """Return `(M, N)`: the mean over networks of softmax(logits / temperature).

        Args:
            inputs: as :meth:`inputs` returned them.
            support: `(S,)` rows of them.
            labels: `(S,)` 0 to N - 1.
            queries: `(M,)` rows of them.
            temperature: above 0.
        """
        classes, rows = torch.from_numpy(labels).to(self.device), np.concatenate([support, queries])
        with torch.inference_mode():
            logits = [
                self._logits(learner, values[torch.from_numpy(rows)], classes)
                for learner, values in zip(self.learners, inputs, strict=True)
            ]
            return softmax_mean(torch.stack(logits).double(), temperature).float().cpu().numpy()

    def check(self, support: Mapping[str, Any], queries: int) -> None:
        """Refuse what cannot be classified, before anything is computed.

        Raises:
            DataError: fewer than two classes, an empty class, or too few queries.
            ConfigError: the number of classes is not the one that the learner was trained for.
        """
        empty = [name for name, values in support.items() if len(values) == 0]
        if empty:
            raise DataError(f"SUPPORT must have an example of every class, but has none of {', '.join(empty)}.")
        if len(support) < 2:
            raise DataError(f"SUPPORT must have at least two classes, got {', '.join(support) or 'none'}.")
        ways, name = self.learners[0].ways, self.config.learner_name
        if ways not in (None, len(support)):
            raise ConfigError(
                f"SUPPORT must have {ways} classes, one per output of {name}'s classifier, got {len(support)}; give {ways} "
                "classes, or a model of protonet, which takes any number."
            )
        if queries == 0:
            raise DataError("QUERIES must hold at least one example.")
        if self.transductive and queries == 1:
            raise DataError(
                f"QUERIES must hold at least two examples: {name} normalises queries together (batch statistics)."
            )

    def _logits(self, learner: Learner, examples: Tensor, labels: Tensor) -> Tensor:
        """Return `(M, N)` of the examples after the first S, which are the support set."""
        learner.draw_from(generator(self.config.seed, "apply", "noise", device=self.device))
        shots = len(labels)
        if learner.embeds_once:
            return learner.predict(examples[None, None], shots, labels)[0]
        support, queries = as_network_inputs(examples).split([shots, len(examples) - shots])
        logits = torch.empty(len(queries), int(labels.max()) + 1, device=self.device)
        for group in self._groups(len(queries)):
            together = torch.cat([support, queries[group]])[None, None]
            logits[group] = learner.predict(together, shots, labels)[0]
        return logits

    def _groups(self, queries: int) -> list[Tensor]:
        """Return which queries are normalised together: at random, in groups of about as many as a task of training had."""
        task = self.config.task
        number = -(-queries // (task.ways * task.queries))
        order = torch.randperm(queries, generator=generator(self.config.seed, "apply", "groups"))
        return [group.to(self.device) for group in order.tensor_split(number)]


def labels_of(counts: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return `(S,)` labels 0 to N - 1 of examples that stand class by class."""
    return np.repeat(np.arange(len(counts)), counts)
