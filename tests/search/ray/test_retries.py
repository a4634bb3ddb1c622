"""How often and when what broke is tried again."""

import pytest

from datg.search.ray.retries import Retries


@pytest.mark.parametrize(
    ("most", "outage", "waits"),
    [
        (0, True, [None]),
        (2, True, [2.0, 10.0, None, None]),
        (5, True, [2.0, 10.0, 60.0, 60.0, 60.0, None]),
        (3, False, [2.0, 2.0, 2.0, None]),
    ],
)
def test_an_outage_is_waited_for_longer_and_longer(most, outage, waits):
    retries = Retries(most)
    assert [retries.wait(4, outage=outage) for _ in waits] == waits
    assert retries.wait(5, outage=outage) == waits[0], "each has tries of its own"
