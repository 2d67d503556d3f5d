"""One line in a notebook: a digit drawn by hand, and what the network makes of it."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec

import numpy as np
import pandas as pd
from ipywidgets import HTML, Button, Checkbox, FloatSlider, Layout, VBox
from ipywidgets.widgets.widget import Widget
from matplotlib.figure import Figure
from torch import Tensor

from labkit.data.drawing import SIDE, Stroke, as_mnist, picture_of
from labkit.labs.mnist_resnet18 import Reading
from labkit.results.picture_tables import feature_maps, pictures
from labkit.results.plots import draw_images
from labkit.results.words import percent
from labkit.widgets.explorer import Explorer, places
from labkit.widgets.frontend import offered

ZOOM = 10  # pixels of the screen for one of the image
PEN = 2.5  # pixels of the image
AS_THE_BOARD = {"style": {"description_width": "7em"}, "layout": {"width": f"{ZOOM * SIDE}px"}}  # controls below it
ABSENT = """To draw with the mouse, type <code>pip install ipycanvas</code> in a terminal, and start Jupyter again.
Without it, change the strokes in the cell above."""


@offered
def digit(read: Callable[[Tensor], Reading], class_names: Sequence[str], strokes: Sequence[Stroke]) -> Explorer:
    """A square to draw on; after every stroke the answer to it, and what the stages of the network see.

    ``read`` is given an image (1, 1, 28, 28) uint8; ``strokes`` are what is drawn at first.
    """
    board = Board(strokes)

    def draw(figure: Figure, prepared: bool, thickness: float) -> str:
        if not board.strokes:
            return "Nothing is drawn yet."
        image = (as_mnist if prepared else picture_of)(board.strokes, thickness)
        probabilities, maps = read(image)
        table = feature_maps(maps)
        top, bottom = figure.subfigures(2, 1, height_ratios=(3, 2))
        left, right = top.subplots(1, 2, width_ratios=(2, 3))
        left.set_axis_off()
        draw_images([left], pd.DataFrame({"title": ["what the network is given"], "image": pictures(image)}))
        right.bar(class_names, 100 * probabilities)
        right.set(ylim=(0, 100), ylabel="probability (%)")
        draw_images(places(bottom, 1, len(table)), table.rename(columns={"map": "title"}))
        first, second = np.argsort(probabilities)[::-1][:2]
        return (
            f"It reads {class_names[first]} ({percent(probabilities[first])}), else {class_names[second]} "
            f"({percent(probabilities[second])}). Below, of the stem and of each stage, the map that answers most."
        )

    controls = {
        "prepared": Checkbox(True, description="prepare it as MNIST's digits were", indent=False, **AS_THE_BOARD),
        "thickness": FloatSlider(PEN, min=1, max=5, step=0.25, description="pen (pixels)", **AS_THE_BOARD),
    }
    explorer = Explorer(draw, controls, (5.4, 4.2))  # beside the board in a window of 1280 pixels
    board.then = explorer.redraw
    explorer.box.children[0].close()  # its own place for controls; left open it would keep the network for good
    explorer.box.children = (VBox([board.box, *controls.values()], layout=Layout(flex="0 0 auto")), explorer.view)
    return explorer


class Board:
    """A square to draw on with a mouse, a pen or a finger, if ipycanvas is there; ``then`` is called after a stroke."""

    def __init__(self, strokes: Sequence[Stroke]):
        self.strokes, self.pen_is_down = [list(stroke) for stroke in strokes], False
        self.then: Callable[[], None] = lambda: None
        self.box = VBox(self.with_canvas() if find_spec("ipycanvas") else [HTML(f"<p>{ABSENT}</p>")])

    def with_canvas(self) -> Sequence[Widget]:
        """The square, and what is beside it."""
        from ipycanvas import Canvas

        self.canvas = Canvas(
            width=ZOOM * SIDE, height=ZOOM * SIDE, layout=Layout(width=f"{ZOOM * SIDE}px", height=f"{ZOOM * SIDE}px")
        )
        self.canvas.line_width, self.canvas.line_cap, self.canvas.stroke_style = ZOOM * PEN, "round", "white"
        for event, does in (("down", self.begin), ("move", self.go_on), ("up", self.lift), ("out", self.lift)):
            getattr(self.canvas, f"on_mouse_{event}")(does)
        for event, does in (("start", self.begin), ("move", self.go_on), ("end", self.lift), ("cancel", self.lift)):
            getattr(self.canvas, f"on_touch_{event}")(lambda touches, does=does: does(*(touches or [(0, 0)])[0]))
        self.show()
        clear = Button(description="Clear", tooltip="Take everything off the board")
        clear.on_click(self.wipe)
        return [HTML("Draw a digit here:"), self.canvas, clear]

    def show(self) -> None:
        """Draw the strokes on a black square."""
        self.canvas.fill_rect(0, 0, ZOOM * SIDE, ZOOM * SIDE)
        for stroke in self.strokes:
            for start, end in zip(stroke, [*stroke[1:], stroke[-1]], strict=True):
                self.line(start, end)

    def line(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """A straight line on the canvas, between points in pixels of the image."""
        self.canvas.stroke_line(*(ZOOM * value for value in (*start, *end)))

    def begin(self, x: float, y: float) -> None:
        """The pen goes down, at (x, y) in pixels of the screen."""
        self.pen_is_down = True
        self.strokes.append([(x / ZOOM, y / ZOOM)])
        self.line(self.strokes[-1][0], self.strokes[-1][0])

    def go_on(self, x: float, y: float) -> None:
        """The pen moves; if it is down, a line follows it."""
        if self.pen_is_down:
            self.strokes[-1].append((x / ZOOM, y / ZOOM))
            self.line(*self.strokes[-1][-2:])

    def lift(self, x: float, y: float) -> None:
        """The pen leaves the board: the stroke is complete."""
        if self.pen_is_down:
            self.pen_is_down = False
            self.then()

    def wipe(self, button: object = None) -> None:
        """Take everything off."""
        self.strokes.clear()
        self.show()
        self.then()
