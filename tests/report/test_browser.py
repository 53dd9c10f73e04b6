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
// What a reader does: point at a mark, enlarge its plot, magnify, close it, sort a table.
function use(page, view) {
  const title = "validation error, same distribution";
  const plot = [...page.querySelectorAll(".plot")].find(p => p.querySelector("h3").textContent === title);
  const svg = plot.querySelector("svg"), marks = JSON.parse(plot.querySelector("script").textContent);
  const [x, y, ...rest] = marks.points.at(-1), box = svg.getBoundingClientRect();
  const at = { clientX: box.x + x * box.width, clientY: box.y + y * box.height, bubbles: true };
  svg.dispatchEvent(new view.PointerEvent("pointermove", at));
  const value = page.querySelector(".value"), shown = value.hidden ? null : value.textContent;
  const ring = page.querySelector(".here").getBoundingClientRect();
  svg.dispatchEvent(new view.PointerEvent("pointermove", { ...at, clientX: box.x - 200 }));
  const away = value.hidden;
  plot.querySelector(".zoom").click();
  const dialog = page.querySelector("dialog"), larger = svg.getBoundingClientRect().width, before = svg.viewBox.baseVal.width;
  dialog.dispatchEvent(new view.KeyboardEvent("keydown", { key: "+" }));
  const magnified = before / svg.viewBox.baseVal.width;
  dialog.close();
  dialog.onclose();
  const table = page.querySelector("#test_error table"), column = [...table.tHead.rows[0].cells].findIndex(c => c.textContent === "mean squared error");
  const values = () => [...table.tBodies[0].rows].map(row => row.cells[column].textContent);
  table.tHead.rows[0].cells[column].click();
  const sorted = values();
  table.tHead.rows[0].cells[column].click();
  return {
    shown, away, miss: Math.hypot(ring.x + ring.width / 2 - at.clientX, ring.y + ring.height / 2 - at.clientY),
    width: box.width, larger, magnified, back: plot.contains(svg) && svg.getAttribute("viewBox") === svg.dataset.box,
    sorted, reversed: values(),
  };
}
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
    ...use(page, view),
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


def _need_chromium() -> None:
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            pytest.fail(
                "no Chromium was found, and here the page must be seen in one: install it "
                "(Debian: chromium)"
            )
        pytest.skip("no Chromium is installed")


@pytest.mark.parametrize("width", [375, 1280], ids=["phone", "desktop"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_renders(page: str, tmp_path: Path, width: int, dark: bool) -> None:
    _need_chromium()
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
    assert found["shown"].splitlines()[1:] == [
        "step (updates done): 1000",
        "mean squared error per entry: 0.1",
    ]
    assert found["miss"] < 2, "the ring lies on the mark"
    assert found["away"]
    assert found["larger"] > found["width"] or width < 500
    assert found["magnified"] == pytest.approx(1.25)
    assert found["back"]
    numbers = [float(text) for text in found["sorted"]]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) > 2
    assert found["reversed"] == found["sorted"][::-1]


def test_the_page_prints_and_reads_without_its_script(page: str, tmp_path: Path) -> None:
    """Two columns of panels on every sheet: so many sheets as their area asks for, and a few."""
    _need_chromium()
    file = tmp_path / "page.html"
    file.write_text(re.sub(r"<script>.*?</script>", "", page, flags=re.S))
    command = [
        CHROMIUM,
        *FLAGS,
        f"--user-data-dir={tmp_path / 'profile'}",
        "--no-pdf-header-footer",
        f"--print-to-pdf={tmp_path / 'page.pdf'}",
        file.as_uri(),
    ]
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    sheets = len(re.findall(rb"/Type\s*/Page\b", (tmp_path / "page.pdf").read_bytes()))
    panels = page.count('<div class="plot">')
    assert 1 + panels / 6 <= sheets <= 3 + panels / 3
