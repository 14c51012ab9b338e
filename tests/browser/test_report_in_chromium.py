"""The pages in a real browser: no script, no network, a phone's width, dark or light.

Kept out of the default run; ``pytest -m browser tests/browser`` runs it. It needs
Chromium, named by CHROMIUM or found on the path.
"""

from __future__ import annotations

import html
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from eegfm_bench.report.site.pages import build_site
from eegfm_bench.report.site.write import write_site
from eegfm_bench.runs.store import ResultStore
from tests.many_records import write_records

pytestmark = pytest.mark.browser
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--hide-scrollbars", "--enable-logging=stderr"),
    # Nothing but this machine has a name or an address.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
# The pages run in frames without scripts; the page around them measures.
HARNESS = """<!doctype html><html><body><pre id="found"></pre><script>
const pages = PAGES, widths = WIDTHS, found = [];
const look = (name, width) => new Promise(done => {
  const frame = document.createElement("iframe");
  frame.sandbox = "allow-same-origin";
  frame.style = `width:${width}px;height:900px;border:0`;
  frame.onload = () => {
    const page = frame.contentDocument, root = page.documentElement;
    const late = [...page.querySelectorAll("svg")].filter(
      svg => svg.getBoundingClientRect().width < 100).length;
    found.push({name, width, text: page.body.innerText, late,
      wide: root.scrollWidth, back: getComputedStyle(page.body).backgroundColor});
    frame.remove(); done();
  };
  frame.src = name; document.body.append(frame);
});
(async () => {
  for (const name of pages) for (const width of widths) await look(name, width);
  document.getElementById("found").textContent = JSON.stringify(found);
})();
</script></body></html>"""
WIDTHS = (390, 1280)


@pytest.fixture(scope="module")
def chromium() -> str:
    named = os.environ.get("CHROMIUM")
    for name in (named, "chromium", "chromium-browser", "google-chrome"):
        if name and (path := shutil.which(name)):
            return path
    pytest.skip("no Chromium: install it, or name it with CHROMIUM")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    write_records(
        root,
        datasets=("faced", "chbmit"),
        models=("chance", "bandpower", "trace"),
        seeds=range(3),
        failed=[("trace", "chbmit", 1)],
    )
    folder = tmp_path_factory.mktemp("site") / "report"
    store = ResultStore(root)
    built = build_site(store, store.records(), title="In a browser")
    write_site(folder, built.files, {})
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    pages = sorted(file.name for file in site.glob("*.html"))
    text = HARNESS.replace("PAGES", json.dumps(pages)).replace(
        "WIDTHS", json.dumps(WIDTHS)
    )
    (site / "harness.html").write_text(text)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    handler = partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def look(
    chromium: str, address: str, profile: Path, *more: str
) -> tuple[list[dict[str, Any]], str]:
    """Return what the harness measured, and what the browser complained of."""
    done = subprocess.run(
        [
            chromium,
            *QUIET,
            *more,
            f"--user-data-dir={profile}",
            "--virtual-time-budget=60000",
            "--dump-dom",
            f"{address}/harness.html",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = re.search(r'<pre id="found">(.+?)</pre>', done.stdout, re.S)
    assert found is not None, done.stdout[-500:] + done.stderr[-500:]
    return json.loads(html.unescape(found[1])), done.stderr


def test_pages_are_read_without_scripts_or_network(
    chromium: str, address: str, tmp_path: Path
) -> None:
    found, complaints = look(chromium, address, tmp_path / "profile")
    assert len(found) == 3 * len(WIDTHS)
    refused = [
        s for s in complaints.splitlines() if "CONSOLE" in s and "sandbox" not in s
    ]
    assert refused == []
    for page in found:
        assert "Simulated recordings: no number here is about people" in page["text"]
        assert page["late"] == 0, "a plot has no width"
    texts = {page["name"]: page["text"] for page in found}
    for word in (
        "How sure the numbers are",
        "What is not there",
        "The loss became nan",
    ):
        assert word in texts["index.html"]
    for word in ("Each test subject", "Confusion", "Calibration", "Learning curves"):
        assert word in texts["dataset-faced.html"]
    assert "tenderness" in texts["dataset-faced.html"]


def test_no_page_is_wider_than_a_phone(
    chromium: str, address: str, tmp_path: Path
) -> None:
    found, _ = look(chromium, address, tmp_path / "profile")
    assert {p["name"]: p["wide"] for p in found if p["wide"] > p["width"]} == {}


def test_dark_rooms_get_a_dark_page(
    chromium: str, address: str, tmp_path: Path
) -> None:
    light, _ = look(chromium, address, tmp_path / "profile")
    dark = "--blink-settings=preferredColorScheme=0"
    found, _ = look(chromium, address, tmp_path / "other", dark)
    assert {page["back"] for page in light} == {"rgb(255, 255, 255)"}
    assert {page["back"] for page in found} == {"rgb(18, 22, 30)"}
