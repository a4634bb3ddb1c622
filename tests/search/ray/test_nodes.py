"""Looking at nodes leaves nothing in the user's folder, whether they answer or not."""

from types import SimpleNamespace

import pytest

from datg.search.ray import nodes
from datg.search.ray.nodes import ClusterNodes
from datg.search.ray.probe import look_around

NODE = {"NodeID": "a" * 56, "NodeManagerHostname": "host", "Alive": True, "Resources": {"CPU": 1.0}}


@pytest.fixture
def silent(monkeypatch):
    """A node that is asked and never answers."""
    task = SimpleNamespace(options=lambda **options: SimpleNamespace(remote=lambda *paths: paths))
    monkeypatch.setattr(nodes.ray, "nodes", lambda: [NODE])
    monkeypatch.setattr(nodes.ray, "remote", lambda **options: lambda function: task)
    monkeypatch.setattr(nodes.ray, "wait", lambda tasks, **options: ([], tasks))


def test_a_search_that_ends_before_a_node_has_answered_leaves_nothing_behind(silent, tmp_path, monkeypatch):
    monkeypatch.setattr(nodes, "LOOK_SECONDS", 0.0)
    followed = ClusterNodes(tmp_path)
    followed.look()
    assert len(list(tmp_path.iterdir())) == 1, "the file that the node has to see"
    followed.close()
    assert not list(tmp_path.iterdir())


def test_an_interrupted_look_leaves_nothing_behind(silent, tmp_path, monkeypatch):
    def interrupted(tasks, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(nodes.ray, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ClusterNodes(tmp_path).examine()
    assert not list(tmp_path.iterdir())


def test_a_node_that_looks_too_late_writes_nothing(tmp_path):
    found = look_around(str(tmp_path / "gone"), str(tmp_path / "gone-node"))
    assert not found["sees"] and not found["write"] and not list(tmp_path.iterdir())
