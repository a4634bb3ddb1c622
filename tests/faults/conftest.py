from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.searches import Place


@pytest.fixture
def place_with(tmp_path: Path, data_root: Path) -> Iterator[Callable[..., Place]]:
    """Makes folders to run commands in; whatever still runs in them at the end is killed."""
    places: list[Place] = []

    def make(name: str = "here", **environment: str) -> Place:
        (tmp_path / name).mkdir()
        places.append(Place(tmp_path / name, data_root, **environment))
        return places[-1]

    yield make
    for place in places:
        place.end_all()


@pytest.fixture
def place(place_with: Callable[..., Place]) -> Place:
    return place_with()
