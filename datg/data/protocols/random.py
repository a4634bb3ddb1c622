"""Random: base, validation and novel classes drawn with a seed."""

import numpy as np

from datg.data.import_settings import ImportSettings
from datg.data.protocols.protocol import SplitProtocol
from datg.data.splits import AvailableClasses, Split
from datg.errors import DataError
from datg.runtime.random_streams import derive_seed


def random_split(available: AvailableClasses, settings: ImportSettings) -> Split:
    """Return the asked numbers of base, validation and novel classes, drawn with a seed."""
    base, validation, novel = settings.base_classes, settings.validation_classes, settings.novel_classes
    if base + validation + novel > len(available.counts):
        raise DataError(
            f"protocol random needs {base} base + {validation} validation + {novel} novel classes, got "
            f"{len(available.counts)}; lower --base-classes, --validation-classes or --novel-classes, or lower --min-examples."
        )
    rng = np.random.default_rng(derive_seed(settings.split_seed, "split"))
    names = [str(name) for name in rng.permutation(sorted(available.counts))]
    return Split(
        protocol="random",
        base=sorted(names[:base]),
        validation=sorted(names[base : base + validation]),
        novel=sorted(names[base + validation : base + validation + novel]),
    )


RANDOM = SplitProtocol(random_split)
