"""The same notebook as a page to hand on, and alone in the window."""

from pathlib import Path

from driving import Lab, errors, figures
from test_every_notebook import SMALL


def test_the_exported_page_has_every_figure_with_its_description(lab: Lab, tmp_path: Path) -> None:
    lab.open("01", **SMALL["01"])
    lab.run_all()
    saved = lab.save()
    lab.export("HTML", tmp_path / "01.html")
    lab.page.goto((tmp_path / "01.html").as_uri())
    lab.page.screenshot(path=lab.pictures / "exported.png", full_page=True)
    images = lab.page.locator(".jp-OutputArea-output img, .output_png img")
    assert images.count() == figures(saved) > 0
    shown = images.evaluate_all("images => images.map(image => [image.naturalWidth, image.alt])")
    assert all(width > 200 for width, _ in shown)
    assert all(len(alt) > 30 for _, alt in shown)


def test_a_notebook_alone_in_the_window(lab: Lab) -> None:
    lab.open("04", view="doc/tree", **SMALL["04"])
    assert not lab.page.locator("#jp-left-stack").is_visible()
    lab.run_all()
    lab.picture("alone")
    assert not errors(lab.save())
