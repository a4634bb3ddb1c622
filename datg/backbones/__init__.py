"""Backbones: lists of blocks that can start and stop at any layer.

Layer l is the output of block l; layer 0 is the input. A new backbone is one class with the methods of
:class:`~datg.backbones.backbone.Backbone` and one line in :data:`BACKBONES`.
"""

from datg.backbones.conv4 import Conv4

BACKBONES = {"conv4": Conv4}
