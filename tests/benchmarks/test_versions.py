import pytest

from benchmarks import versions
from benchmarks.contestants import Contestant, Machine
from benchmarks.random_pictures import NAME, write_pictures
from datg.errors import ConfigError


@pytest.mark.slow
def test_both_versions_take_turns_and_this_one_equals_itself(tmp_path):
    write_pictures(tmp_path / NAME, examples_a_class=20, side=16)
    machine, here = Machine(tmp_path, NAME, 1), versions.Path(versions.__file__).parents[1]
    values = {"learner": {"name": "protonet"}, "strategy": {"name": "vanilla"}}
    with Contestant(machine, textbook=False, source=here) as old, Contestant(machine, textbook=False) as new:
        row = versions._turns(old, new, values, rounds=1)
        assert row["loss differs by"] == "0e+00" and row["times as fast"] > 0
        assert sum(new.ask("profile", "step", 1).values()) > 0


def test_another_version_must_be_one(tmp_path):
    with pytest.raises(ConfigError, match="`nowhere` must be a version of this repository"):
        versions._checked_out("nowhere", tmp_path)
