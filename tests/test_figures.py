"""Figures drawn again: the CSV is enough, every width fits, colours stay apart, and a run folder is not trusted."""

import base64
import io
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from colour import apart_for_deuteranopes, apart_in_grey, lab
from commands import invoke
from examples import EXAMPLES
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from labkit.errors import RequestError
from labkit.results import figures, picture_tables
from labkit.results.figures import PLOTS, Drawing
from labkit.results.grey import greyed
from labkit.results.style import COLOURS, OWN, PAGES, Page
from labkit.running.figure import page_of_width

every_plot = pytest.mark.parametrize("name", sorted(PLOTS))
LAYOUTS = {"own": OWN, "column": PAGES["column"], "slide": PAGES["slide"]}
FAR_ENOUGH = 15  # CIE76, for colours used together: six times what can just be noticed
NEIGHBOURS = 25  # for neighbours of the cycle


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    before = plt.get_fignums()  # by other tests
    yield
    assert plt.get_fignums() == before


def drawing(name: str, mark: str = "sample data, not the real data set") -> Drawing:
    table, options = EXAMPLES[name]
    return Drawing(PLOTS[name], table, options, mark)


@pytest.fixture(scope="session")
def two_figures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder on sample data with two figures."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "manifest.json").write_text(json.dumps({"status": "completed", "data": {"kind": "sample"}}))
    for name in ("history", "overlays"):
        keep(folder, name)
    return folder


@pytest.fixture
def run(two_figures: Path, tmp_path: Path) -> Path:
    """A copy of it, to be tampered with."""
    return Path(shutil.copytree(two_figures, tmp_path / "run"))


def keep(folder: Path, name: str) -> None:
    table, options = EXAMPLES[name]
    mark = figures.mark_of(json.loads((folder / "manifest.json").read_text()))
    figures.save(folder / "figures", name, PLOTS[name], table, "What is seen.", mark, **options)


def test_every_plot_function_has_an_example() -> None:
    assert EXAMPLES.keys() == PLOTS.keys()


@every_plot
def test_a_figure_drawn_from_its_csv_is_the_same_to_the_byte(run: Path, name: str) -> None:
    keep(run, name)
    for form, content in figures.load(run, name).rendered(("png", "svg")).items():
        assert content == (run / "figures" / f"{name}.{form}").read_bytes()


# ---- what is written fits ----------------------------------------------------------------------------------------


def ticks(axis: Axis) -> list[Text]:
    """The labels of the ticks that are in view."""
    low, high = sorted(axis.get_view_interval())
    shown = zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=False)  # none where axes are shared
    return [label for place, label in shown if low <= place <= high and label.get_text()]


def texts(figure: Figure) -> list[Text]:
    """What is written: titles, labels, names of ticks, legends, notes."""
    found = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for ax in figure.axes:
        found += [child for child in ax.get_children() if isinstance(child, Text)]
        if ax.axison:
            found += [ax.xaxis.label, ax.yaxis.label, *ticks(ax.xaxis), *ticks(ax.yaxis)]
        found += ax.get_legend().get_texts() if ax.get_legend() else []
    return [text for text in found if text.get_text()]


@every_plot
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.filterwarnings("error")
def test_what_is_written_lies_within_the_figure_and_apart(name: str, layout: str) -> None:
    with drawing(name).drawn(LAYOUTS[layout]) as figure:
        figure.draw_without_rendering()
        assert not [text for text in texts(figure) if sticks_out(text, figure)]
        legends = [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend())]
        boxes = [legend.get_window_extent() for legend in legends]
        for ax in figure.axes:
            titles = [child for child in ax.get_children() if isinstance(child, Text) and child not in ax.texts]
            labels = [*titles, ax.xaxis.label, ax.yaxis.label]
            boxes += [text.get_window_extent() for text in labels if text.get_text()]
            for axis in (ax.xaxis, ax.yaxis):
                assert not overlaps([tick.get_window_extent() for tick in ticks(axis)])
        assert not overlaps(boxes)


