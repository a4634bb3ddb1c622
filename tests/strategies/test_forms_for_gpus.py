"""Where few large kernels are better, all is computed together: the same losses and gradients as part by part."""

import pytest
import torch

from tests.strategies.test_contract import TRIPLES, batch_for, built, losses_and_gradients

PLACES = ("datg.backbones.batch_norm", "datg.generation.mixup", "datg.learners.inner_loop")


@pytest.mark.matrix
@pytest.mark.parametrize(("strategy", "learner", "kind"), TRIPLES)
def test_together_is_what_it_is_part_by_part(strategy, learner, kind, monkeypatch):
    found = []
    for together in (False, True):
        for place in PLACES:
            monkeypatch.setattr(f"{place}.wants_few_kernels", lambda values, answer=together: answer)
        made, net = built(strategy, learner, kind, dropout=0.0)  # noise would be drawn in another order
        found.append(losses_and_gradients(made, net, batch_for(made, kind, seed=3)))
    (parts, gradients), (all_together, same) = found
    torch.testing.assert_close(parts.total, all_together.total, rtol=1e-4, atol=1e-5)
    for one, other in zip(gradients, same, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-3, atol=2e-4)
