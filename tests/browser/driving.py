"""A notebook in JupyterLab, as a student handles it: its menus, its cells, what they show, and a picture of it."""

import json
import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Download, Locator, Page
from serving import Server

READY = """cells => document.querySelectorAll('.jp-Cell').length === cells &&
    document.querySelector('.jp-Toolbar-kernelName')?.textContent.includes('Python') &&
    document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status === 'idle'"""
IDLE = """() => document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status === 'idle' &&
    ![...document.querySelectorAll('.jp-InputPrompt')].some(prompt => prompt.textContent.includes('*'))"""
BUSY_OR_DONE = """before => [...document.querySelectorAll('.jp-InputPrompt')].some(
    (prompt, i) => prompt.textContent.includes('*') || prompt.textContent !== before[i])"""
UNDER_WAY = """() => [...document.querySelectorAll('.jp-OutputArea progress')].some(
    bar => 0 < bar.value && bar.value < bar.max) && document.querySelector('.jp-InputPrompt') &&
    [...document.querySelectorAll('.jp-InputPrompt')].some(prompt => prompt.textContent.includes('*'))"""


class Lab:
    """One browser page with JupyterLab in it."""

    def __init__(self, page: Page, server: Server, pictures: Path):
        self.page, self.server, self.pictures = page, server, pictures
        self.path = Path()

    def open(self, number: str, name: str = "", view: str = "lab/tree", **changes: object) -> "Lab":
        """Open a fresh copy of a notebook, with ``changes`` in its parameters cell; its kernel is idle then.

        ``name``: a folder for the copy; ``view``: ``lab/tree``, or ``doc/tree`` for the notebook alone.
        """
        self.path = self.server.copy(number, name, **changes)
        place = self.path.relative_to(self.server.notebooks).as_posix()
        self.page.goto(f"{self.server.address}/{view}/{place}?token={self.server.token}&reset")
        cells = len(json.loads(self.path.read_text("utf-8"))["cells"])
        self.page.wait_for_function(READY, arg=cells, timeout=90_000)
        return self

    def menu(self, *names: str) -> None:
        """Choose from the menus: ``menu("Run", "Run All Cells")``."""
        self.page.get_by_role("menuitem", name=names[0], exact=True).first.click()
        for name in names[1:]:
            label = self.page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{name}$"))
            self.page.locator(".lm-Menu-item:visible", has=label).click()  # opens what lies below it, if there is any

    def run_all(self, wait: float = 300) -> None:
        """Run All Cells, and wait up to so many seconds for the end; 0: do not wait."""
        before = self.page.locator(".jp-InputPrompt").all_text_contents()
        self.menu("Run", "Run All Cells")
        self.page.wait_for_function(BUSY_OR_DONE, arg=before)
        if wait:
            self.wait(wait)

    def wait(self, seconds: float = 300) -> None:
        """Until no cell runs or waits to run."""
        self.page.wait_for_function(IDLE, timeout=1000 * seconds)

    def wait_for_progress(self, seconds: float = 180) -> None:
        """Until the bar of a training is neither empty nor full."""
        self.page.wait_for_function(UNDER_WAY, timeout=1000 * seconds)

    def interrupt(self) -> None:
        """Press the square button."""
        self.page.get_by_role("button", name="Interrupt the kernel").first.click()
        self.wait()

    def restart(self) -> None:
        """Restart the kernel, and say yes to it."""
        self.menu("Kernel", "Restart Kernel…")
        self.page.get_by_role("dialog").get_by_role("button", name="Confirm Kernel Restart").click()
        self.page.wait_for_function(IDLE)

    def cell(self, text: str) -> Locator:
        """The first cell in whose code or prose ``text`` stands."""
        return (
            self.page.locator(".jp-Cell")
            .filter(has=self.page.locator(".jp-Cell-inputWrapper").filter(has_text=text))
            .first
        )

    def show(self, cell: Locator) -> None:
        """Scroll to a cell."""
        for _ in range(3):  # what comes into view on the way may change its height
            cell.evaluate("cell => cell.scrollIntoView({block: 'center'})")
            self.page.wait_for_timeout(300)

    def source(self, text: str) -> str:
        """The code of the first cell of the saved notebook that has ``text`` in it."""
        cells = json.loads(self.path.read_text("utf-8"))["cells"]
        return next(source for cell in cells if text in (source := "".join(cell["source"])))

    def said(self, cell: Locator) -> str:
        """The text of what a cell shows below itself."""
        return "\n".join(cell.locator(".jp-OutputArea-output").all_text_contents())

    def replace(self, cell: Locator, code: str, run: bool = True) -> None:
        """Put other code into a cell, by hand, and run it."""
        self.show(cell)
        cell.locator(".cm-content").click()
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.insert_text(code)
        if run:
            self.page.keyboard.press("ControlOrMeta+Enter")
            self.page.wait_for_timeout(200)
            self.wait()

    def save(self) -> dict[str, Any]:
        """Save, and read the notebook back from the disk."""
        with self.page.expect_response(lambda answer: answer.request.method == "PUT" and "/contents/" in answer.url):
            self.menu("File", "Save Notebook")
        return json.loads(self.path.read_text("utf-8"))

    def export(self, form: str, path: Path) -> None:
        """Save and Export Notebook As ``form``, and keep at ``path`` what the browser downloads, from whatever tab."""
        downloads: list[Download] = []
        self.page.on("download", lambda file: downloads.append(file))
        self.page.context.on("page", lambda tab: tab.on("download", lambda file: downloads.append(file)))
        self.menu("File", "Save and Export Notebook As", form)
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_label("Sanitize HTML output").uncheck()  # as page 00 says
        dialog.get_by_role("button", name="Ok").click()
        for _ in range(300):
            if downloads:
                return downloads[0].save_as(path)
            self.page.wait_for_timeout(200)
        raise AssertionError(f"no {form} was downloaded")

    def picture(self, name: str) -> None:
        """Keep a picture of the window."""
        self.page.screenshot(path=self.pictures / f"{name}.png")

    def all_pictures(self, name: str) -> None:
        """Keep pictures of the notebook from its first cell to its last: ``NAME-1.png`` and so on."""
        size, panel = self.page.viewport_size, self.page.locator(".jp-WindowedPanel-outer").first
        self.page.set_viewport_size({"width": size["width"], "height": 3000})  # JupyterLab draws what is in view
        panel.evaluate("panel => panel.scrollTop = 0")
        for number in range(1, 30):
            self.page.wait_for_timeout(300)
            self.picture(f"{name}-{number}")
            if panel.evaluate("panel => (panel.scrollTop + 2 + panel.clientHeight >= panel.scrollHeight)"):
                break
            panel.evaluate("panel => panel.scrollTop += panel.clientHeight - 50")
        self.page.set_viewport_size(size)


def errors(notebook: dict[str, Any]) -> list[str]:
    """What has gone wrong in a saved notebook: errors, and whatever was written to stderr."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    wrong = [output["evalue"] for output in outputs if output["output_type"] == "error"]
    return wrong + ["".join(o["text"]) for o in outputs if o["output_type"] == "stream" and o["name"] == "stderr"]


def figures(notebook: dict[str, Any]) -> int:
    """How many pictures a saved notebook holds."""
    return sum("image/png" in o.get("data", {}) for cell in notebook["cells"] for o in cell.get("outputs", []))
