"""What a student types into a cell: a parameter that is not allowed, and an exercise, wrong at first."""

from driving import Lab
from playwright.sync_api import expect
from test_every_notebook import SMALL

WRONG = """def block(x, branch):
    return x + torch.relu(branch(x))

check("residual_block", block)"""


def test_a_parameter_that_is_not_allowed_is_one_sentence(lab: Lab) -> None:
    lab.open("01", **SMALL["01"])
    cell, before = lab.cell("experiment: str ="), list(lab.server.runs.rglob("manifest.json"))
    typed = lab.source("experiment: str =").replace("epochs: int = 2", "epochs: int = 0")
    lab.replace(cell, typed)
    lab.run_all()
    asked = lab.cell("lab.Parameters.from_notebook(")
    lab.show(asked)
    lab.picture("not-allowed")
    assert lab.said(asked).strip() == (
        "RequestError: Parameter 'epochs' is 0, but must be a whole number from 1 to 10,000 "
        "(passes over the training images)."
    )
    assert lab.said(lab.cell("lab.load_data(")) == ""  # nothing more was run
    assert list(lab.server.runs.rglob("manifest.json")) == before


def test_an_exercise_answers(lab: Lab) -> None:
    lab.open("01", **SMALL["01"])
    lab.run_all()
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
