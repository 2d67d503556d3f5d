"""A picture that follows controls."""

import base64
import html
import io
import threading
from collections.abc import Callable, Mapping

import numpy as np
from ipywidgets import HTML, HBox, Layout, VBox
from ipywidgets.widgets.valuewidget import ValueWidget
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, FigureBase
from PIL import Image

from labkit.errors import LabError

SHOWN, SHARP = 100, 150  # dots per inch on the screen, and in the picture, for screens with small dots
# of a control; a Layout of ipywidgets would be a widget itself, made when this is imported, seen or not
WIDE = {"style": {"description_width": "10em"}, "layout": {"width": "28em"}}
ONE_AT_A_TIME = threading.RLock()  # to draw may set a control, which draws


class Explorer:
    """Controls at the left; at the right the picture that they choose, and a sentence below it.

    ``draw(figure, **values)`` draws on an empty figure and returns the sentence, which also describes the picture to
    those who cannot see it. Both are one HTML widget: they change at once, and nothing piles up below the cell.
    JupyterLab and ipykernel 7 call back in the main thread or in one of their own, whichever comes. So figures are made
    without pyplot, whose list of figures belongs to the cell that may run at the same time; and one is drawn at a time,
    from the values as they then are, or the older of two pictures might be shown last.
    """

    def __init__(
        self, draw: Callable[..., str], controls: Mapping[str, ValueWidget], size: tuple[float, float] = (6.0, 4.0)
    ):
        """``controls`` by the names that ``draw`` gives their values; ``size`` of the figure in inches."""
        self.draw, self.controls, self.size = draw, dict(controls), size
        self.view = HTML(layout=Layout(width=f"{SHOWN * size[0]:.0f}px"))
        for control in self.controls.values():
            control.observe(self.redraw, names="value")
        panel = VBox(list(self.controls.values()), layout=Layout(flex="0 0 auto"))
        self.box = HBox([panel, self.view], layout=Layout(flex_flow="row wrap"))  # one below the other if narrow
        self.redraw()

    def redraw(self, change: object = None) -> None:
        """Draw what the controls say now; what cannot be drawn is said instead."""
        with ONE_AT_A_TIME:
            figure = Figure(self.size, layout="constrained")
            try:
                sentence = self.draw(figure, **{name: control.value for name, control in self.controls.items()})
                self.view.value = as_html(figure, sentence)
            except LabError as error:
                self.view.value = f"<p>{html.escape(str(error))}</p>"


def places(figure: FigureBase, rows: int, columns: int) -> list[Axes]:
    """Empty places for pictures, row by row."""
    made = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in made:
        ax.set_axis_off()
    return made


def as_html(figure: Figure, sentence: str) -> str:
    """A figure as a picture with ``sentence`` as its description, and below it."""
    content, said, canvas = io.BytesIO(), html.escape(sentence), FigureCanvasAgg(figure)
    figure.set_dpi(SHARP)
    canvas.draw()  # once, where savefig would draw twice
    Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").save(content, "PNG", compress_level=1)
    source, width = base64.b64encode(content.getvalue()).decode(), round(SHOWN * figure.get_figwidth())
    return f'<img src="data:image/png;base64,{source}" width="{width}" alt="{said}"><p>{said}</p>'
