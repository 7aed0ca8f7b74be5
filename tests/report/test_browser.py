"""The page renders in a browser at the widths of a phone and of a desktop."""

import html
import json
import re
import shutil
import subprocess

import pytest

pytestmark = [pytest.mark.full, pytest.mark.xdist_group("report")]

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "headless_shell"))), None)
WATCH = "<script>const errors = []; addEventListener('error', (event) => errors.push(event.message));</script>"
ASK = """<script>
  document.querySelectorAll("details").forEach((one) => (one.open = true));
  const found = { inner: innerWidth, scroll: document.documentElement.scrollWidth };
  const dots = [...document.querySelectorAll(".map circle")], peek = document.querySelector(".peek");
  const boxes = dots.map((dot) => dot.getBoundingClientRect());
  found.drawn = boxes.filter((box) => box.width > 1 && box.left >= 0 && box.right <= innerWidth).length;
  found.hidden = peek.hidden;
  const at = { clientX: boxes[0].left + boxes[0].width / 2, clientY: boxes[0].top + boxes[0].height / 2, bubbles: true };
  dots[0].dispatchEvent(new PointerEvent("pointerdown", at));
  found.shown = !peek.hidden && peek.getBoundingClientRect().width > 20;
  found.says = peek.textContent;
  found.named = document.querySelector(".map .chosen").parentNode.dataset.name;
  const buttons = document.querySelectorAll(".legend button");
  buttons[0].click();
  found.dim = document.querySelectorAll(".map g.dim").length;
  found.others = buttons.length - 1;
  found.errors = errors;
  parent.postMessage(JSON.stringify(found), "*");
</script>"""
# A frame can have any width; the window of a browser has a minimum.
FRAME = """<iframe src="page.html" style="border: 0" width="{width}" height="900"></iframe>
<script>addEventListener("message", (event) => document.body.setAttribute("data-found", event.data));</script>"""


@pytest.mark.skipif(BROWSER is None, reason="no chromium, google-chrome or headless_shell is installed")
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_renders_without_errors_or_overflow(width, labeled, tmp_path):
  text = (labeled / "report.html").read_text()
  (tmp_path / "page.html").write_text(text.replace("<head>", "<head>" + WATCH, 1).replace("</body>", ASK + "</body>", 1))
  flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={tmp_path / 'profile'}"]
  (tmp_path / "frame.html").write_text(FRAME.format(width=width))
  arguments = [str(BROWSER), *flags, "--window-size=1400,900", "--virtual-time-budget=5000", "--dump-dom"]
  arguments.append(f"file://{tmp_path / 'frame.html'}")
  dom = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=True).stdout
  match = re.search(r'data-found="([^"]*)"', dom)
  assert match, dom[-2000:]
  result = json.loads(html.unescape(match[1]))
  assert result["errors"] == []
  assert result["inner"] == width and result["scroll"] <= width
  assert result["drawn"] == text.count("<circle") > 0
  assert result["hidden"] and result["shown"] and result["says"] == result["named"] != ""
  assert result["dim"] == result["others"] > 0
