"""Every notebook, opened and run from the menu: no error, no stray output, its figures, and a bar while it trains."""

import pytest
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


@pytest.mark.parametrize("number", SMALL)
def test_run_all_cells(lab: Lab, number: str) -> None:
    lab.open(number, **SMALL[number])
    lab.run_all(wait=0)
    if "epochs" in SMALL[number]:
        lab.wait_for_progress()
        lab.picture(f"{number}-training")
    lab.wait()
    lab.all_pictures(f"{number}-done")
    assert not lab.page.locator(".jp-RenderedText[data-mime-type$='stderr'], [data-mime-type$='error']").count()
    if number == "06":
        runs_of_another_lab_are_shown(lab)
    saved = lab.save()
    assert not errors(saved)
    assert lab.page.locator(".jp-RenderedImage img").count() == figures(saved) > 0


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
