import pytest

from benchmarks.idle_time import idle_share


def test_places_are_idle_between_trials_until_the_last_one_begins():
    spans = [(0.0, 10.0), (0.0, 8.0), (10.0, 30.0), (12.0, 25.0)]
    assert idle_share(spans, 2) == pytest.approx(4 / 24), "eight to twelve, of two places for twelve seconds"
