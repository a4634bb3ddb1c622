"""Pages that MkDocs makes: of the code (commands, configuration keys, strategies, ...), and of files at the project's root."""

import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from griffe import Docstring, DocstringSectionAttributes
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import TypeAdapter
from typer.testing import CliRunner

from datg.backbones import BACKBONES
from datg.cli.main import COMMANDS, application
from datg.data import search_spaces
from datg.data.splits import TaskSize
from datg.learners import LEARNERS
from datg.runtime.exit_codes import ExitCode
from datg.search.study import PRUNERS, SAMPLERS
from datg.strategies import STRATEGIES
from datg.trial.config import PRESETS, EvaluationSection, TrainingSection, TrialConfig

ROOT = Path(__file__).parent.parent
ROOT_PAGES = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
STRATEGY_PAGES = "reference/strategies/"
SPHINX_ROLE = re.compile(r":\w+:`~?(?:[\w.]*\.)?(\w+)`")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put a page for every strategy into the navigation, where its folder is named."""
    pages = [f"{STRATEGY_PAGES}index.md", *(f"{STRATEGY_PAGES}{name}.md" for name in STRATEGIES)]
    for section in config.nav or []:
        for entry in next(iter(section.values())):
            if isinstance(entry, dict) and STRATEGY_PAGES in entry.values():
                entry[next(iter(entry))] = pages
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the code."""
    for path, lines in pages():
        files.append(File.generated(config, path, content="\n".join(lines) + "\n"))
    for page, path in ROOT_PAGES.items():
        files.append(File.generated(config, page, content=_from_root((ROOT / path).read_text(encoding="utf-8"))))
    return files


def _from_root(text: str) -> str:
    """Return a file of the root with links as they are below `docs/`; what is not part of the site is no link there."""
    moved_pages = {path: page for page, path in ROOT_PAGES.items()}

    def moved(link: re.Match[str]) -> str:
        words, target = link.groups()
        inside = moved_pages.get(target, target.removeprefix("docs/"))
        return f"[{words}]({inside})" if "://" in target or inside != target else words

    return re.sub(r"\[([^]]*)\]\(([^)]+)\)", moved, text)


def pages() -> Iterator[tuple[str, Iterable[str]]]:
    """Return the path and the lines of every page that is made from the code."""
    yield "reference/commands.md", _commands()
    yield "reference/configuration.md", _configuration()
    yield "reference/search_spaces.md", _search_spaces()
    yield "reference/exit_codes.md", _exit_codes()
    yield f"{STRATEGY_PAGES}index.md", _strategies()
    for name in STRATEGIES:
        yield f"{STRATEGY_PAGES}{name}.md", _strategy(name)


def _commands() -> Iterator[str]:
    yield "# Commands"
    yield "\n`datg COMMAND` and, in a checkout, `python launchers/COMMAND.py` are the same. What `--help` says:"
    app, runner = application(), CliRunner()
    for name in COMMANDS:
        told = runner.invoke(app, [name, "--help"], prog_name="datg", env={"COLUMNS": "100", "TERMINAL_WIDTH": "100"})
        yield f"\n## {name}\n\n```text\n{told.output.strip()}\n```"


def _configuration() -> Iterator[str]:
    yield "# Configuration"
    yield (
        "\nEvery key of a trial, as `--set KEY=VALUE`, in a YAML file and in `config.yaml` of its folder. A later layer wins: "
        "default < preset < YAML < environment < `--set` < flag; `--dry-run` shows every value and where it came from."
    )
    yield "\n## dataset, seed\n"
    yield from _table(_rows(TrialConfig, only=("dataset", "base_classes", "seed")))
    for title, made_from in (("task", TaskSize), ("training", TrainingSection), ("evaluation", EvaluationSection)):
        yield f"\n## {title}\n\n{_first_line(made_from)}\n"
        yield from _table(_rows(made_from, f"{title}."))
    yield "\nThe presets of `training.preset`:\n"
    yield from _markdown_table(
        ("preset", *next(iter(PRESETS.values()))),
        [(name, *map(str, values.values())) for name, values in PRESETS.items()],
    )
    for title, table in (("backbone", BACKBONES), ("learner", LEARNERS)):
        for name, thing in table.items():
            yield f"\n## {title}.name={name}\n\n{_first_line(inspect.getmodule(thing))}\n"
            yield from _table(_rows(thing.options, f"{title}."))
    yield "\n## strategy\n\nEach strategy has [a page of its own](strategies/index.md).\n"
    yield "\n## search\n"
    yield from _markdown_table(
        ("key", "what it is"),
        [
            ("`search.trials`", "how many trials there will be"),
            ("`search.sampler`", f"{', '.join(SAMPLERS)}: suggests configurations"),
            ("`search.pruner`", f"{', '.join(PRUNERS)}: ends unpromising trials"),
            ("`search.seed`", "of the sampler"),
        ],
    )


def _search_spaces() -> Iterator[str]:
    yield "# Search spaces"
    yield (
        "\nOne YAML file a data set holds fixed values, the search and, under `space`, ranges that replace those of the "
        "strategy or add to them. "
        "A range is `{float: [a, b]}`, `{log: [a, b]}`, `{int: [a, b]}` or `{choice: [...]}`. A data set of your own takes "
        "`generic_images.yaml` or `generic_cells.yaml`; `--space FILE` names another."
    )
    for path in sorted(search_spaces().glob("*.yaml")):
        yield f"\n## {path.name}\n\n```yaml\n{path.read_text(encoding='utf-8').strip()}\n```"


