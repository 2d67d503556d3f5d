"""What a student does with a notebook that has run: types, slides, draws, chooses, exports."""

import re
import subprocess
import sys
from pathlib import Path

from driving import Lab, figures
from playwright.sync_api import Locator, expect

WRONG = """def block(x, branch):
    return x + torch.relu(branch(x))

check("residual_block", block)"""


def an_exercise_answers(lab: Lab) -> None:
    """Type an answer that is wrong at first."""
    cell = lab.cell('check("residual_block"')
    expect(cell.locator(".jp-OutputArea")).to_contain_text("○ not attempted")
    lab.replace(cell, WRONG)
    lab.show(cell)
    lab.picture("exercise-wrong")
    expect(cell.locator(".jp-OutputArea")).to_contain_text("✗ not yet")
    expect(cell.locator(".jp-OutputArea")).to_contain_text("The ReLU comes before the addition")
    lab.replace(cell, WRONG.replace("x + torch.relu(branch(x))", "torch.relu(x + branch(x))"))
    lab.show(cell)
    lab.picture("exercise-right")
    expect(cell.locator(".jp-OutputArea")).to_contain_text("✓ right")


def a_drawn_digit_is_read(lab: Lab) -> None:
    """Draw a stroke with the mouse: it is seen, and read as another digit than nothing was."""
    cell = lab.cell("draw.digit(")
    lab.show(cell)
    sentence, canvas = cell.locator(".widget-html-content p"), cell.locator("canvas")
    expect(sentence).to_contain_text("It reads ")
    said = sentence.inner_text()
    cell.get_by_role("button", name="Clear").click()
    expect(sentence).to_have_text("Nothing is drawn yet.")
    box, mouse = canvas.bounding_box(), lab.page.mouse
    mouse.move(box["x"] + 140, box["y"] + 40)
    mouse.down()
    mouse.move(box["x"] + 140, box["y"] + 240, steps=8)
    mouse.up()
    expect(sentence).to_contain_text("It reads ")
    expect(sentence).not_to_have_text(said)
    lab.picture("drawn")
    ink = canvas.evaluate("""canvas => [...canvas.getContext('2d').getImageData(140, 0, 1, 280).data]""")
    assert sum(value > 128 for value in ink[::4]) > 190  # red of a column of pixels: the stroke is seen


def exported_pages_have_every_figure(lab: Lab) -> None:
    """Export a page by the menu, and one by nbconvert; the page in the browser is another one afterwards."""
    count, made = figures(lab.save()), lab.path.with_name("by-menu.html")
    lab.export("HTML", made)
    assert len(images(lab, made)) == count > 0
    lab.picture("exported-by-menu")
    assert not re.search(r"</?(h[1-6]|p|style|table)\b", lab.page.locator("body").inner_text())

    # What JupyterLab's own menu makes leaves descriptions out; this template of nbconvert keeps them.
    page = lab.path.with_name("page.html")
    words = ["--to", "html", "--template", "classic", str(lab.path), "--output", str(page)]
    subprocess.run([sys.executable, "-m", "nbconvert", *words], check=True, capture_output=True)
    described = images(lab, page)
    lab.picture("exported")
    assert len(described) == count
    assert all(len(alt) > 30 and "No description" not in alt for _, alt in described)


def images(lab: Lab, page: Path) -> list[tuple[int, str]]:
    """Width in pixels and description of every figure of a page."""
    lab.page.goto(page.as_uri())
    shown = lab.page.locator("img").evaluate_all("images => images.map(image => [image.naturalWidth, image.alt])")
    assert all(width > 200 for width, _ in shown)
    return shown


def sliders_move_the_mask_and_its_dice(lab: Lab) -> None:
    """Move the sliders of the mask: the picture and the sentence below it follow."""
    cell = lab.cell("explore.masks(")
    lab.show(cell)
    picture, sentence = cell.locator(".widget-html-content img"), cell.locator(".widget-html-content p")
    lab.picture("masks")
    for name, key in (("threshold", "Home"), ("slice", "End")):
        shown, said = picture.get_attribute("src"), sentence.inner_text()
        slide(cell, name, key)
        expect(sentence).not_to_have_text(said)
        expect(picture).not_to_have_attribute("src", shown)
        expect(picture).to_have_attribute("alt", sentence.inner_text())
    assert sentence.inner_text().startswith("Dice ")
    cell.get_by_label("view", exact=True).select_option("true mask")
    expect(sentence).to_contain_text("Yellow: the true mask.")
    lab.picture("masks-moved")


def slide(cell: Locator, name: str, key: str) -> None:
    """Press a key on a slider, as somebody without a mouse does."""
    handle = cell.locator(".widget-slider", has_text=name).locator(".noUi-handle")
    handle.focus()
    handle.press(key)


def runs_of_another_lab_are_shown(lab: Lab) -> None:
    """Choose the second lab of the run comparison: its runs are chosen, and drawn."""
    cell = lab.cell("explore.runs(")
    lab.show(cell)
    cell.locator("select").first.select_option(index=1)
    lab.page.wait_for_timeout(2000)
    chosen = cell.locator("select").nth(1).evaluate("list => [...list.selectedOptions].map(option => option.label)")
    assert chosen
    sentence = lab.said(cell).replace("\xa0", " ")  # as ipywidgets writes the spaces in a list
    assert all(f"{name}: best".replace("\xa0", " ") in sentence for name in chosen)
    lab.picture("06-another-lab")
