"""Links of files at the root lead somewhere (those inside the site are followed by `make docs`), outside ones are whole."""

import re
from urllib.parse import urlsplit

import pytest

from tests.docs.fences import PAGES, ROOT

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
    file = (page.parent / path) if path else page
    made = "reference" in file.parts or file.name in ("changelog.md", "contributing.md")  # from code, or from the root
    assert file.exists() or made, f"{page.relative_to(ROOT)} links {target}"
    if anchor and file.exists():
        heads = [
            re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-")
            for head in re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
        ]
        assert anchor in heads, f"{page.relative_to(ROOT)} links {target}; there is {heads}"
