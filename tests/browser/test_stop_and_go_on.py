"""A training stopped by its own button, then by the square one: each time it goes on from the step it had reached."""

import re
from pathlib import Path

from driving import Lab
from playwright.sync_api import Locator

from labkit.results.manifest import read_manifest
from labkit.training.checkpoint import read_checkpoint

LONG = {"limit": 150, "image_size": 12, "epochs": 8, "batch_size": 8, "seed": 7}


def test_stopped_twice_it_goes_on_each_time_from_the_step_it_had_reached(lab: Lab) -> None:
    lab.open("01", **LONG)
    lab.run_all(wait=0)
    lab.wait_for_progress()
    cell = lab.cell("history = common.train(")
    cell.get_by_role("button", name="Stop training").click()
    lab.wait()
    (folder,) = (lab.server.runs / "01_mnist_resnet18").glob("quick-seed7-*")
    assert read_manifest(folder)["status"] == "interrupted"
    assert "run this again to go on" in lab.said(cell)
    lab.show(cell)
    lab.picture("stopped-by-the-button")

    before = reached(folder)
    lab.run_all(wait=0)
    cell.get_by_text("goes on after step").wait_for(timeout=180_000)
    lab.wait_for_progress()
    lab.interrupt()
    assert gone_on_from(lab, cell) == before
    lab.show(cell)
    lab.picture("stopped-by-the-square")
    assert read_manifest(folder)["status"] == "interrupted"

    before = reached(folder)
    lab.restart()
    lab.run_all()
    lab.show(cell)
    lab.picture("gone-on")
    assert gone_on_from(lab, cell) == before
    assert "it goes on from its last checkpoint" in lab.said(lab.cell("common.open_run("))
    manifest = read_manifest(folder)
    assert (manifest["status"], len(manifest["sessions"])) == ("completed", 3)


def reached(folder: Path) -> tuple[int, int]:
    """The epochs that are done, and the steps of the next, as the last checkpoint has them."""
    state = read_checkpoint(folder / "checkpoints" / "last.safetensors")[1]["state"]
    return state["epoch"], state["step"]


def gone_on_from(lab: Lab, cell: Locator) -> tuple[int, int]:
    """The same, as the training says that it goes on from there."""
    step, epoch = re.search(r"goes on after step (\d+) of \d+ in epoch (\d+)", lab.said(cell)).groups()
    return int(epoch) - 1, int(step)
