"""The references of a search: trainings that its best is measured against, and that no choice ever sees."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datg.search.settings import SearchSettings

OWN, VANILLA = "own", "vanilla"


def references_of(settings: "SearchSettings") -> dict[str, dict[str, Any]]:
    """Return what a search is measured against beside its trials: by name, the keys that replace those of its configuration.

    Vanilla is one, unless it is what is searched. The setting that the search begins from is one where it lies outside the
    space; inside, it is trial 0.
    """
    own: dict[str, dict[str, Any]] = {OWN: {}} if settings.own_setting is None else {}
    is_vanilla = settings.config.strategy_name == VANILLA
    return own if is_vanilla else own | {VANILLA: {"strategy": {"name": VANILLA}}}