def sticks_out(text: Text, figure: Figure, pixels: float = 1.5) -> bool:
    box = text.get_window_extent()
    x, y = figure.bbox.size + pixels
    return box.x0 < -pixels or box.y0 < -pixels or box.x1 > x or box.y1 > y


def overlaps(boxes: list) -> list:
    """Pairs of boxes that share more than a pixel's breadth."""
    shrunk = [box.padded(-1) for box in boxes if box.width > 2 and box.height > 2]
    return [(a, b) for a, b in itertools.combinations(shrunk, 2) if a.overlaps(b)]


@pytest.mark.parametrize(
    ("width", "millimetres"),
    [("85mm", 85), ("8.5cm", 85), ("3.3in", 83.82), ("column", 85), ("page", 170), ("slide", 254)],
)
def test_a_width_is_the_width_of_the_file(width: str, millimetres: float) -> None:
    page = page_of_width(width)
    for name in ("history", "images", "confusion_blocks"):
        picture = Image.open(io.BytesIO(drawing(name).rendered(["png"], page)["png"]))
        assert picture.width == pytest.approx(millimetres / 25.4 * 200, abs=1)
        assert picture.height <= 200 * page.height + 1


def test_a_narrow_figure_is_laid_out_anew_not_shrunk() -> None:
    with drawing("history").drawn(PAGES["column"]) as figure:
        assert figure.axes[0].get_subplotspec().get_geometry()[:2] == (2, 1)  # one panel below the other
        assert figure.axes[0].yaxis.label.get_fontsize() == 8
    with drawing("history").drawn(PAGES["slide"]) as figure:
        assert figure.axes[0].get_subplotspec().get_geometry()[:2] == (1, 2)
        assert figure.axes[0].yaxis.label.get_fontsize() == 16
    with drawing("images").drawn(PAGES["column"]) as figure:
        assert figure.axes[0].get_subplotspec().get_geometry()[1] == 4  # of the 8 columns


# ---- colours -----------------------------------------------------------------------------------------------------


def test_the_simulation_knows_black_white_and_what_deuteranopes_confuse() -> None:
    assert lab("white") == pytest.approx([100, 0, 0], abs=0.01)
    assert lab("black", deuteranopia=True) == pytest.approx([0, 0, 0], abs=0.01)
    assert lab("#808080", deuteranopia=True) == pytest.approx(lab("#808080"), abs=0.1)
    assert apart_for_deuteranopes("#a87000", "#e00000") < np.linalg.norm(lab("#a87000") - lab("#e00000")) / 2


def test_neighbours_of_the_cycle_stay_apart() -> None:
    for one, other in itertools.pairwise([*COLOURS, COLOURS[0]]):
        assert apart_for_deuteranopes(one, other) >= NEIGHBOURS, (one, other)
    assert apart_in_grey(*COLOURS[:2]) >= 20


def series(ax: Axes) -> list[tuple[str, tuple]]:
    """The colour of each series on ``ax``, and what tells it from others without any colour."""
    lines = [(line, (line.get_linestyle(), line.get_marker(), line.get_linewidth())) for line in ax.lines]
    found = [(to_hex(line.get_color()), look) for line, look in lines]
    for bars in (c for c in ax.containers if isinstance(c, BarContainer)):
        looks = {(to_hex(bar.get_facecolor()), ("bar", bar.get_hatch())) for bar in bars}
        found += looks
    for points in (c for c in ax.collections if isinstance(c, PathCollection)):
        found.append((to_hex(points.get_facecolor()[0]), ("points", points.get_paths()[0].vertices.tobytes())))
    for patches in ax.collections:
        if not isinstance(patches, PathCollection) and len(patches.get_edgecolor()):
            found.append((to_hex(patches.get_edgecolor()[0]), (type(patches).__name__,)))
    return found


