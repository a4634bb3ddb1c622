"""Groups: the parts share no group of examples, such as tissues or patients."""

from dataclasses import replace

from datg.data.import_settings import PARTS, ImportSettings
from datg.data.protocols.protocol import SplitProtocol
from datg.data.raw_data import RawClasses, RawData, listed
from datg.data.splits import AvailableClasses, Split
from datg.errors import DataError


def by_groups(available: AvailableClasses, settings: ImportSettings) -> Split:
    """Return classes within groups of examples, such as tissues: the same label in two parts makes two classes."""
    return Split(protocol="groups", **available.named_parts("groups"))


def divide_by_groups(data: RawData, settings: ImportSettings) -> RawData:
    """Make one class of each label and part; examples of groups that no part lists are left out."""
    lists = settings.lists()
    part_of = {group: part for part in PARTS for group in lists.get(part, [])}
    named = [group for part in PARTS for group in lists.get(part, [])]
    existing = {example.group for examples in data.classes.values() for example in examples}
    if existing == {""}:
        raise DataError("protocol groups needs examples with groups (--group-column), got none.")
    if len(named) != len(part_of):
        twice = sorted({group for group in named if named.count(group) > 1})
        raise DataError(f"the lists of groups must name each group once, got {listed(twice)} twice.")
    absent = sorted(set(part_of) - existing)
    if absent:
        raise DataError(
            f"the lists of groups name {len(absent)} groups that the data lack: {listed(absent)}; there are: "
            f"{listed(sorted(existing), 40)}."
        )
    classes: RawClasses = {}
    parts = {}
    for part in PARTS:
        for label, examples in data.classes.items():
            chosen = [example for example in examples if part_of.get(example.group) == part]
            if chosen:
                classes[f"{label} ({part})"] = chosen
                parts[f"{label} ({part})"] = part
    unlisted = sorted(existing - set(part_of))
    remark = () if not unlisted else (f"examples of groups that no part lists are left out: {listed(unlisted)}.",)
    return replace(data, classes=classes, parts=parts, remarks=data.remarks + remark)


GROUPS = SplitProtocol(by_groups, divide_by_groups)
