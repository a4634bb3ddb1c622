import pytest

from benchmarks.scaling import REPORTS, TRIALS, broadcast, large_search, made, plot, predict, simulate, throughput


def test_gpus_bound_a_search_whose_driver_has_time_and_the_driver_one_whose_gpus_have():
    assert throughput(10, 100.0, 0.01) == pytest.approx(0.1, rel=0.01)
    assert throughput(1000, 1.0, 0.01) == pytest.approx(100.0, rel=0.01)
    assert throughput(1, 1.0, 1.0) == pytest.approx(0.5)


def test_trials_come_in_waves():
    one = predict(gpus=8, trials=8, steps=5, interval=10.0, driver=1e-6)
    assert one == pytest.approx(50.0, rel=1e-3)
    assert predict(gpus=8, trials=17, steps=5, interval=10.0, driver=1e-6) == pytest.approx(150.0, rel=1e-3)


def test_what_is_sent_on_by_all_that_have_it_doubles():
    assert broadcast(1, 10**9) == 0.0
    assert broadcast(32, 10**9) == pytest.approx(5 * broadcast(2, 10**9))


def test_a_large_search_is_bounded_by_its_gpus_or_by_its_driver():
    for gpus in (8, 256):
        whole, least = large_search(30, gpus, 1e-6, 1e-6)
        assert least == pytest.approx(TRIALS * 30 * 60 / gpus) and least < whole < 1.05 * least
    whole, least = large_search(1, 1024, 0.01, 0.0)
    assert least < TRIALS * REPORTS * 0.01 < whole


def test_its_extrapolation_is_drawn(tmp_path):
    plot(0.002, 0.005, tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(("gpus", "interval"), [(16, 20.0), (64, 0.01)])
def test_the_model_foretells_a_simulated_search(glyphs, data_root, tmp_path, monkeypatch, gpus, interval):
    monkeypatch.chdir(tmp_path)
    trials, steps = 40, 3
    with made(glyphs, data_root, trials=trials, steps=steps) as driver:
        found = simulate(driver, gpus=gpus, steps=steps, interval=interval)
        assert len(driver.ended) == trials and found.reports == trials * steps
    model = predict(gpus=gpus, trials=trials, steps=steps, interval=interval, driver=found.driver)
    assert found.wall == pytest.approx(model, rel=0.25)
