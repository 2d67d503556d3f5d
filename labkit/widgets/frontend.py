"""Whether somebody is at the controls, and how a widget is shown to them.

A front end (JupyterLab, Notebook 7, VS Code) names the cell in each request to run it: it needs the name for the cell's
outputs, and ipykernel reads it. papermill, nbconvert and a console do not. Of all that a kernel can know this alone is
said anew with every cell; an environment variable such as JPY_SESSION_NAME, which Jupyter's server sets, is inherited
by whatever is started from a notebook or its terminal, ``labkit run`` too, and VS Code does not set it.
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

from IPython import get_ipython
from IPython.display import DisplayHandle, display
from ipywidgets import DOMWidget, Widget

P = ParamSpec("P")
VIEW = "application/vnd.jupyter.widget-view+json"
SHOWN: dict[str, tuple[str, list[DOMWidget]]] = {}  # by cell: the request that ran it last, and what that showed
STILL = "(A widget was here. Open the notebook in Jupyter and run this cell to use it.)"


def is_there() -> bool:
    """Whether the cell at hand was run by a front end that can show widgets."""
    shell = get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return False
    return "cellId" in shell.kernel.get_parent("shell").get("metadata", {})


def show(widget: DOMWidget) -> DisplayHandle:
    """Show a widget; where a saved notebook is read without one, a sentence stands in its place."""
    model = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    return display({"text/plain": STILL, VIEW: model}, raw=True, display_id=True)


def offered(build: Callable[P, Any]) -> Callable[P, None]:
    """Make of a function that builds a widget (``.box``) one that shows it, and does nothing without a front end."""

    @functools.wraps(build)
    def offer(*args: P.args, **options: P.kwargs) -> None:
        if is_there():
            shown = shown_by_this_run()
            shown.append(build(*args, **options).box)
            show(shown[-1])

    return offer


def shown_by_this_run() -> list[DOMWidget]:
    """The widgets of this run of the cell; those of the run before are closed.

    ipywidgets keeps what is open for good, and with it all that it draws from: a network, its optimiser, a data set.
    """
    request = get_ipython().kernel.get_parent("shell")
    cell, this = request["metadata"]["cellId"], request["header"]["msg_id"]
    before, widgets = SHOWN.get(cell, ("", []))
    if before != this:
        for widget in widgets:
            close(widget)
        SHOWN[cell] = this, []
    return SHOWN[cell][1]


def close(widget: Widget) -> None:
    """Take a widget away, and all within it."""
    for part in (getattr(widget, name) for name in widget.keys or ()):
        for inner in part if isinstance(part, tuple) else (part,):
            if isinstance(inner, Widget):
                close(inner)
    widget.close()
