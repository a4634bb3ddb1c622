"""`datg reproduce` as a user types it."""

import json
import signal

import pytest
import yaml

from datg.search.state.folder import SearchFolder
from tests.cli.test_commands import run
from tests.faults.searches import Place, steps, until

SMALL = ["--datasets", "glyphs", "--learners", "protonet", "--shots", "1", "--strategies", "vanilla,datg", "--seeds", 2]
SMALL += [
    "--set",
    "backbone.filters=4",
    "--set",
    "evaluation.validation_tasks=50",
    "--final-episodes",
    100,
    "--no-report",
]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "say what to reproduce: some of table1, table2, table3, figure4a, figure4b, or all"),
        (["table9", "--datasets", "glyphs"], "`table9` is not a known table or figure"),
        (
            ["table1", "--datasets", "glyphs", "--learners", "anil"],
            "`anil` is not a known learner of the paper's tables",
        ),
        (["table1", "--datasets", "isic"], "data set `isic` is not in"),
        (["table1", "--datasets", "glyphs", "--shots", "1,none"], "`--shots` must list numbers above 0"),
        (
            ["table1", "--datasets", "glyphs", "--set", "strategy.foo=1"],
            "no row of this reproduction has it: `strategy.foo`",
        ),
        (["table1", "--datasets", "glyphs", "--tune-strategies", "datg"], "give --tune N, too"),
        (
            ["table1", "--datasets", "glyphs", "--set", "base_classes=9"],
            "`base_classes` is what a table or figure is about",
        ),
        (
            ["table1", "--datasets", "glyphs", "--name", "paper-"],
            "cannot be called paper--glyphs-protonet-1shot: give another",
        ),
        (["all", "table9", "--datasets", "glyphs"], "`table9` is not a known table or figure"),
        (["--resume", "nothing"], "`nothing` is no reproduction in"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_sentence(arguments, said, tmp_path, data_root):
    done = run("reproduce", *arguments, cwd=tmp_path, data_root=data_root, code=2)
    assert said in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.glob("runs/*")), "nothing has begun"


def test_none_of_the_papers_data_sets_at_hand_is_said_with_two_ways_out(tmp_path):
    done = run("reproduce", "all", cwd=tmp_path, data_root=tmp_path / "data", code=2)
    assert "none of the paper's data sets (mini_imagenet, isic, dermnet, tabula_muris) is in" in done.stderr
    assert "python launchers/import_data.py NAME" in done.stderr and "--datasets glyphs" in done.stderr


@pytest.mark.slow
def test_a_dry_run_tells_the_bill_and_runs_nothing(tmp_path, data_root):
    what = ["figure4b", "table1", *SMALL[:-1], *steps(40, 10)]
    done = run("reproduce", *what, "--dry-run", cwd=tmp_path, data_root=data_root)
    for suffix in ("glyphs-protonet-1shot", "glyphs-protonet-1shot-10classes"):
        assert suffix in done.stderr
    assert done.stdout.startswith("20 trainings, ") and "one after the other" in done.stdout
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.fault
def test_a_reproduction_that_was_stopped_goes_on_and_ends_with_everything(tmp_path, data_root):
    place = Place(tmp_path, data_root)
    try:
        what = ["table1", "figure4a", "figure4b", *SMALL, *steps(60, 20), "--name", "paper"]
        process = place.start("reproduce", *what)
        until(lambda: list(tmp_path.glob("runs/paper-glyphs-protonet-1shot/trials/*/last.safetensors")))
        process.send_signal(signal.SIGTERM)
        place.wait(process, 75)
        assert "go on with: python launchers/reproduce.py --resume paper" in place.said(process)
        other = place.run("reproduce", *what, "--tune", 3, code=2)
        assert "--tune: nothing -> 3" in other
        place.run("reproduce", "--resume", "paper", "--seeds", 5, code=2)
        stopped = place.run("reproduce", "--resume", "paper", "--no-report", "--time-budget", 0, code=75)
        assert "go on with: python launchers/reproduce.py --resume paper" in stopped
        process = place.start("reproduce", "--resume", "paper", "--no-report")
        until(lambda: list(tmp_path.glob("runs/paper-glyphs-protonet-1shot-32classes/trials/*/last.safetensors")))
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        said = place.run("reproduce", *what, timeout=500)
    finally:
        place.end_all()
    assert "datg is ahead of vanilla (glyphs, protonet, 1-shot)" in said and "tables and figures: " in said
    folder = SearchFolder(tmp_path / "runs" / "paper")
    units = yaml.safe_load((folder.path / "reproduction.yaml").read_text())["units"]
    assert [unit["base_classes"] for unit in units] == [None, 32, 24, 16, 10]
    for form in ("table1.md", "table1.tex", "table1.csv", "figure4a.png", "figure4b.png", "seeds.csv", "results.md"):
        assert (folder.path / form).stat().st_size > 0
    assert len((folder.path / "seeds.csv").read_text().splitlines()) == 1 + 5 * 4
    assert len((folder.path / "figure4a.csv").read_text().splitlines()) == 1 + 2 * 3 * 3
    elsewhere = tmp_path / "elsewhere"  # the project was moved, its data too
    elsewhere.mkdir()
    (tmp_path / "runs").rename(elsewhere / "runs")
    there = ["--resume", elsewhere / "runs" / "paper", "--data-root", data_root]
    done = run("reproduce", *there, "--json", "--no-report", cwd=tmp_path, data_root=tmp_path / "gone")
    (elsewhere / "runs").rename(tmp_path / "runs")
    told = json.loads(done.stdout)
    assert [row["seeds"] for row in told["tables"]["table1"]] == [2, 2]
    assert len({claim["claim"] for claim in told["claims"]}) == 1 + 3 + 3
    page = run("report", "paper", cwd=tmp_path, data_root=data_root).stdout
    assert page.strip() == str(folder.report) and folder.report.stat().st_size > 0


@pytest.mark.slow
@pytest.mark.fault
def test_a_comparison_that_gave_up_keeps_no_other_from_running_and_is_named(tmp_path, data_root):
    what = ["table1", *SMALL, *steps(20, 10), "--shots", "1,5", "--set", "training.lr=1e30", "--name", "paper"]
    done = run("reproduce", *what, cwd=tmp_path, data_root=data_root, code=3)
    assert "comparison 2 of 2: glyphs-protonet-5shot" in done.stderr
    left = "not done: glyphs-protonet-1shot, glyphs-protonet-5shot; go on with: python launchers/reproduce.py --resume paper"
    assert left in done.stderr.replace("\n", " ")
    table = (tmp_path / "runs" / "paper" / "table1.md").read_text()
    assert "diverged" in table and "1 of 2 seeds to go" in table
