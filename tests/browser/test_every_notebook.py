"""Every notebook, opened and run from the menu, then used: no error, its figures, a bar while it trains."""

import pytest
import used
from driving import Lab, errors, figures

SMALL = {
    "00": {"examples": 4},
    "01": {"limit": 150, "image_size": 12, "epochs": 2, "batch_size": 8},
    "02": {"limit": 0, "image_size": 32, "width": 4, "epochs": 40, "batch_size": 4},
    "03": {"limit": 12, "image_size": 64, "width": 8, "epochs": 4, "batch_size": 2},
    "04": {"limit": 200, "epochs": 10, "blocks": 2, "width": 4},
    "05": {"limit": 300, "epochs": 12, "width": 4},
    "06": {"measure_side": 32},
}
ALONE = "04"  # in the window
EXPORTED = "01"
USES = {
    "01": (used.an_exercise_answers, used.a_drawn_digit_is_read),
    "02": (used.sliders_move_the_mask_and_its_dice,),
    "06": (used.runs_of_another_lab_are_shown,),
}


@pytest.mark.parametrize("number", SMALL)
def test_run_all_cells(lab: Lab, number: str) -> None:
    lab.open(number, view="doc/tree" if number == ALONE else "lab/tree", **SMALL[number])
    assert lab.page.locator("#jp-left-stack").is_visible() == (number != ALONE)
    lab.run_all(wait=0)
    if "epochs" in SMALL[number]:
        lab.wait_for_progress()
        lab.picture(f"{number}-training")
    lab.wait()
    lab.all_pictures(f"{number}-done")
    assert not lab.page.locator(".jp-RenderedText[data-mime-type$='stderr'], [data-mime-type$='error']").count()
    for use in USES.get(number, ()):
        use(lab)
    saved = lab.save()
    assert not errors(saved)
    assert lab.page.locator(".jp-RenderedImage img").count() == figures(saved) > 0
    if number == EXPORTED:
        used.exported_pages_have_every_figure(lab)
