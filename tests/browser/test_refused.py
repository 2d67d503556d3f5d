"""What a student types into the cell of the parameters: one that is not allowed."""

from driving import Lab
from test_every_notebook import SMALL


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