@every_plot
def test_series_that_share_axes_stay_apart_for_everybody_and_in_grey(name: str) -> None:
    with drawing(name, mark="").drawn() as figure:
        for ax in figure.axes:
            for (one, look), (other, other_look) in itertools.combinations(series(ax), 2):
                if one != other:
                    assert apart_for_deuteranopes(one, other) >= FAR_ENOUGH, (one, other)
                    assert apart_in_grey(one, other) >= 20 or look != other_look, (one, other, look)


@pytest.mark.parametrize("name", ["outlines", "overlays", "pairs", "pair_errors"])
def test_colours_of_a_legend_stay_apart_for_everybody_and_in_grey(name: str) -> None:
    with drawing(name).drawn() as figure:
        (legend,) = figure.legends
        shown = {to_hex(h.get_color() if hasattr(h, "get_color") else h.get_facecolor()) for h in legend.legend_handles}
        for one, other in itertools.combinations(shown, 2):
            assert apart_for_deuteranopes(one, other) >= FAR_ENOUGH
            assert apart_in_grey(one, other) >= 15


@every_plot
def test_a_grey_figure_has_no_colour(name: str) -> None:
    picture = Image.open(io.BytesIO(drawing(name).rendered(["png"], PAGES["column"], grey=True)["png"])).convert("RGB")
    pixels = np.asarray(picture, dtype=int)
    assert (pixels.max(axis=-1) - pixels.min(axis=-1)).max() <= 1


def test_grey_is_as_light_as_the_colour_was() -> None:
    colours = np.array([[*to_rgb(colour), 0.5] for colour in COLOURS])
    for colour, grey in zip(colours, greyed(colours), strict=True):
        assert lab(grey[:3]) == pytest.approx([lab(colour[:3])[0], 0, 0], abs=0.1)
        assert grey[3] == 0.5


def test_the_svg_of_a_grey_figure_names_no_colour_either() -> None:
    content = drawing("class_counts").rendered(["svg"], grey=True)["svg"].decode()
    for colour in set(re.findall(r"#[0-9a-f]{6}", content)):
        assert colour[1:3] == colour[3:5] == colour[5:7]


# ---- the mark ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "mark"),
    [
        ({"kind": "sample", "verified": False}, "sample data, not the real data set"),
        ({"kind": "official", "verified": False}, "not the published data set"),
        ({"kind": "official", "verified": True}, ""),
        ({"kind": "official", "verified": False, "complete": True}, ""),
        ({}, "not the published data set"),
        ("tampered", "not the published data set"),
        (["tampered"], "not the published data set"),
    ],
)
def test_a_redrawn_figure_says_what_it_is_not(run: Path, data: object, mark: str) -> None:
    (run / "manifest.json").write_text(json.dumps({"status": "completed", "data": data}))
    with figures.load(run, "history").drawn() as figure:
        assert [text.get_text() for text in figure.texts] == ([mark] if mark else [])


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("page", PAGES)
def test_on_any_page_and_in_grey_a_figure_says_what_it_is_not(run: Path, page: str, grey: bool) -> None:
    with figures.load(run, "history").drawn(PAGES[page], grey) as figure:
        assert [text.get_text() for text in figure.texts] == ["sample data, not the real data set"]


# ---- tables with pictures ----------------------------------------------------------------------------------------


def test_pictures_words_and_floats_survive_a_csv(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "grey": [np.arange(6, dtype=np.uint8).reshape(2, 3), np.zeros((1, 1), np.uint8)],
            "colour": [np.arange(18, dtype=np.uint8).reshape(2, 3, 3)] * 2,
            "mask": [np.array([[True, False, True]] * 11), np.zeros((3, 9), bool)],
            "class": ["007", "nan"],
            "share": [0.1 + 0.2, 1e-300],
            "right": [True, False],
            "count": [3, 4],
        }
    )
    path = tmp_path / "table.csv"
    path.write_text(picture_tables.to_csv(table), "utf-8")
    read = picture_tables.read_csv(path, picture_tables.words_in(table))
    assert list(read) == list(table)
    for name in ("grey", "colour", "mask"):
        for one, other in zip(table[name], read[name], strict=True):
            assert np.array_equal(one, other)
            assert one.dtype == other.dtype
    for name in ("class", "share", "right", "count"):
        assert read[name].tolist() == table[name].tolist()


