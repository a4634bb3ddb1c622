"""Tables of names: what is behind a name is imported when somebody asks for it, so that a list of names costs nothing."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TypeVar

Thing = TypeVar("Thing")


class NameTable(Mapping[str, Thing]):
    """Maps names, as users write them, to what they stand for."""

    def __init__(self, places: Mapping[str, str]) -> None:
        """Take the place of each thing: ``"module:attribute"``, or ``"module"`` where the module itself is the thing."""
        self._places = dict(places)
        self._known: dict[str, Thing] = {}

    def __getitem__(self, name: str) -> Thing:
        if name not in self._known:
            module, _, attribute = self._places[name].partition(":")
            loaded = import_module(module)
            self._known[name] = getattr(loaded, attribute) if attribute else loaded  # type: ignore[assignment]
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places
