"""Hold-out: validation on examples of the base classes that training does not see."""

from datg.data.import_settings import ImportSettings
from datg.data.protocols.division import divided, ranked_base
from datg.data.protocols.protocol import SplitProtocol
from datg.data.raw_data import RawData
from datg.data.splits import AvailableClasses, Split


def hold_out(available: AvailableClasses, settings: ImportSettings) -> Split:
    """Return validation on examples of the base classes that training does not see."""
    return Split(
        protocol="hold-out",
        **available.named_parts("hold-out"),
        remarks=[
            f"validation holds {settings.held_out:.0%} of each base class's examples: it tells how well new examples of known "
            "classes are recognised, not how well new classes are. Use it to reject divergence and to choose learning rate and "
            "iterations; take the weights of a method (MMD weight, Beta, clusters) from leave-one-out.",
        ],
    )


def divide_hold_out(data: RawData, settings: ImportSettings) -> RawData:
    """Hold out a share of each base class, whole groups only."""
    base, novel = ranked_base(data, settings, "hold-out")
    return divided(data, settings, base=base, novel=novel, divide=base)


HOLD_OUT = SplitProtocol(hold_out, divide_hold_out)
