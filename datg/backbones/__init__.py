"""Backbones: lists of blocks that can start and stop at any layer.

Layer l is the output of block l; layer 0 is the input. A new backbone is one class with the methods of
:class:`~datg.backbones.backbone.Backbone` and one line in :data:`BACKBONES`.
"""

from datg.backbones.backbone import Backbone
from datg.backbones.conv4 import Conv4
from datg.backbones.fc2 import Fc2

BACKBONES: dict[str, type[Backbone]] = {"conv4": Conv4, "fc2": Fc2}
