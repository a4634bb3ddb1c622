from types import SimpleNamespace

import pytest

from datg.search.ray.run import _tell_of_slow_bf16


@pytest.mark.parametrize("able", [True, False])
def test_bf16_without_units_is_told_of_this_machine(monkeypatch, able):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": able})
    said = []
    _tell_of_slow_bf16(SimpleNamespace(reports=[]), said.append)
    assert bool(said) != able and all("the processor of this machine has no units" in text for text in said)


def test_on_a_cluster_the_nodes_that_lack_them_are_named(monkeypatch):
    monkeypatch.setattr(
        "torch.cpu.get_capabilities", lambda: {"avx512_bf16": False}
    )  # of the driver, which does not count
    found = {"one": {"bf16": True}, "two": {"bf16": False}, "three": {"bf16": False}, "mute": {}}
    said = []
    reports = [SimpleNamespace(name=name, found=values) for name, values in found.items()]
    _tell_of_slow_bf16(SimpleNamespace(reports=reports), said.append)
    assert len(said) == 1 and "the processor of two, three has no units" in said[0]
    _tell_of_slow_bf16(SimpleNamespace(reports=reports[:1]), said.append)
    assert len(said) == 1
