"""The page in a real browser: no errors, nothing too wide, every plot drawn, colours that fit."""

import base64
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ired_interp.report import gather, write_page
from ired_interp.results import open_results
from runs import make_run

pytestmark = pytest.mark.browser

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
FLAGS = [
    *(
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
    ),
    *(
        "--disable-component-update",
        "--disable-sync",
        "--enable-logging=stderr",
        "--virtual-time-budget=10000",
    ),
]

# The page lies in a frame of the wanted width, as browsers open no window narrower than 500 pixels.
PROBE = """<!doctype html><meta charset="utf-8"><body><script>
const errors = [];
const frame = document.createElement("iframe");
frame.style = "width: WIDTHpx; height: 800px; border: 0";
frame.srcdoc = new TextDecoder().decode(Uint8Array.from(atob("PAGE"), c => c.charCodeAt(0)));
frame.onload = () => {
  const page = frame.contentDocument, view = frame.contentWindow;
  const svgs = [...page.querySelectorAll("svg")].map(s => s.getBoundingClientRect());
  const label = page.querySelector("svg text"), box = label.getBoundingClientRect();
  const found = {
    wide: page.documentElement.scrollWidth, height: page.documentElement.scrollHeight,
    plots: svgs.length, narrowest: Math.min(...svgs.map(r => r.width)),
    widest: Math.max(...svgs.map(r => r.right)), lowest: Math.min(...svgs.map(r => r.height)),
    ground: view.getComputedStyle(page.body).backgroundColor,
    ink: view.getComputedStyle(page.body).color,
    label: view.getComputedStyle(label).fill, labelHeight: box.height,
    loaded: view.performance.getEntriesByType("resource").map(e => e.name),
  };
  document.body.textContent = "FOUND" + JSON.stringify(found) + "END";
};
document.body.append(frame);
</script>"""


def brightness(colour: str) -> float:
    return sum(float(c) for c in re.findall(r"[\d.]+", colour)[:3]) / 3


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("runs")
    runs = [make_run(folder / "demo" / f"seed-{seed}", seed) for seed in (0, 1)]
    runs.append(
        make_run(
            folder / "demo" / "a_run_with_a_rather_long_name_that_has_no_place_to_break",
            0,
            width=99,
        )
    )
    return write_page(
        gather([open_results(run.path) for run in runs]), folder / "page.html"
    ).read_text()


@pytest.mark.parametrize("width", [375, 1280], ids=["phone", "desktop"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_renders(page: str, tmp_path: Path, width: int, dark: bool) -> None:
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            pytest.fail(
                "no Chromium was found, and here the page must be seen in one: install it "
                "(Debian: chromium)"
            )
        pytest.skip("no Chromium is installed")
    probe = tmp_path / "probe.html"
    probe.write_text(
        PROBE.replace("WIDTH", str(width)).replace("PAGE", base64.b64encode(page.encode()).decode())
    )
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    command = [
        CHROMIUM,
        *FLAGS,
        scheme,
        f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1400,900",
        "--dump-dom",
        probe.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    answer = re.search(r"FOUND(\{.*\})END", done.stdout)
    assert answer, f"the page did not load:\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}"
    assert "CONSOLE" not in done.stderr, done.stderr
    found = json.loads(answer[1].replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&"))
    assert found["wide"] <= width
    assert found["widest"] <= width
    assert found["plots"] >= 8
    assert found["narrowest"] >= 250
    assert found["lowest"] >= 120
    assert found["labelHeight"] >= 7
    assert found["loaded"] == []
    light, ink, label = (brightness(found[name]) for name in ("ground", "ink", "label"))
    assert (light < 60) if dark else (light > 200)
    for text in (ink, label):
        assert abs(text - light) > 120
