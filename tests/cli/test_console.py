import io

import pytest
from rich.console import Console

from datg.cli.console import print_rows, progress_bar, say, show_status
from datg.runtime.progress import format_duration


def printed(width, action):
    file = io.StringIO()
    action(Console(file=file, width=width, highlight=False))
    return file.getvalue()


ROWS = [
    {"trial": 0, "validation": 0.5, "validation ci95": 0.01, "strategy.alpha": 2.0, "strategy.clusters": 2},
    {"trial": 1, "validation": None, "validation ci95": None, "strategy.alpha": 0.25, "strategy.clusters": 3},
]


SENTENCE = "best by validation: trial 6, the best of ten trials, each the best of its validations"


@pytest.mark.parametrize(
    "copied",
    [
        "export: datg export first --top 3 --out configs and more of it",
        "best configuration: /home/anna/runs/first/best.yaml",
        "watch in MLflow: http://127.0.0.1:5000/#/experiments/1/runs",
    ],
)
def test_a_terminal_breaks_sentences_at_spaces_and_leaves_whole_what_may_be_copied(copied):
    file = io.StringIO()
    terminal = Console(file=file, width=40, force_terminal=True, color_system=None)
    say(terminal, f"{SENTENCE}\n{copied}")
    *sentence, last = file.getvalue().splitlines()
    assert last == copied and max(map(len, sentence)) <= 40 and " ".join(line.strip() for line in sentence) == SENTENCE


def test_a_log_has_a_line_a_sentence():
    assert printed(40, lambda out: say(out, SENTENCE)) == SENTENCE + "\n"


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_leaderboard_fits_its_terminal(width):
    lines = printed(width, lambda out: print_rows(ROWS, out)).splitlines()
    assert max(map(len, lines)) <= width
    assert "0.5000 ± 0.0100" in lines[1] and "alpha 2, clusters 2" in lines[1]
    assert "-" in lines[2] and "alpha 0.2500, clusters 3" in lines[2]


def test_a_wide_leaderboard_has_a_line_a_trial_in_each_of_two_tables():
    keys = ("clusters", "alpha", "beta", "mix_low", "mix_high", "mmd_bandwidth", "mmd_weight")
    rows = [
        {**ROWS[0], "trial": "best 12", "test": 0.25, "test ci95": 0.01, "best at": "15000/15000"}
        | {f"strategy.{key}": 0.123456 for key in keys}
        for _ in range(3)
    ]
    lines = printed(80, lambda out: print_rows(rows, out)).splitlines()
    assert len(lines) == 4 + 1 + 4 and max(map(len, lines)) <= 80
    assert sorted(lines[5].split()) == sorted(["trial", *keys]) and "…" not in "".join(lines)
    assert len(printed(200, lambda out: print_rows(rows, out)).splitlines()) == 4


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (65, "1 min 05 s"), (7500, "2 h 05 min")])
def test_durations_are_read_easily(seconds, text):
    assert format_duration(seconds) == text


def test_elsewhere_than_on_a_terminal_there_are_plain_lines(monkeypatch):
    monkeypatch.setattr("datg.cli.console.PLAIN_SECONDS", 0.0)

    def act(out):
        with progress_bar(out) as show:
            show("decoding", 3, 7)

    assert printed(80, act) == "decoding: 3 of 7\n"


def test_a_plain_line_comes_at_once_and_then_tells_rate_and_time_left(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("datg.cli.console.time.monotonic", lambda: clock[0])

    def act(out):
        with progress_bar(out) as show:
            for seconds, done in ((0, 100), (10, 150), (29, 200), (40, 300), (80, 500)):
                clock[0] = seconds
                show("seed 0", done, 1000)

    assert printed(80, act).splitlines() == [
        "seed 0: 100 of 1000",
        "seed 0: 300 of 1000, 5 a second, about 2 min 20 s left",
        "seed 0: 500 of 1000, 5 a second, about 1 min 40 s left",
    ]


def test_the_status_is_shown_while_the_work_goes_on(monkeypatch):
    import time

    monkeypatch.setattr("datg.cli.console.PLAIN_SECONDS", 0.01)

    def act(out):
        with show_status(lambda: "running 2", out):
            time.sleep(0.1)

    assert "running 2\n" in printed(80, act)
