"""Steps by graphs are the steps without, whatever is recorded and replayed; a stand-in for CUDA's graphs runs them again."""

from dataclasses import replace

import pytest
import torch

from datg.trial.cuda_graphs import StepGraphs
from datg.trial.training import Schedule, Training, make_optimiser
from tests.strategies.test_contract import TRIPLES, batch_for, built

AHEAD = [triple for triple in TRIPLES if triple[0] in ("vanilla", "taml", "random_mixup", "inter_cluster", "datg")]


class Rerun:
    """Records by running once, undone as far as random numbers go; replays write where the recording wrote."""

    def __init__(self, parameters):
        self.parameters, self.recorded, self.replayed = parameters, 0, 0

    def __call__(self, action, generators):
        before = [generator.get_state() for generator in generators]
        action()
        for generator, state in zip(generators, before, strict=True):
            generator.set_state(state)
        places = [parameter.grad for parameter in self.parameters]
        self.recorded += 1

        def replay():
            action()
            self.replayed += 1
            for place, parameter in zip(places, self.parameters, strict=True):
                if place is not None:
                    place.copy_(parameter.grad)

        return replay


def training_of(strategy, learner, kind, **options):
    made, net = built(strategy, learner, kind, **options)
    optimiser = make_optimiser(net, "adam", lr=0.01, momentum=0.9, weight_decay=0.0)
    return Training(net, made, batch_for(made, kind), optimiser, Schedule(lr=0.01, iterations=100))


def with_graphs(training):
    rerun = Rerun(list(training.learner.parameters()))
    streams = training.batch.streams
    training.graphs = True
    training.__dict__["_step_graphs"] = StepGraphs(
        training._step_graphs._compute,
        rerun.parameters,
        [streams.tasks, streams.partners, streams.noise],
        record=rerun,
    )
    return rerun


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr("datg.trial.cuda_graphs.Recorder", lambda: type("None", (), {"record": None}))


@pytest.mark.matrix
@pytest.mark.parametrize(("strategy", "learner", "kind"), AHEAD)
def test_steps_by_graphs_are_the_steps_without(strategy, learner, kind):
    plain, replayed = (training_of(strategy, learner, kind) for _ in range(2))
    rerun = with_graphs(replayed)
    for iterations in (12, 20):
        plain.advance(iterations)
        replayed.advance(iterations)
        assert plain.mean_losses() == pytest.approx(replayed.mean_losses(), rel=1e-6)
    assert rerun.replayed >= rerun.recorded > 0
    for ours, theirs in zip(plain.learner.parameters(), replayed.learner.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    states = [training.batch.streams.state() for training in (plain, replayed)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("options", [{"mixer": "cutmix"}, {"p_mix": 0.5}, {"mmd_gradient": "both"}])
def test_with_what_else_is_drawn_they_are_the_same(options):
    plain, replayed = (training_of("datg", "protonet", "pictures", **options) for _ in range(2))
    rerun = with_graphs(replayed)
    plain.advance(15)
    replayed.advance(15)
    assert rerun.replayed and plain.mean_losses() == pytest.approx(replayed.mean_losses(), rel=1e-6)


@pytest.mark.parametrize(("strategy", "learner", "kind"), [t for t in TRIPLES if t not in AHEAD and t[2] == "pictures"])
def test_what_draws_along_the_way_goes_without(strategy, learner, kind):
    training = training_of(strategy, learner, kind)
    rerun = with_graphs(training)
    training.advance(2)
    assert rerun.recorded == 0


@pytest.mark.parametrize(("strategy", "learner", "kind"), [t for t in AHEAD if t[2] == "pictures"])
def test_a_batch_whose_draws_were_made_draws_nothing_on_the_host(strategy, learner, kind):
    training = training_of(strategy, learner, kind)
    made, batch = training.strategy, training.batch
    drawn = made.draw_on_host(training.learner, batch)
    before = batch.streams.mixing.bit_generator.state
    made.losses(training.learner, replace(batch, drawn=drawn))
    assert batch.streams.mixing.bit_generator.state == before


def test_structures_are_met_twice_before_they_are_recorded():
    training = training_of("datg", "protonet", "pictures")
    rerun = with_graphs(training)
    training.advance(8)
    met = training._step_graphs._met
    assert rerun.recorded <= len(met) and rerun.replayed == 8 - len(met)
    assert all(len(structure) == training.batch.size for structure in met)
