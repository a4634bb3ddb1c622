import torch

from datg.runtime.random_streams import RandomStreams, derive_seed, generator


def test_streams_depend_on_seed_and_name_and_on_nothing_else():
    assert derive_seed(0, "a") == derive_seed(0, "a")
    seeds = {derive_seed(seed, name) for seed in (0, 1) for name in ("a", "b", "a/b")}
    assert len(seeds) == 6
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert torch.equal(torch.rand(3, generator=generator(1, "x")), torch.rand(3, generator=generator(1, "x")))


def test_streams_go_on_where_they_were_saved():
    streams = RandomStreams.from_seed(3)

    def draw():
        return (
            torch.rand(2, generator=streams.tasks),
            torch.rand(2, generator=streams.partners),
            streams.mixing.random(2),
        )

    draw()
    state = streams.state()
    expected = draw()
    draw()
    streams.restore(state)
    for ours, theirs in zip(draw(), expected, strict=True):
        assert (ours == theirs).all()
