"""Fenced blocks and commands of the README and the documentation."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN = ("console", "python")  # languages of what a reader runs
FENCE = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]+) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
COMMAND = re.compile(r"(?:python launchers/(?P<launcher>\w+)\.py|(?<![\w/-])datg(?= )) ?(?P<rest>.*)")


@dataclass(frozen=True)
class Fence:
    """A fenced block; ``reason`` says why it cannot be run here, empty if it can."""

    page: Path
    language: str
    text: str
    reason: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {self.text.splitlines()[0][:50]}"


def fences() -> list[Fence]:
    """Return every fenced block that a reader would run."""
    return [
        Fence(page, found["language"], found["text"], found["reason"] or "")
        for page in PAGES
        for found in FENCE.finditer(page.read_text())
        if found["language"] in RUN
    ]


def commands() -> list[tuple[str, str, list[str]]]:
    """Return page, command and arguments of every command of ours, wherever it stands."""
    found = []
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        texts = [line for line in text.splitlines() if re.match(r" *(?:datg|python launchers/)", line)]
        texts += re.findall(r"`((?:datg|python launchers/)[^`]+)`", text)
        for line in texts:
            called = COMMAND.match(line.strip())
            if called is None:
                continue
            words = shlex.split(called["rest"], comments=True)
            name = called["launcher"] or (words.pop(0) if words else "")
            found.append((str(page.relative_to(ROOT)), name, words))
    return found
