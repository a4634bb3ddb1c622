"""Leave-one-out: validation on one base class that training does not see."""

from datg.data.import_settings import ImportSettings
from datg.data.protocols.division import divided, ranked_base
from datg.data.protocols.protocol import SplitProtocol
from datg.data.raw_data import RawData
from datg.data.splits import AvailableClasses, Split
from datg.errors import DataError


def leave_one_out(available: AvailableClasses, settings: ImportSettings) -> Split:
    """Return validation on one class that training does not see, beside examples of a known one that it does not see."""
    return Split(
        protocol="leave-one-out",
        **available.named_parts("leave-one-out"),
        remarks=[
            f"validation tells the left-out class {settings.left_out} from new examples of one trained class: it sees a new "
            "class, but one only, and training lacks it. Judge a configuration by all base classes left out in turn. With fewer "
            "than 2 x ways classes left, the two clusters of datg must share some (strategy.small_clusters: overlap).",
        ],
    )


def divide_leave_one_out(data: RawData, settings: ImportSettings) -> RawData:
    """Leave one base class to validation, with held-out examples of the next one in the order of sizes."""
    base, novel = ranked_base(data, settings, "leave-one-out")
    if settings.left_out not in base:
        raise DataError(f"--left-out must be one of the base classes {', '.join(base)}, got {settings.left_out}.")
    partner = base[(base.index(settings.left_out) + 1) % len(base)]
    return divided(data, settings, base=base, novel=novel, divide=[partner], left_out=settings.left_out)


LEAVE_ONE_OUT = SplitProtocol(leave_one_out, divide_leave_one_out)
