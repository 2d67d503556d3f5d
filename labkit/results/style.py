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
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import MaxNLocator

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
HEAD = 0.25  # inches above a picture of a grid, for its title
STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # right above the axes: looking for a better place takes a quarter of the time of a figure
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


def literal(text: object) -> str:
    """A text as it is, for matplotlib, where a $ would begin mathematics: names of files, folders and classes."""
    return str(text).replace("$", r"\$")


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
    return Page(millimetres / 25.4, font=8 if millimetres < 120 else 9, height=9)


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


def figure_size(width: float, height: float, rows: int = 1, least: float = 0.85) -> tuple[float, float]:
    """Size in inches of a figure on the present page whose own is this; a narrow page makes it less high, too.

    ``least`` is the share of its own height that it keeps in any case.
    """
    page = _page.get()
    if page.width is None:
        return width, height
    shrink = min(1.0, max(least, page.room * rows / width))
    return page.width, min(page.height, rows * shrink * height * page.scale)


def beside(count: int, inches: float) -> int:
    """How many of ``count`` things stand in a row where each needs so many inches; all rows about equally long."""
    most = max(1, int(min(count, _page.get().room / inches)))
    return -(-count // -(-count // most))


def letters(share: float) -> int:
    """About how many letters of 10 points fit into this share of the page's width."""
    room = _page.get().room
    return 1000 if room == math.inf else int(14 * share * room)


def grow(figure: Figure, inches: float) -> None:
    """Make a figure higher, as far as the page allows."""
    figure.set_figheight(min(figure.get_figheight() + inches, _page.get().height))


def panels(count: int, width: float, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure with axes side by side or, on a page with less than 2.8 inches for each, one below the other."""
    rows = count if _page.get().room / count < 2.8 else 1
    size = figure_size(width, height, rows)
    figure, axes = plt.subplots(rows, count // rows, figsize=size, squeeze=False, **options)
    return figure, list(axes.flat)


def whole_ticks(axis: Axis) -> None:
    """Ticks at whole numbers only, even where there is but one: epochs and images have no halves."""
    axis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))


def axes_for(ax: Axes | None, width: float = 5.0, height: float = 3.2) -> Axes:
    """``ax``, or new axes of this size in inches."""
    return ax if ax is not None else panels(1, width, height)[1][0]


def grid(
    count: int, columns: int, *, title: str, side: float, legend: Sequence[Artist] = ()
) -> tuple[Figure, Iterator[Axes]]:
    """A figure with ``count`` empty places for pictures, a title and a legend below; and its axes, one by one.

    A picture is ``side`` inches wide. Where the page leaves it less than 0.6 of that, there are half or a third as many
    columns, or else as many as make pictures largest.
    """
    page, extra = _page.get(), 0.35 + 0.3 * bool(legend)  # inches for title and legend
    if page.width is not None:
        columns = _columns(page, count, columns, 0.6 * side, extra)
    rows = -(-count // columns)
    width = side * columns if page.width is None else page.width
    height = ((width / columns / page.scale + HEAD) * rows + extra) * page.scale
    figure, places = plt.subplots(rows, columns, figsize=(width, min(page.height, height)), squeeze=False)
    figure.suptitle(title, x=0.01, ha="left")
    for ax in places.flat:
        ax.axis("off")
    if legend:
        dark = {"facecolor": "#303030", "framealpha": 1, "labelcolor": "white", "frameon": True}
        legend_below(figure, legend, **dark)  # as pictures are, or yellow would not show
    return figure, iter(places.flat)


def _columns(page: Page, count: int, columns: int, least: float, extra: float) -> int:
    """How many columns of pictures a page should have, for pictures of at least so many inches."""

    def side(columns: int) -> float:
        return min(page.room / columns, (page.height / page.scale - extra) / -(-count // columns) - HEAD)

    fitting = (c for c in (columns, columns // 2, columns // 3) if c and side(c) >= least)
    return next(fitting, max(range(1, count + 1), key=side))


def legend_below(figure: Figure, entries: Sequence[Artist], **look: Any) -> Legend:
    """A legend below everything, in as few rows as the width of the figure allows."""
    for rows in range(1, len(entries) + 1):
        columns = -(-len(entries) // rows)
        legend = figure.legend(handles=list(entries), loc="outside lower center", ncols=columns, **look)
        if columns == 1 or legend.get_window_extent().width < figure.bbox.width:
            return legend
        legend.remove()
    raise ValueError("A legend needs an entry.")


def legend_below_axes(ax: Axes) -> None:
    """The legend of ``ax`` below its figure, which grows by it as far as the page allows."""
    if ax.get_legend():
        ax.get_legend().remove()
    legend = legend_below(ax.figure, ax.get_legend_handles_labels()[0])
    grow(ax.figure, legend.get_window_extent().height / ax.figure.dpi)


def legend_above(ax: Axes) -> None:
    """A legend in one row above the axes, at the right."""
    entries = ax.get_legend_handles_labels()[1]
    ax.legend(ncols=len(entries), loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
