"""Backbones: lists of blocks that can start and stop at any layer.

Layer l is the output of block l; layer 0 is the input. A new backbone is one file with a class that has the methods of
:class:`~datg.backbones.backbone.Backbone`, and one line in :data:`BACKBONES`.
"""

from typing import TYPE_CHECKING

from datg.names import NameTable

if TYPE_CHECKING:
    from datg.backbones.backbone import Backbone

BACKBONES: "NameTable[type[Backbone]]" = NameTable(
    {
        "conv4": "datg.backbones.conv4:Conv4",
        "fc2": "datg.backbones.fc2:Fc2",
    }
)
