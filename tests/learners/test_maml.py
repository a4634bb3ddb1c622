import itertools

import pytest
import torch
from torch import Tensor
from torch.nn.functional import batch_norm, conv2d, cross_entropy, max_pool2d, relu

from datg.learners.maml import Maml
from datg.runtime.random_streams import generator
from tests.conftest import learner_of


def make_learner(name: str, **options):
    return learner_of(name, **options).double()


def make_maml(**options):
    return make_learner("maml", **options)


def make_examples(tasks: int = 2, ways: int = 3, number: int = 5) -> Tensor:
    return torch.rand(tasks, ways, number, 3, 16, 16, dtype=torch.float64, generator=generator(1, "examples"))


def plain_block(x: Tensor, parameters: list[Tensor]) -> Tensor:
    """The block as the paper writes it: convolution, batch normalisation, ReLU, pooling."""
    weight, bias, gamma, beta = parameters
    return max_pool2d(relu(batch_norm(conv2d(x, weight, bias, padding=1), None, None, gamma, beta, True)), 2)


def parameters_of(block) -> list[Tensor]:
    return [block.affine.weight, block.affine.bias, block.norm.weight, block.norm.bias]


def plain_maml(learner: Maml, examples: Tensor, shots: int, steps: int, *, first_order: bool) -> list[Tensor]:
    """The textbook: one task after another, autograd through the inner loop."""
    outputs = []
    for task in examples:
        ways = len(task)
        support, query = task[:, :shots].flatten(0, 1), task[:, shots:].flatten(0, 1)
        labels = torch.arange(ways).repeat_interleave(shots)
        for block in learner.backbone.blocks[: learner.last_shared]:
            support, query = plain_block(support, parameters_of(block)), plain_block(query, parameters_of(block))
        adapted = learner.backbone.blocks[learner.last_shared :]
        fast = [value for block in adapted for value in parameters_of(block)] + [*learner.head.parameters()]

        def logits(x: Tensor, fast: list[Tensor]) -> Tensor:
            for start in range(0, len(fast) - 2, 4):
                x = plain_block(x, fast[start : start + 4])
            return x.flatten(1) @ fast[-2].T + fast[-1]

        for _ in range(steps):
            loss = cross_entropy(logits(support, fast), labels)
            gradients = torch.autograd.grad(loss, fast, create_graph=not first_order)
            fast = [value - learner.inner.inner_lr * gradient for value, gradient in zip(fast, gradients, strict=True)]
        outputs.append(logits(query, fast))
    return outputs


