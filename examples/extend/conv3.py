"""conv3: the first three blocks of conv4, for small pictures."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from datg.backbones.backbone import Backbone, BackboneOptions
from datg.backbones.conv4 import Conv4Options, ConvBlock
from datg.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Conv3Options(Conv4Options):
    """Hold the filters of every block."""

    name: ClassVar[str] = "conv3"


class Conv3(Backbone):
    """Stack three :class:`~datg.backbones.conv4.ConvBlock`, for pictures of at least 8 x 8."""

    options: ClassVar[type[BackboneOptions]] = Conv3Options
    depth: ClassVar[int] = 3

    def __init__(
        self, shape: tuple[int, ...], options: Conv3Options, *, running_statistics: bool, generator: torch.Generator
    ) -> None:
        """Build the blocks for examples of ``shape`` `(channels, height, width)`."""
        super().__init__(shape, options, running_statistics=running_statistics, generator=generator)
        self.check_shape(shape)
        channels, height, width = shape
        filters = options.filters
        self.blocks = nn.ModuleList(
            ConvBlock(width_in, filters, running_statistics=running_statistics, generator=generator)
            for width_in in (channels, filters, filters)
        )
        self._embedding_size = filters * (height // 8) * (width // 8)

    @staticmethod
    def check_shape(shape: tuple[int, ...]) -> None:
        """Raise ConfigError unless ``shape`` is `(channels, height, width)` of at least 8 x 8."""
        if len(shape) != 3 or min(shape[1:]) < 8:
            raise ConfigError(f"backbone conv3 needs pictures of at least 8 x 8, got examples of shape {shape}.")

    @property
    def embedding_size(self) -> int:
        """Return filters x the pixels that three poolings leave."""
        return self._embedding_size
