"""Protocols: how the classes of a data set become base, validation and novel.

A protocol chooses a :class:`~datg.data.splits.Split` from class names with their counts; one that splits *examples*, by their
group or by chance, divides classes first. None ever reads an example. A new protocol is one file with a
:class:`~datg.data.protocols.protocol.SplitProtocol`, and one line in :data:`PROTOCOLS`.
"""

from typing import TYPE_CHECKING

from datg.names import NameTable

if TYPE_CHECKING:
    from datg.data.protocols.protocol import SplitProtocol

PROTOCOLS: "NameTable[SplitProtocol]" = NameTable(
    {
        "random": "datg.data.protocols.random:RANDOM",
        "file": "datg.data.protocols.file:FILE",
        "as-given": "datg.data.protocols.as_given:AS_GIVEN",
        "groups": "datg.data.protocols.groups:GROUPS",
        "hold-out": "datg.data.protocols.hold_out:HOLD_OUT",
        "leave-one-out": "datg.data.protocols.leave_one_out:LEAVE_ONE_OUT",
        "dermnet-s": "datg.data.protocols.dermnet_s:DERMNET_S",
        "mini-imagenet-s": "datg.data.protocols.mini_imagenet_s:MINI_IMAGENET_S",
    }
)
