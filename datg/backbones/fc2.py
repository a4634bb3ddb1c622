"""fc2: two blocks of linear map, batch normalisation, ReLU and dropout, for cells (paper 5.2; Cao et al. 2021).

Examples of any shape are flattened, so it reads pictures, too.
"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from datg.backbones.backbone import Backbone, BackboneOptions, Block, Dropout, PreNormActivations, initialise
from datg.backbones.batch_norm import NormMode


@dataclass(frozen=True, kw_only=True)
class Fc2Options(BackboneOptions):
    """Hold what fc2 can be told.

    Attributes:
        width: units of both blocks.
        dropout: share of them that is set to zero in training.
    """

    name: ClassVar[str] = "fc2"

    width: Annotated[int, Field(ge=1)] = 64
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2

    @property
    def channels(self) -> int:
        """Return the width."""
        return self.width


class FlatLinear(nn.Linear):
    """Map flattened examples linearly."""

    def forward(self, input: Tensor) -> Tensor:
        """Turn `(n, *shape)` into `(n, out_features)`."""
        return super().forward(input.flatten(1))


class LinearBlock(Block):
    """Map `(n, *shape)` to `(n, width)`."""

    def __init__(
        self, inputs: int, width: int, *, dropout: float, running_statistics: bool, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.affine = nn.utils.skip_init(FlatLinear, inputs, width)
        self.norm = nn.BatchNorm1d(width, track_running_stats=running_statistics)
        self.dropout = Dropout(dropout)
        initialise(self.affine, generator=generator)

    def activate(self, preactivations: Tensor, mode: NormMode) -> Tensor:
        """See :meth:`Block.activate`."""
        dropped: Tensor = self.dropout(self.normalise(preactivations, mode, functional.relu))
        return dropped

    @staticmethod
    def places(inputs: Tensor) -> int:
        """See :meth:`Block.places`."""
        return 1

    def precompute(self, inputs: Tensor) -> PreNormActivations:
        """See :meth:`Block.precompute`."""
        preactivations = self.affine(inputs)
        return PreNormActivations(
            preactivations, preactivations.float(), torch.zeros_like(preactivations, dtype=torch.float32)
        )


class Fc2(Backbone):
    """Stack two :class:`LinearBlock`."""

    options: ClassVar[type[BackboneOptions]] = Fc2Options
    depth: ClassVar[int] = 2

    def __init__(
        self, shape: tuple[int, ...], options: Fc2Options, *, running_statistics: bool, generator: torch.Generator
    ) -> None:
        """Build the blocks for examples of ``shape``, for instance `(genes,)`."""
        super().__init__(shape, options, running_statistics=running_statistics, generator=generator)
        width = options.width
        self.blocks = nn.ModuleList(
            LinearBlock(
                inputs,
                width,
                dropout=options.dropout,
                running_statistics=running_statistics,
                generator=generator,
            )
            for inputs in (math.prod(shape), width)
        )
        self._width = width

    @staticmethod
    def check_shape(shape: tuple[int, ...]) -> None:
        """Accept every shape."""

    @property
    def embedding_size(self) -> int:
        """Return the width."""
        return self._width
