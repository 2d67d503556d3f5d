"""The same notebook as a page to hand on, and alone in the window."""

import re
import subprocess
import sys
from pathlib import Path

from driving import Lab, errors, figures
from test_every_notebook import SMALL


def test_the_exported_pages_have_every_figure(lab: Lab, tmp_path: Path) -> None:
    lab.open("01", **SMALL["01"])
    lab.run_all()
    count = figures(lab.save())
    lab.export("HTML", tmp_path / "menu.html")
    assert len(images(lab, tmp_path / "menu.html")) == count > 0
    lab.picture("exported-by-menu")
    assert not re.search(r"</?(h[1-6]|p|style|table)\b", lab.page.locator("body").inner_text())

    # What JupyterLab's own menu makes leaves descriptions out; this template of nbconvert keeps them.
    words = ["--to", "html", "--template", "classic", str(lab.path), "--output", str(tmp_path / "page.html")]
    subprocess.run([sys.executable, "-m", "nbconvert", *words], check=True, capture_output=True)
    described = images(lab, tmp_path / "page.html")
    lab.picture("exported")
    assert len(described) == count
    assert all(len(alt) > 30 and "No description" not in alt for _, alt in described)


def images(lab: Lab, page: Path) -> list[tuple[int, str]]:
    """Width in pixels and description of every figure of a page."""
    lab.page.goto(page.as_uri())
    shown = lab.page.locator("img").evaluate_all("images => images.map(image => [image.naturalWidth, image.alt])")
    assert all(width > 200 for width, _ in shown)
    return shown


def test_a_notebook_alone_in_the_window(lab: Lab) -> None:
    lab.open("04", view="doc/tree", **SMALL["04"])
    assert not lab.page.locator("#jp-left-stack").is_visible()
    lab.run_all()
    lab.picture("alone")
    assert not errors(lab.save())