def outer_loss(logits: Tensor, ways: int = 3) -> Tensor:
    labels = torch.arange(ways).repeat_interleave(logits.shape[1] // ways).repeat(len(logits))
    return cross_entropy(logits.flatten(0, 1), labels)


def batched_logits(learner: Maml, examples: Tensor, shots: int) -> Tensor:
    encoded = learner.encode(examples, shots, 0, learner.last_shared)
    return learner.classify(encoded, shots)


@pytest.mark.parametrize(
    ("name", "shots", "steps", "first_order"), list(itertools.product(("maml", "anil"), (1, 2), (1, 3), (False, True)))
)
def test_all_tasks_at_once_equal_a_loop_over_tasks_in_value_and_gradient(name, shots, steps, first_order):
    learner = make_learner(name, inner_lr=0.4, inner_steps=steps, first_order=first_order)
    examples = make_examples()
    logits = batched_logits(learner, examples, shots)
    expected = torch.stack(plain_maml(learner, examples, shots, steps, first_order=first_order))
    torch.testing.assert_close(logits, expected)
    parameters = list(learner.parameters())
    ours = torch.autograd.grad(outer_loss(logits), parameters)
    theirs = torch.autograd.grad(outer_loss(expected), parameters)
    torch.testing.assert_close(ours, theirs)


def test_second_order_gradient_agrees_with_finite_differences():
    learner = make_maml(filters=2, inner_lr=0.3, inner_steps=2)
    examples = make_examples(tasks=1, number=3)
    parameters = list(learner.parameters())
    gradients = torch.autograd.grad(outer_loss(batched_logits(learner, examples, 1)), parameters)
    step = 1e-6
    for parameter, gradient in zip(parameters, gradients, strict=True):
        direction = torch.randn(parameter.shape, dtype=torch.float64, generator=generator(2, "direction"))
        values = []
        with torch.no_grad():
            for sign in (1, -1):
                parameter += sign * step * direction
                values.append(outer_loss(batched_logits(learner, examples, 1)))
                parameter -= sign * step * direction
        numeric = (values[0] - values[1]) / (2 * step)
        torch.testing.assert_close((gradient * direction).sum(), numeric, rtol=1e-4, atol=1e-7)


def test_first_order_gives_the_same_loss_and_another_gradient():
    examples = make_examples()
    results = []
    for first_order in (False, True):
        learner = make_maml(inner_lr=0.4, first_order=first_order)
        loss = outer_loss(batched_logits(learner, examples, 1))
        results.append((loss, torch.autograd.grad(loss, learner.head.weight)[0]))
    torch.testing.assert_close(results[0][0], results[1][0])
    assert not torch.allclose(results[0][1], results[1][1], rtol=1e-3)


def test_the_inner_loop_leaves_the_meta_parameters_alone():
    learner = make_maml()
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    learner.predict(make_examples(), 1)
    for name, value in learner.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_anil_adapts_the_head_alone():
    learner = make_learner("anil")
    assert set(learner.adapted_parameters()) == {"head.weight", "head.bias"}
    assert learner.last_shared == learner.backbone.depth == 4
    assert set(make_maml().adapted_parameters()) == {
        "head.weight",
        "head.bias",
        *(f"backbone.blocks.3.{name}" for name in ("affine.weight", "affine.bias", "norm.weight", "norm.bias")),
    }


@pytest.mark.parametrize("steps", [1, 3])
def test_reptile_steps_towards_where_plain_training_leads(steps):
    lr, examples = 0.2, make_examples()
    learner = make_learner("reptile", inner_lr=lr, inner_steps=steps)
    loss = outer_loss(batched_logits(learner, examples, 1))
    ours = torch.autograd.grad(loss, list(learner.parameters()))

    names = [name for name, _ in learner.named_parameters()]
    ways, values = torch.zeros(()), []
    expected = [torch.zeros_like(value) for value in learner.parameters()]
    for task in examples:
        ways = len(task)
        sets = [(task[:, :1], 1)] * steps + [(task[:, 1:], task.shape[1] - 1)]
        phi = {name: value.detach().clone().requires_grad_() for name, value in learner.named_parameters()}
        for examples_of_step, number in sets:
            labels = torch.arange(ways).repeat_interleave(number)
            x = examples_of_step.flatten(0, 1)
            for index in range(4):
                parts = ("affine.weight", "affine.bias", "norm.weight", "norm.bias")
                x = plain_block(x, [phi[f"backbone.blocks.{index}.{part}"] for part in parts])
            task_loss = cross_entropy(x.flatten(1) @ phi["head.weight"].T + phi["head.bias"], labels)
            gradients = torch.autograd.grad(task_loss, list(phi.values()))
            phi = {
                name: (value - lr * gradient).detach().requires_grad_()
                for (name, value), gradient in zip(phi.items(), gradients, strict=True)
            }
        values.append(task_loss.detach())  # of the last step: the queries
        for index, name in enumerate(names):
            expected[index] += (learner.get_parameter(name).detach() - phi[name].detach()) / lr / len(examples)
    torch.testing.assert_close(loss.detach(), torch.stack(values).mean())
    torch.testing.assert_close(list(ours), expected)


def test_evaluation_takes_its_own_number_of_steps():
    examples = make_examples()
    learner = make_maml(inner_steps=1, inner_steps_test=3, inner_lr=0.4)
    expected = torch.stack(plain_maml(learner, examples, 1, 3, first_order=True))
    with torch.inference_mode():
        torch.testing.assert_close(learner.predict(examples, 1), expected)


def test_an_mmd_on_shared_layers_has_no_gradient_to_the_adapted_parameters():
    learner = make_maml()
    shared = learner.encode(make_examples(), 1, 0, learner.last_shared)
    loss = shared.square().mean()
    gradients = torch.autograd.grad(
        loss, [*learner.backbone.blocks[-1].parameters(), *learner.head.parameters()], allow_unused=True
    )
    assert all(gradient is None for gradient in gradients)