def png(mode: str, size: tuple[int, int]) -> bytes:
    content = io.BytesIO()
    Image.new(mode, size).save(content, "PNG")
    return content.getvalue()


def uri(content: bytes) -> str:
    return picture_tables.PREFIX + base64.b64encode(content).decode()


@pytest.mark.parametrize(
    "cell",
    [
        "data:image/png;base64,%%%",
        "data:image/png;base64,",
        uri(b"no picture"),
        uri(png("L", (8, 8))[:-30]),
        uri(png("RGBA", (2, 2))),
        uri(png("L", (4096, 1))),
        "data:image/jpeg;base64,AAAA",
        "0.5",
    ],
)
def test_a_cell_that_is_no_picture_is_a_sentence(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f'image\n"{uri(png("L", (1, 1)))}"\n"{cell}"\n')
    with pytest.raises(
        RequestError, match=r"table.csv, line 3: the picture in column 'image' cannot be read"
    ) as caught:
        picture_tables.read_csv(path)
    assert len(str(caught.value).splitlines()) == 1


def test_only_png_is_opened_whatever_the_text_claims(tmp_path: Path) -> None:
    content = io.BytesIO()
    Image.new("L", (2, 2)).save(content, "BMP")
    (tmp_path / "t.csv").write_text(f'image\n"{uri(content.getvalue())}"\n')
    with pytest.raises(RequestError, match="cannot be read"):
        picture_tables.read_csv(tmp_path / "t.csv")


def test_large_pictures_are_made_smaller_and_masks_keep_two_values() -> None:
    picture, mask = np.zeros((600, 400, 3), np.uint8), np.zeros((600, 400), bool)
    mask[:300] = True
    assert picture_tables.smaller(picture).shape == (192, 128, 3)
    shrunk = picture_tables.smaller(mask)
    assert (shrunk.shape, shrunk.dtype) == ((192, 128), bool)
    assert shrunk.mean() == 0.5


# ---- the command -------------------------------------------------------------------------------------------------


def command(*words: object) -> tuple[int, str]:
    said = invoke("figure", *words)
    return said.exit_code, said.output


def test_the_command_writes_figures_here_and_says_where(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert command("history", "--run", run) == (0, "history.pdf\n")
    assert command("history", "--run", run, "--width", "85mm", "--format", "svg", "--grey") == (
        0,
        "history-85mm-grey.svg\n",
    )
    assert command("--all", "--run", run, "--width", "slide", "--format", "png") == (
        0,
        "history-slide.png\noverlays-slide.png\n",
    )
    assert command("overlays", "--run", run, "--output", "a/b.png") == (0, "a/b.png\n")
    assert Image.open("a/b.png").format == "PNG"
    assert (here / "history.pdf").read_bytes() == (run / "figures" / "history.pdf").read_bytes()
    assert sorted(path.name for path in here.iterdir()) == [
        "a",
        "history-85mm-grey.svg",
        "history-slide.png",
        "history.pdf",
        "overlays-slide.png",
    ]


WRONG = [
    (["histroy"], r"has no figure 'histroy' that can be drawn again: it has history\."),
    (["nothing"], r"it has history, overlays\."),
    (["../figures/history"], "has no figure"),
    (["history", "--width", "85"], "The width '85' is not allowed: give 50mm to 500mm"),
    (["history", "--width", "1mm"], "is not allowed"),
    (["history", "--width", "nanmm"], "is not allowed"),
    (["history", "--width", "9999cm"], "is not allowed"),
    (["history", "--format", "jpg"], "The format 'jpg' is not known: give one of pdf, png, svg"),
    (["history", "--output", "x.gif"], "The format 'gif' is not known"),
    (["history", "--output", "x.png", "--format", "pdf"], r"does not end in \.pdf"),
    (["--all", "--output", "x.png"], "--output is one file, but 2 figures are asked for"),
    (["history", "--output", "/proc/nowhere/x.png"], "cannot be written"),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG)
def test_a_wrong_request_is_a_sentence_and_nothing_is_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], sentence: str
) -> None:
    refused(run, tmp_path, monkeypatch, words, sentence)


