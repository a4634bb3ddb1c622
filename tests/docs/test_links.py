"""Links of files at the root lead somewhere (those inside the site are followed by `make docs`), outside ones are whole."""

import re
from urllib.parse import urlsplit

import pytest

from tests.docs.fences import PAGES, ROOT

# Pages of the site that are made from the code and from files at the root (docs/hooks.py).
MADE = {
    "index.md", "changelog.md", "contributing.md", "reference/commands.md", "reference/configuration.md",
    "reference/search_spaces.md", "reference/exit_codes.md", "reference/strategies/index.md",
}  # fmt: skip
LINK = re.compile(r"\]\(([^)\s]+)\)")


def links():
    return [(page, target) for page in PAGES for target in LINK.findall(page.read_text())]


@pytest.mark.parametrize(("page", "target"), links(), ids=str)
def test_a_link_leads_somewhere(page, target):
    if "://" in target:
        parts = urlsplit(target)
        assert parts.scheme == "https" and "." in parts.netloc, target
        return
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    made = file.is_relative_to(ROOT / "docs") and str(file.relative_to(ROOT / "docs")) in MADE
    assert file.exists() or made, f"{page.relative_to(ROOT)} links {target}"
    if anchor and file.exists():
        heads = [
            re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-")
            for head in re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
        ]
        assert anchor in heads, f"{page.relative_to(ROOT)} links {target}; there is {heads}"
