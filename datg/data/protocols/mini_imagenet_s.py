"""miniImageNet-S: a fifth of the training classes, by the index list of the released MLTI code."""

from datg.data.import_settings import ImportSettings
from datg.data.protocols.protocol import SplitProtocol
from datg.data.splits import AvailableClasses, Split
from datg.errors import DataError

# The fixed permutation of miniImageNet's 64 training classes whose first int(64 * ratio) entries MLTI trains on.
MINI_IMAGENET_ORDER = (
    26, 59, 14, 16, 17, 52, 8, 39, 46, 32, 20, 57, 34, 25, 63, 31, 30, 40, 0, 43, 7, 33, 12, 6, 22, 23, 49, 50, 15, 13, 51, 10,
    24, 27, 47, 55, 9, 5, 18, 36, 44, 35, 4, 21, 61, 42, 11, 3, 45, 58, 60, 56, 1, 28, 48, 54, 37, 19, 62, 41, 38, 2, 53, 29,
)  # fmt: skip


def mini_imagenet_s(available: AvailableClasses, settings: ImportSettings) -> Split:
    """Take a share of the 64 training classes by MLTI's index list, the 16 and 20 others as published.

    The list counts places in the published pickle. Named classes are counted in the order of their names, which need not be
    that of the pickle; the split is called ``mini-imagenet-s-sorted`` then.
    """
    parts = available.named_parts("mini-imagenet-s")
    training = parts["base"]
    if len(training) != len(MINI_IMAGENET_ORDER):
        raise DataError(
            f"protocol mini-imagenet-s needs the {len(MINI_IMAGENET_ORDER)} training classes of miniImageNet, got {len(training)}"
            "; check that all are there with --min-examples, or choose --protocol as-given."
        )
    number = int(len(training) * settings.ratio)
    remarks = []
    if not available.in_file_order:
        remarks.append(
            "the index list was applied to the sorted class names, so these base classes may differ from those of the published "
            "pickle; datg inspect_data --identify-by names them."
        )
    return Split(
        protocol="mini-imagenet-s" if available.in_file_order else "mini-imagenet-s-sorted",
        base=[training[index] for index in MINI_IMAGENET_ORDER[:number]],
        validation=parts["validation"],
        novel=parts["novel"],
        remarks=remarks,
    )


MINI_IMAGENET_S = SplitProtocol(mini_imagenet_s)
