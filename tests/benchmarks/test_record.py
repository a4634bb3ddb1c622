import json
from pathlib import Path

import pytest

from benchmarks.record import BEGIN, END, main, table

CPU = {
    "machine": {"processor": "one", "matrix product": {"float32": 90, "bf16": 392}},
    "figures": [
        {"name": "training x float32", "milliseconds": 1234.5, "ratio": 2.123, "low": 2, "high": 3, "textbook_milliseconds": 1},
        {"name": "strategy x", "milliseconds": 1.0, "ratio": 1.0, "low": 1.0, "high": 1.0, "textbook_milliseconds": None},
    ],
}  # fmt: skip
GPU = {
    "machine": [{"device": "two"}],
    "speed": [
        {"learner": "maml", "strategy": "datg", "how": "by kernels", "ms an iteration": 60.98},
        {"learner": "maml", "strategy": "datg", "how": "graphs", "ms an iteration": 9.04},
        {"learner": "maml", "strategy": "datg", "how": "compiled", "failed": "it hangs"},
    ],
    "evaluation": [{"learner": "maml", "tasks": 20_000, "s": 5.7}],
}


@pytest.fixture
def results(tmp_path):
    for name, found in {"cpu": CPU, "gpu": GPU, "growth-cpu": {"points": []}}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(found))
    return tmp_path


def test_every_kind_of_processor_has_a_column(results):
    assert table(results).splitlines() == [
        "* `cpu`: processor: one, matrix product: 90 in float32 and 392 in bf16",
        "* `gpu`: device: two",
        "",
        "| | `cpu` | `gpu` |",
        "|---|---|---|",
        "| evaluation maml 1-shot |  | 0.285 ms |",
        "| training maml datg 1-shot bf16 |  | 9.04 ms (graphs) |",
        "| training x float32 | 1,234 ms, 2.12 (2 to 3) |  |",
    ]


def test_the_page_has_what_was_measured():
    page = Path(__file__).parents[2] / "docs" / "performance.md"
    assert table() in page.read_text(encoding="utf-8"), "python -m benchmarks.record docs/performance.md"


def test_a_page_keeps_what_stands_around_the_marks(results, tmp_path, capsys):
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    (results / "cpu.png").write_bytes(b"a picture")
    assert main([str(page)], results) == 0
    assert page.read_text() == f"before\n{BEGIN}\n{table(results)}\n{END}\nafter\n"
    assert (page.parent / "images" / "cpu.png").read_bytes() == b"a picture" and not (results / "cpu.png").exists()
    page.write_text("without marks")
    assert main([str(page)], results) == 2 and "must have the lines" in capsys.readouterr().err
    assert page.read_text() == "without marks"
