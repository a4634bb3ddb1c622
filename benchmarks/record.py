"""What was measured on every kind of processor, as one table with a column for each.

python -m benchmarks.run --dataset dermnet --output benchmarks/results    # on each kind of processor: a file of its own
python -m benchmarks.gpu_check --output benchmarks/results                # on each kind of GPU
python -m benchmarks.record docs/performance.md                           # puts the table there, and pictures beside it
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")
BEGIN, END = "<!-- record: begin -->", "<!-- record: end -->"
SHOWN = ("training", "evaluation")  # first words of the figures that are compared with the textbook

Cells = dict[str, str]


def table(folder: Path = RESULTS) -> str:
    """Return the machines and the table, in Markdown."""
    machines, columns = list[str](), dict[str, Cells]()
    for path in sorted(folder.glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        read = _of_a_cpu if "figures" in found else _of_a_gpu if "speed" in found else None
        if read is None:
            continue
        machine = found["machine"] if isinstance(found["machine"], dict) else found["machine"][0]
        columns[path.stem] = read(found)
        machines.append(f"* `{path.stem}`: {_listed(machine)}")
    names = list(dict.fromkeys(name for cells in columns.values() for name in cells))
    lines = ["| | " + " | ".join(f"`{kind}`" for kind in columns) + " |", "|---|" + "---|" * len(columns)]
    lines += [
        "| " + " | ".join([name, *(cells.get(name, "") for cells in columns.values())]) + " |" for name in sorted(names)
    ]
    return "\n".join([*machines, "", *lines])


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(
        f"{name}: {' and '.join(f'{v} in {k}' for k, v in value.items()) if isinstance(value, dict) else value}"
        for name, value in values.items()
    )


def _number(value: float) -> str:
    """Return three digits of a number, more where it has more before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _of_a_cpu(found: dict[str, Any]) -> Cells:
    """Return the figures that were compared with the textbook, by name."""
    parts = ("milliseconds", "ratio", "low", "high")
    return {
        figure["name"]: "{} ms, {} ({} to {})".format(*(_number(figure[part]) for part in parts))
        for figure in found["figures"]
        if figure["name"].startswith(SHOWN) and figure["textbook_milliseconds"] is not None
    }


def _of_a_gpu(found: dict[str, Any]) -> Cells:
    """Return the same names, for each the fastest way of computing it; there is no textbook beside it."""
    cells, fastest = Cells(), dict[str, float]()
    for row in found["speed"]:
        name = f"training {row['learner']} {row['strategy']} 1-shot bf16"
        if "ms an iteration" in row and row["ms an iteration"] < fastest.get(name, float("inf")):
            fastest[name] = row["ms an iteration"]
            cells[name] = f"{_number(fastest[name])} ms ({row['how']})"
    for row in found.get("evaluation", []):
        cells[f"evaluation {row['learner']} 1-shot"] = f"{_number(1000 * row['s'] / row['tasks'])} ms"
    return cells


def main(arguments: list[str] | None = None, results: Path = RESULTS) -> int:
    """Print the table, or write it into a page and move the pictures of ``results`` beside it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, nargs="?", help="a Markdown file with both marks")
    page = parser.parse_args(arguments).page
    if page is None:
        print(table(results))
        return 0
    text = page.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        print(f"{page} must have the lines {BEGIN} and {END}, between which the table goes.", file=sys.stderr)
        return 2
    before, _, rest = text.partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    pictures = page.parent / "images"
    pictures.mkdir(exist_ok=True)
    for picture in results.glob("*.png"):  # of measurements since the last time
        shutil.move(picture, pictures / picture.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
