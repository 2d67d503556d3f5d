"""Controls in a page: sliders move a mask and its Dice, and a button stops a training, which then goes on."""

from driving import Lab
from playwright.sync_api import Locator, expect
from test_every_notebook import SMALL
from test_stop_and_go_on import LONG

from labkit.results.manifest import read_manifest


def slide(cell: Locator, name: str, key: str) -> None:
    """Press a key on a slider, as somebody without a mouse does."""
    handle = cell.locator(".widget-slider", has_text=name).locator(".noUi-handle")
    handle.focus()
    handle.press(key)


def with_controls(lab: Lab, number: str, code: str) -> Locator:
    """Run a notebook, and show the cell with this code."""
    lab.open(number, name="controls", **SMALL[number], seed=9)
    lab.run_all()
    cell = lab.cell(code)
    lab.show(cell)
    return cell


def test_sliders_move_the_mask_and_its_dice(lab: Lab) -> None:
    cell = with_controls(lab, "02", "explore.masks(")
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


def test_a_button_stops_the_training_and_it_goes_on(lab: Lab) -> None:
    lab.open("01", name="controls", **LONG | {"seed": 8})
    lab.run_all(wait=0)
    lab.wait_for_progress()
    cell = lab.cell("history = common.train(")
    cell.get_by_role("button", name="Stop training").click()
    lab.wait()
    (folder,) = (lab.server.runs / "01_mnist_resnet18").glob("quick-seed8-*")
    assert read_manifest(folder)["status"] == "interrupted"
    assert "run this again to go on" in lab.said(cell)
    lab.show(cell)
    lab.picture("stopped-by-the-button")
    lab.run_all()
    assert "goes on after step" in lab.said(cell)
    assert read_manifest(folder)["status"] == "completed"


def test_a_digit_drawn_with_the_mouse_is_read(lab: Lab) -> None:
    cell = with_controls(lab, "01", "draw.digit(")
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
