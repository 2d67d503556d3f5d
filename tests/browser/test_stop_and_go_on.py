"""A training stopped by the square button or by its own, and it goes on from the step that it had reached."""

import re

from driving import Lab

from labkit.results.manifest import read_manifest
from labkit.training.checkpoint import read_checkpoint

LONG = {"limit": 150, "image_size": 12, "epochs": 4, "batch_size": 8, "seed": 7}


def test_interrupt_restart_and_run_again(lab: Lab) -> None:
    lab.open("01", **LONG)
    lab.run_all(wait=0)
    lab.wait_for_progress()
    lab.interrupt()
    (folder,) = (lab.server.runs / "01_mnist_resnet18").glob("quick-seed7-*")
    lab.show(lab.cell("history = common.train("))
    lab.picture("stopped")
    assert read_manifest(folder)["status"] == "interrupted"
    state = read_checkpoint(folder / "checkpoints" / "last.safetensors")[1]["state"]

    lab.restart()
    lab.run_all()
    lab.show(lab.cell("history = common.train("))
    lab.picture("gone-on")
    said = lab.said(lab.cell("history = common.train("))
    (step, epoch) = re.search(r"goes on after step (\d+) of \d+ in epoch (\d+)", said).groups()
    assert (int(epoch) - 1, int(step)) == (state["epoch"], state["step"])
    assert "it goes on from its last checkpoint" in lab.said(lab.cell("common.open_run("))
    manifest = read_manifest(folder)
    assert (manifest["status"], len(manifest["sessions"])) == ("completed", 2)


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