def refused(folder: Path, here: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], sentence: str) -> None:
    monkeypatch.chdir(here)
    before = sorted(here.rglob("*"))
    code, said = command(*words, "--run", folder)
    assert code == 2, said
    (line,) = said.strip().splitlines()
    assert re.search(sentence, line), line
    assert sorted(here.rglob("*")) == before


def recipe(**changes: object) -> str:
    return json.dumps({"plot": "history", "options": {"metric": "dice"}, "words": []} | changes)


TAMPERED = [
    (recipe(plot="os.system"), "names the plot 'os.system', which this workbook does not have"),
    (recipe(plot="__class__"), "does not have"),
    (recipe(options={"metric": "dice", "evil": 1}), "do not fit together .evil: Unexpected keyword argument"),
    (recipe(options={"metric": "dice", "ax": "x"}), "do not fit together"),
    (recipe(options={}), "do not fit together .metric: Missing required"),
    (recipe(options={"metric": 3}), "do not fit together .metric: Input should be a valid string"),
    (recipe(options={"metric": "iou"}), "do not fit together .KeyError: 'train_iou'"),
    (recipe(options={"metric": "dice", "chosen": 99}), "do not fit together .IndexError"),
    (recipe(options=[]), "does not say how to draw a figure"),
    (recipe(run="rm"), "does not say how to draw a figure"),
    ("[]", "does not say how to draw a figure"),
    ("no json", "does not say how to draw a figure"),
    ("", "does not say how to draw a figure"),
]


@pytest.mark.parametrize(("text", "sentence"), TAMPERED)
def test_a_tampered_recipe_is_a_sentence(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    (run / "figures" / "history.json").write_text(text)
    refused(run, tmp_path, monkeypatch, ["--all"], sentence)


@pytest.mark.parametrize(
    "content", [None, b"", b"\xff\xfe\x00", b"a,b\n1,2,3\n", b"epoch\n1\n", b'epoch,val_dice\n1,"$\\frac$"\n']
)
def test_a_damaged_table_is_a_sentence(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    path = run / "figures" / "history.csv"
    path.unlink() if content is None else path.write_bytes(content)
    refused(run, tmp_path, monkeypatch, ["history"], "cannot be read|missing or not a table|do not fit together")


def test_names_of_pictures_are_no_mathematics(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = run / "figures" / "overlays.csv"
    path.write_text(path.read_text().replace("american_bulldog_101\n", "$\\frac$\n"))
    monkeypatch.chdir(tmp_path)
    assert command("overlays", "--run", run) == (0, "overlays.pdf\n")


def test_what_is_no_run_and_what_an_older_workbook_made(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(tmp_path / "nowhere", tmp_path, monkeypatch, ["history"], "is no run folder")
    refused(tmp_path / "nowhere", tmp_path, monkeypatch, ["--all"], "is no run folder")
    for path in (run / "figures").glob("*.json"):
        os.remove(path)
    refused(run, tmp_path, monkeypatch, ["history"], "an older workbook made them without a NAME.json")
    assert command("--run", run)[0] == 2
    assert command("history", "--all", "--run", run)[0] == 2


def test_a_page_is_known_by_its_letters_and_its_width() -> None:
    assert page_of_width("") is OWN
    assert page_of_width("8.5cm") == page_of_width("85mm") == page_of_width("column")
    assert PAGES["slide"] == Page(10, font=16, height=10 * 9 / 16)
