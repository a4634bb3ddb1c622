"""The report as a reader sees it, on a wide and on a narrow screen."""

import pytest

from datg.report.page.write import write_report
from tests.report.browser import look_at, needs_browser
from tests.report.scripted import write_search
from tests.search.conftest import settings_for
from tests.search.reproduction.scripted import wanted, write_reproduction_folder

pytestmark = [pytest.mark.slow, needs_browser]
SIXTY = ["finished"] * 28 + ["pruned"] * 28 + ["collapsed", "diverged", "failed", "finished"]


@pytest.fixture(scope="module")
def page(glyphs, data_root, tmp_path_factory):
    place = tmp_path_factory.mktemp("runs")
    write_search(place / "sixty", settings_for(glyphs, data_root), SIXTY)
    return write_report(place, ["sixty"])


@pytest.mark.parametrize("width", [1280, 500])  # Chromium's narrowest window
def test_every_figure_is_drawn_and_nothing_is_asked_for_or_complained_of(page, width, tmp_path):
    found = look_at(page, tmp_path, width=width)
    assert found["faults"] == [] and found["console"] == [] and found["outside"] == []
    assert found["drawn"] == found["figures"] > 10
    assert found["width"] <= found["window"], "nothing but a table needs to be scrolled sideways"
    assert found["sorted"] == [str(number) for number in range(60)]
    assert found["load"] < 2000 and page.stat().st_size < 8_000_000


def test_a_reproduction_is_drawn_on_a_narrow_screen(data_root, tmp_path):
    what = wanted("table1", "figure4a", "figure4b")
    accuracy = lambda unit, strategy, seed: 0.4 + 0.01 * len(strategy) + 0.001 * seed  # noqa: E731
    results = write_reproduction_folder(tmp_path / "runs" / "paper", data_root, what, accuracy)
    page = write_report(tmp_path / "runs", ["paper"])
    assert page == results.folder.report
    found = look_at(page, tmp_path, width=500)
    assert found["faults"] == [] and found["console"] == [] and found["outside"] == []
    assert found["drawn"] == found["figures"] == 2
    assert found["width"] <= found["window"]
