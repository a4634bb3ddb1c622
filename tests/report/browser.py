"""A page in headless Chromium, if there is one: what its console says, and what stands in it once it was loaded."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
# Runs in a copy of the page: has every figure drawn, as for printing, and writes down what is then there.
LOOK = """
<script>
window.faults = [];
window.addEventListener("error", (event) => window.faults.push(String(event.message)));
window.addEventListener("load", () => setTimeout(async () => {
  const timing = performance.getEntriesByType("navigation")[0];
  const found = {load: timing.loadEventStart, faults: window.faults};
  window.dispatchEvent(new Event("beforeprint"));
  await new Promise((go) => setTimeout(go, 1500));
  found.figures = document.querySelectorAll(".figure").length;
  found.drawn = document.querySelectorAll(".figure.js-plotly-plot:has(.main-svg)").length;
  found.width = document.documentElement.scrollWidth; found.window = window.innerWidth;
  const head = document.querySelector("table.sortable th:nth-child(1) button");
  if (head) head.click();
  const rows = [...document.querySelectorAll("table.sortable tbody tr")];
  found.sorted = rows.map((row) => row.cells[0].textContent);
  const asked = performance.getEntriesByType("resource").map((entry) => entry.name);
  found.outside = asked.filter((name) => !name.startsWith("data:"));
  const place = document.createElement("pre");
  place.id = "found";
  place.textContent = JSON.stringify(found);
  document.body.append(place);
}, 0));
</script>
"""


def look_at(page: Path, folder: Path, *, width: int) -> dict:
    """What a browser of that width finds in a page: faults, figures drawn, addresses asked for, its own width."""
    copy = folder / f"look-{width}.html"
    copy.write_text(page.read_text().replace("<head>", f"<head>{LOOK}", 1))
    browser = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--hide-scrollbars"]
    browser += [f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900", "--virtual-time-budget=60000"]
    browser += ["--host-resolver-rules=MAP * ~NOTFOUND"]
    seen = subprocess.run([*browser, "--dump-dom", f"file://{copy}"], capture_output=True, text=True, timeout=120)
    found = json.loads(re.search(r'<pre id="found">(.*?)</pre>', seen.stdout)[1].replace("&amp;", "&"))
    return {**found, "console": re.findall(r"CONSOLE[^\n]*", seen.stderr)}
