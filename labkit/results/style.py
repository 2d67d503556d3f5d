"""How every figure looks: its colours, and how it is laid out for a page. What is drawn is in ``plots`` and its like.

Colours are Okabe and Ito's, told apart by people with colour-blindness. Series that share axes differ in line style,
marker or hatch as well, and the first two in lightness, so that a grey print can be read.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
YELLOW, BLACK, GREY = "#F0E442", "#000000", "#666666"
COLOURS = (BLUE, ORANGE, GREEN, SKY, RED, PURPLE)  # in this order neighbours differ most, in grey too
LINES = tuple(
    {"color": colour, "ls": style, "marker": marker}
    for colour, style, marker in zip(COLOURS, ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1))), "os^DvP", strict=True)
)
BARS = tuple(
    {"color": colour, "hatch": hatch, "edgecolor": "white"}
    for colour, hatch in zip(COLOURS, ("", "//", "xx", "..", "\\\\", "--"), strict=True)
)
STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E5E5E5",
    "legend.frameon": False,
    "axes.prop_cycle": mpl.cycler(color=COLOURS),
    "pdf.fonttype": 42,
    "svg.hashsalt": "labkit",
}


@dataclass(frozen=True)
class Page:
    """What a figure is laid out for: its width and greatest height in inches, the size of its letters in points."""

    width: float | None = None  # None: each figure's own
    font: float = 10
    height: float = math.inf

    @property
    def scale(self) -> float:
        """How much larger all is than with letters of 10 points."""
        return self.font / 10

    @property
    def room(self) -> float:
        """The width in inches, were its letters of 10 points."""
        return math.inf if self.width is None else self.width / self.scale

    def style(self) -> dict[str, Any]:
        """Settings of matplotlib for this page."""
        titles = {"axes.titlesize": 1.1 * self.font, "figure.titlesize": 1.1 * self.font}
        strokes = {"lines.linewidth": 1.8 * self.scale, "lines.markersize": 4.5 * self.scale}
        return STYLE | {"font.size": self.font, "axes.linewidth": 0.8 * self.scale} | titles | strokes


def page_of(millimetres: float) -> Page:
    """A page of a width in print; letters have 8 points in a column and 9 on a whole page, as in most journals."""
    return Page(millimetres / 25.4, font=8 if millimetres < 120 else 9)


PAGES = {"column": page_of(85), "page": page_of(170), "slide": Page(10, font=16, height=10 * 9 / 16)}
OWN = Page()  # what a figure is made for if nobody asks for another width
_page: ContextVar[Page] = ContextVar("page", default=OWN)


def use_style() -> None:
    """Set the workbook's look for all figures drawn from now on."""
    mpl.rcParams.update(OWN.style())


@contextmanager
def on_page(page: Page) -> Iterator[None]:
    """Lay out the figures that are made within for ``page``."""
    token = _page.set(page)
    try:
        with mpl.rc_context(page.style()):
            yield
    finally:
        _page.reset(token)


def figure_size(width: float, height: float, rows: int = 1) -> tuple[float, float]:
    """Size in inches of a figure on the present page whose own is this; narrow pages make it less high, too."""
    page = _page.get()
    if page.width is None:
        return width, height
    shrink = min(1.0, max(0.85, page.room * rows / width))
    return page.width, min(page.height, rows * shrink * height * page.scale)


def panels(count: int, width: float, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure with axes side by side or, on a page with less than 2.8 inches for each, one below the other."""
    rows = count if _page.get().room / count < 2.8 else 1
    size = figure_size(width, height, rows)
    figure, axes = plt.subplots(rows, count // rows, figsize=size, squeeze=False, **options)
    return figure, list(axes.flat)


def axes_for(ax: Axes | None, width: float = 5.0, height: float = 3.2) -> Axes:
    """``ax``, or new axes of this size in inches."""
    return ax if ax is not None else panels(1, width, height)[1][0]


def grid(
    count: int, columns: int, *, title: str, side: float, head: float = 0.25, legend: Sequence[Artist] = ()
) -> tuple[Figure, Iterator[Axes]]:
    """A figure with ``count`` empty places for pictures, a title and a legend below; and its axes, one by one.

    A picture is ``side`` inches wide. A narrow page has half or a third as many columns, so
    that pictures keep 0.6 of their side; a page of limited height has as many as make them largest.
    """
    page = _page.get()
    head, extra = 0.25, 0.35 + 0.3 * bool(legend)  # inches above each picture, and for title and legend
    if page.height < math.inf:
        columns = max(range(1, count + 1), key=lambda c: _side(page, count, c, head, extra))
    elif page.room < math.inf:
        columns = next(
            c for c in (columns, columns // 2, columns // 3, 1) if c and (page.room / c >= 0.6 * side or c == 1)
        )
    rows = -(-count // columns)
    width = side * columns if page.width is None else page.width
    cell = width / columns / page.scale
    height = ((cell + head) * rows + extra) * page.scale
    figure, places = plt.subplots(rows, columns, figsize=(width, min(page.height, height)), squeeze=False)
    figure.suptitle(title, x=0.01, ha="left")
    for ax in places.flat:
        ax.axis("off")
    if legend:
        legend_below(figure, legend, facecolor="#909090", frameon=True)  # yellow shows on grey
    return figure, iter(places.flat)


def _side(page: Page, count: int, columns: int, head: float, extra: float) -> float:
    """How large a picture is with so many columns on a page of limited height."""
    return min(page.room / columns, (page.height / page.scale - extra) / -(-count // columns) - head)


def legend_below(figure: Figure, entries: Sequence[Artist], **look: Any) -> None:
    """A legend below everything, in as few rows as the width of the figure allows."""
    for rows in range(1, len(entries) + 1):
        columns = -(-len(entries) // rows)
        legend = figure.legend(handles=list(entries), loc="outside lower center", ncols=columns, **look)
        if columns == 1 or legend.get_window_extent().width < figure.bbox.width:
            break
        legend.remove()


def legend_below_axes(ax: Axes) -> None:
    """The legend of ``ax`` below it, in as few rows as the width of its figure allows."""
    if ax.get_legend():
        ax.get_legend().remove()
    legend_below(ax.figure, ax.get_legend_handles_labels()[0])


def legend_above(ax: Axes) -> None:
    """A legend in one row above the axes, at the right."""
    entries = ax.get_legend_handles_labels()[1]
    ax.legend(ncols=len(entries), loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
