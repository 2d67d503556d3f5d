"""What is written in a figure is made to fit: called once when all is drawn, whatever the width of the figure."""

import itertools
import textwrap
from collections.abc import Collection

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator

from labkit.results.style import GREY, grow

GAP = 3  # least number of points between two texts


def fit(figure: Figure) -> None:
    """Turn tick labels that overlap, break titles and labels that are too long, lift titles above a legend."""
    _place(figure)
    for step in (_turn_names, _break_names, _break_labels, _break_titles, _lift_title):
        changed = [step(ax) for ax in figure.axes]
        if any(changed):
            _place(figure)  # what has changed needs more or less room
    for title in _texts(figure, [figure.get_suptitle()]):
        _break(title, 0.98 * figure.bbox.width)
    _place(figure)
    figure.set_layout_engine("none")  # every file gets this layout, however many are written


def _place(figure: Figure) -> None:
    """Lay out the axes of a figure around what is written."""
    figure.get_layout_engine().execute(figure)
    for ax in figure.axes:
        ax.apply_aspect()


def write_mark(figure: Figure, mark: str, size: float) -> None:
    """Write ``mark`` into the lower right corner, on a strip that nothing else reaches into, below any legend."""
    height = figure.bbox.height
    strip = below = 1.6 * size * figure.dpi / 72 / height  # shares of the figure's height
    figure.text(0.99, 0.3 * strip, mark, ha="right", va="bottom", fontsize=size, color=GREY)
    for legend in figure.legends:
        legend.set_bbox_to_anchor((0, strip, 1, 1 - strip), transform=figure.transFigure)
        below += (legend.get_window_extent().height + 2 * GAP * figure.dpi / 72) / height
    figure.get_layout_engine().set(rect=(0, below, 1, 1 - below))


def _cell(ax: Axes) -> float:
    """The width of the figure's column that ``ax`` stands in, in pixels."""
    return ax.figure.bbox.width / ax.get_subplotspec().get_geometry()[1]


def _turn_names(ax: Axes) -> bool:
    """Turn the names along the x axis upright if they overlap; whether they did."""
    boxes = [name.get_window_extent() for name in ax.get_xticklabels() if name.get_text()]
    gap = GAP * ax.figure.dpi / 72
    overlap = any(left.x1 + gap > right.x0 for left, right in itertools.pairwise(boxes))
    turned = ax.axison and overlap and isinstance(ax.xaxis.get_major_locator(), FixedLocator)
    if turned:
        ax.xaxis.set_tick_params(rotation=90)
    return turned


def _break_names(ax: Axes) -> bool:
    """Break the names along the y axis if they take half of the width, and make room for the lines; whether they do."""
    names = ax.get_yticklabels()
    if not (ax.axison and names and isinstance(ax.yaxis.get_major_locator(), FixedLocator)):
        return False
    broken = [_broken(name, 0.5 * _cell(ax)) for name in names]
    lines = 1 + max(name.count("\n") for name in broken)
    if lines > 1:
        ax.set_yticks(ax.get_yticks(), broken)
        needed = len(names) * lines * 1.3 * names[0].get_fontsize() / 72
        grow(ax.figure, max(0, needed - ax.bbox.height / ax.figure.dpi))
    return lines > 1


def _break_labels(ax: Axes) -> bool:
    """Break the labels of the axes where they are longer than these; whether they were."""
    across = _break(ax.xaxis.label, min(0.95 * _cell(ax), 1.2 * ax.bbox.width))
    return _break(ax.yaxis.label, ax.bbox.height, along="height") or across


def _break_titles(ax: Axes) -> bool:
    """Break the titles of ``ax`` where they reach beyond its column; whether they did."""
    begin = ax.bbox.x0 % _cell(ax)  # of a title at the left: where the axes begin, right of the tick labels
    room = {"left": 0.98 * _cell(ax) - begin, "center": 0.9 * _cell(ax)}
    broken = [_break(title, room[where]) for where, title in _titles(ax).items()]
    return any(broken)


def _texts(artist: Artist, said: Collection[str]) -> list[Text]:
    """The texts right under ``artist`` that say one of these."""
    return [child for child in artist.get_children() if isinstance(child, Text) and child.get_text() in said]


def _titles(ax: Axes) -> dict[str, Text]:
    """The titles of ``ax`` by where they stand: left or center."""
    shown = {ax.get_title(where): where for where in ("left", "center") if ax.get_title(where)}
    return {shown[text.get_text()]: text for text in _texts(ax, shown)}


def _break(text: Text, room: float, along: str = "width") -> bool:
    """Break a text so that it keeps within ``room`` pixels; whether it did not before."""
    before = text.get_text()
    text.set_text(_broken(text, room, along))
    return text.get_text() != before


def _broken(text: Text, room: float, along: str = "width") -> str:
    """A text with as many line breaks as it takes to keep it within ``room`` pixels."""
    said, length = text.get_text(), getattr(text.get_window_extent(), along)
    if not said or length <= room:
        return said
    lines = said.splitlines()
    letters = max(5, int(0.92 * max(map(len, lines)) * room / length))
    open_lines = (line.replace("_", "_ ") for line in lines)  # a name may be broken at its underscores
    broken = [part for line in open_lines for part in textwrap.wrap(line, letters, break_long_words=False)]
    return "\n".join(broken).replace("_ ", "_")


def _lift_title(ax: Axes) -> bool:
    """Lift a title above the legend that it would run into; whether it would."""
    legend, titles = ax.get_legend(), _titles(ax)
    if legend is None or "left" not in titles:
        return False
    title, box = titles["left"], legend.get_window_extent()
    meets = title.get_window_extent().overlaps(box)
    if meets:
        points = box.height * 72 / ax.figure.dpi
        ax.set_title(title.get_text(), loc="left", fontsize=title.get_fontsize(), pad=points + GAP)
    return bool(meets)
