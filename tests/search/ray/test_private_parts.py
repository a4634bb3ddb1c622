"""The two private functions of Ray that are replaced while it starts are where this package expects them."""

import pytest
from ray._private import node, utils

from datg.errors import ConfigError
from datg.search.ray.private_parts import keeping_signal_handlers, without_api_server

PARTS = pytest.mark.parametrize(
    ("replaced", "owner", "name"),
    [(without_api_server, node.Node, "start_api_server"), (keeping_signal_handlers, utils, "set_sigterm_handler")],
)


@PARTS
def test_it_is_replaced_for_a_while_and_then_put_back(replaced, owner, name):
    before = getattr(owner, name)
    with replaced():
        assert getattr(owner, name) is not before
    assert getattr(owner, name) is before


@PARTS
def test_a_ray_in_which_it_has_moved_is_refused_with_a_sentence(replaced, owner, name, monkeypatch):
    monkeypatch.delattr(owner, name)
    with (
        pytest.raises(ConfigError, match=f"has no ray._private.*{name}, which must be replaced .* pip install"),
        replaced(),
    ):
        pass