def _exit_codes() -> Iterator[str]:
    yield "# Exit codes\n"
    told = dict(re.findall(r"^    (\w+) = \d+(?:  # (.*))?$", inspect.getsource(ExitCode), re.MULTILINE))
    yield from _markdown_table(
        ("code", "name", "what it means"),
        [(str(int(code)), code.name.lower(), told[code.name] or "") for code in ExitCode],
    )


def _strategies() -> Iterator[str]:
    yield "# Strategies\n"
    yield "A strategy is a row of the paper's Table 1 or 3: how training tasks are made, and what is added to the loss.\n"
    rows = []
    for name, strategy in STRATEGIES.items():
        taken = ", ".join(learner for learner in LEARNERS if learner not in strategy.refused_learners)
        rows.append((f"[{name}]({name}.md)", _first_line(inspect.getmodule(strategy)), taken))
    yield from _markdown_table(("`strategy.name`", "what it is", "learners"), rows)


def _strategy(name: str) -> Iterator[str]:
    strategy = STRATEGIES[name]
    yield f"# {name}\n\n{_prose(inspect.getmodule(strategy))}\n\n{_prose(strategy)}\n\n## Hyperparameters\n"
    ranges = strategy().ranges()
    searched = {key: _range(value) for key, value in ranges.items()}
    rows = _rows(strategy, "strategy.")
    if rows:
        yield from _table(rows, searched)
    else:
        yield "It has none."
    if others := {key: value for key, value in searched.items() if key not in {row[0] for row in rows}}:
        yield "\nA search of it varies " + ", ".join(f"`{key}` ({value})" for key, value in others.items()) + "."
    yield "\n## Learners\n"
    yield "\n".join(
        f"- {learner}{': refused, because ' + strategy.refused_learners[learner] if learner in strategy.refused_learners else ''}"
        for learner in LEARNERS
    )
    for settings in strategy.vanilla_settings:
        yield "\nIt is Vanilla with " + ", ".join(f"`strategy.{key}={value}`" for key, value in settings.items()) + "."


def _range(value: dict[str, list[Any]]) -> str:
    (kind, values), *_ = value.items()
    return ", ".join(map(str, values)) if kind == "choice" else f"{kind}, {values[0]} to {values[1]}"


Row = tuple[str, str, str, str]


def _rows(made_from: Any, prefix: str = "", only: tuple[str, ...] = ()) -> list[Row]:
    """Return key, type with range, default and meaning of everything that pydantic checks in a class."""
    meanings = _attributes(made_from)
    schema = TypeAdapter(made_from).json_schema()
    definitions = schema.get("$defs", {})
    return [
        (prefix + key, _kind(told, definitions), _default(told), meanings.get(key, ""))
        for key, told in schema.get("properties", {}).items()
        if not only or key in only
    ]


def _kind(told: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "$ref" in told:
        return _kind(definitions[told["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in told:
        return " or ".join(_kind(one, definitions) for one in told["anyOf"])
    if "enum" in told:
        return ", ".join(map(str, told["enum"]))
    kind = {
        "null": "none",
        "number": "number",
        "integer": "whole number",
        "boolean": "true, false",
        "string": "text",
    }.get(told.get("type", ""), told.get("type", ""))
    if kind == "array":
        return f"list of {_kind(told.get('items', {}), definitions)}".strip()
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    return ", ".join([kind, *(f"{word} {told[bound]}" for bound, word in words.items() if bound in told)])


def _default(told: dict[str, Any]) -> str:
    if "default" not in told:
        return ""
    default = told["default"]
    return "none" if default is None else str(default).lower() if isinstance(default, bool) else str(default)


def _attributes(made_from: Any) -> dict[str, str]:
    """Return what docstrings say of the attributes of a class, its own last."""
    meanings: dict[str, str] = {}
    for one in reversed(inspect.getmro(made_from)):
        for section in Docstring(inspect.cleandoc(one.__doc__ or ""), parser="google").parse(warnings=False):
            if isinstance(section, DocstringSectionAttributes):
                meanings |= {found.name: found.description for found in section.value}
    return meanings


def _table(rows: list[Row], searched: dict[str, str] | None = None) -> Iterator[str]:
    heads = ("key", "type and range", "default", "what it is", *(() if searched is None else ("searched by default",)))
    cells = [
        (f"`{key}`", kind, default, _plain(meaning), *(() if searched is None else (searched.get(key, ""),)))
        for key, kind, default, meaning in rows
    ]
    yield from _markdown_table(heads, cells)


def _markdown_table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    heads = list(heads)
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"


def _first_line(thing: Any) -> str:
    return _plain(inspect.getdoc(thing) or "").split("\n\n")[0].split("\n")[0]


def _prose(thing: Any) -> str:
    """Return the text of a docstring, without its sections."""
    text = _plain(inspect.getdoc(thing) or "")
    return re.split(r"\n(?:Attributes|Args|Returns|Raises):\n", text)[0].strip()


def _plain(text: str) -> str:
    return SPHINX_ROLE.sub(r"`\1`", text).replace("``", "`")
