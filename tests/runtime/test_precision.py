import pytest
import torch

from datg.data.episodes import DeviceTable, TaskSampler
from datg.runtime.precision import resolve, to_float32
from datg.storage.checkpoint import load_checkpoint, save_checkpoint
from datg.trial.evaluation import evaluate
from datg.trial.folder import BEST, LAST
from datg.trial.model import load_best
from tests.conftest import learner_of, table_of
from tests.strategies.test_contract import TRIPLES, batch_for, built, losses_and_gradients
from tests.trial.test_run import config_of, run

CPU = torch.device("cpu")


@pytest.mark.parametrize("able", [True, False])
def test_auto_is_bf16_on_a_processor_made_for_it_and_nowhere_else(monkeypatch, able):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": able})
    assert resolve("auto", CPU) == ("bf16" if able else "float32")
    assert resolve("bf16", CPU) == "bf16" and resolve("float32", CPU) == "float32"
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: able)
    assert resolve("auto", torch.device("cuda")) == ("bf16" if able else "float32")


def test_only_bf16_is_widened():
    kept = torch.rand(2, dtype=torch.float64)
    assert to_float32(kept) is kept
    assert to_float32(kept.bfloat16()).dtype == torch.float32


@pytest.mark.matrix
@pytest.mark.parametrize(("strategy", "learner", "kind"), TRIPLES)
def test_under_bf16_every_strategy_has_nearly_the_loss_of_float32_and_gradients_in_float32(strategy, learner, kind):
    found = {}
    for precision in ("float32", "bf16"):
        made, net = built(strategy, learner, kind, dropout=0.0)
        net.backbone.precision = precision
        found[precision] = losses_and_gradients(made, net, batch_for(made, kind))
    (plain, gradients), (half, half_gradients) = found["float32"], found["bf16"]
    torch.testing.assert_close(half.total, plain.total, rtol=0.1, atol=0.05)
    assert half.total.dtype == torch.float32
    if learner != "reptile":  # it adapts every layer
        assert not torch.equal(half.total, plain.total)
    assert all(gradient.dtype == torch.float32 and torch.isfinite(gradient).all() for gradient in half_gradients)
    ours, theirs = (torch.cat([part.flatten() for part in parts]) for parts in (half_gradients, gradients))
    assert torch.cosine_similarity(ours, theirs, dim=0) > 0.9


def test_a_backbone_under_bf16_puts_out_bf16_and_a_learner_float32():
    learner = learner_of("maml")
    learner.backbone.precision = "bf16"
    examples = torch.rand(2, 3, 5, 3, 16, 16)
    assert learner.encode(examples, 1, 0, 2).dtype == torch.bfloat16
    assert learner.classify(learner.encode(examples, 1, 0, 3), 1).dtype == torch.float32


@pytest.mark.parametrize("learner", ["protonet", "maml"])
def test_a_trial_goes_on_in_the_precision_that_it_began_with(learner, tmp_path, monkeypatch):
    config = config_of(learner={"name": learner})
    assert config.training.precision == "auto"
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": True})
    whole, _ = run(config, tmp_path / "whole")
    run(config, tmp_path / "moved", stop_at=2)
    monkeypatch.setattr("torch.cpu.get_capabilities", dict)  # another machine
    again, _ = run(config, tmp_path / "moved")
    assert again.last.losses == whole.last.losses
    other, _ = run(config, tmp_path / "other")
    assert other.last.losses != whole.last.losses
    for folder, precision in (("moved", "bf16"), ("other", "float32")):
        assert load_checkpoint(tmp_path / folder / LAST)[1]["precision"] == precision
        assert load_best(tmp_path / folder / BEST).learner.backbone.precision == precision


def test_weights_of_a_version_without_precisions_were_float32(tmp_path):
    run(config_of(), tmp_path)
    weights, info = load_checkpoint(tmp_path / BEST)
    del info["precision"]
    save_checkpoint(tmp_path / BEST, weights, info)
    assert load_best(tmp_path / BEST).learner.backbone.precision == "float32"


@pytest.mark.parametrize("name", ["protonet", "maml"])
def test_accuracies_under_bf16_are_nearly_those_of_float32(name):
    learner = learner_of(name)
    sampler = TaskSampler(DeviceTable.from_table(table_of([12] * 6)), ways=3, shots=1, queries=4)
    found = []
    for precision in ("float32", "bf16"):
        learner.backbone.precision = precision
        found.append(evaluate(learner, sampler, tasks=200, seed=0, purpose="test"))
    assert abs(found[0].mean - found[1].mean) < 0.02
