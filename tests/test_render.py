"""The report in four formats: complete, accessible, the same again, and closed to what untrusted text may try."""

import html.parser
import io
import re
import shutil
import subprocess
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pdfua
import pypdf
import pytest
from report_sample import write_sample

from labkit.errors import RequestError
from labkit.report.render import FORMATS, render

FRONT = "---\ntitle: T\ndate: 2026-01-02\n---\n\n"
LATEX_COMPLAINS = re.compile(r"^! |[Ww]arning|Overfull|Underfull|Missing character|undefined")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Markdown of the sample report."""
    return write_sample(tmp_path_factory.mktemp("sample") / "source")


@pytest.fixture(scope="module")
def out(sample: Path) -> Path:
    """The folder with the sample report in all formats."""
    folder = sample.parent.parent / "out"
    assert render(sample, folder) == [folder / f"report.{form}" for form in FORMATS]
    return folder


@pytest.fixture(scope="module")
def pdf(out: Path) -> pypdf.PdfReader:
    return pypdf.PdfReader(out / "report.pdf")


@pytest.fixture(scope="module")
def word(out: Path) -> dict[str, str]:
    """The parts of the Word document."""
    with zipfile.ZipFile(out / "report.docx") as archive:
        return {name: archive.read(name).decode("utf-8") for name in archive.namelist() if name.endswith(".xml")}


@pytest.fixture
def small(sample: Path, tmp_path: Path) -> Path:
    """A folder with figures, for reports of a few lines."""
    shutil.copytree(sample.parent / "figures", tmp_path / "figures")
    return tmp_path


def refused(folder: Path, body: str, front: str = FRONT, formats: tuple[str, ...] = ("html",)) -> str:
    """The one sentence with which a report of ``body`` is refused; nothing is written."""
    (folder / "report.md").write_text(front + body, "utf-8")
    with pytest.raises(RequestError) as refusal:
        render(folder / "report.md", folder / "out", formats)
    assert not (folder / "out").exists()
    sentence = str(refusal.value)
    assert "\n" not in sentence
    return sentence


def made(folder: Path, body: str, form: str, front: str = FRONT) -> bytes:
    """A report of ``body`` in one format."""
    (folder / "report.md").write_text(front + body, "utf-8")
    return render(folder / "report.md", folder / "out", [form])[0].read_bytes()


def test_the_same_source_gives_the_same_bytes(sample: Path, out: Path, tmp_path: Path) -> None:
    for path in render(sample, tmp_path / "again"):
        assert path.read_bytes() == (out / path.name).read_bytes(), path.name


def roles(pdf: pypdf.PdfReader) -> list[tuple[str, str]]:
    """The structure tree of a PDF in reading order: role and alternative text."""
    found = []

    def walk(node: Any) -> None:
        node = node.get_object() if isinstance(node, pypdf.generic.IndirectObject) else node
        if isinstance(node, list):
            for child in node:
                walk(child)
        elif isinstance(node, dict):
            if "/S" in node:
                found.append((node["/S"], str(node.get("/Alt", ""))))
            walk(node.get("/K"))

    walk(pdf.root_object["/StructTreeRoot"]["/K"])
    return found


def test_the_pdf_passes_the_checks_of_pdf_ua(out: Path) -> None:
    report = pdfua.validate(str(out / "report.pdf"))
    assert not report.findings
    # The checker cannot read the headings of this PDF ("not a Dictionary"); the structure tree has them.
    assert {outcome.rule_id for outcome in report.skipped} <= {"UA-14-001"}


def test_the_pdf_is_tagged_named_and_dated_by_the_report(pdf: pypdf.PdfReader) -> None:
    tags = Counter(role for role, _ in roles(pdf))
    assert (tags["/Title"], tags["/Figure"], tags["/Table"], tags["/THead"], tags["/Note"]) == (1, 3, 3, 3, 1)
    assert tags["/Caption"] == 5
    assert tags["/H1"] == 4
    assert pdf.root_object["/Lang"] == "en"
    assert pdf.metadata
    assert pdf.metadata.title == "Residual networks on handwritten digits"
    assert pdf.metadata.author == "王小明, Zoë Müller-Łukasiewicz, José Ñáñez"
    assert pdf.metadata.creation_date
    assert pdf.metadata.creation_date.date().isoformat() == "2026-11-20"


def test_figures_and_formulas_of_the_pdf_are_described(pdf: pypdf.PdfReader) -> None:
    alts = [alt for role, alt in roles(pdf) if role == "/Figure"]
    assert '95 %, then "sgd"; 50 % of the gain comes in epoch_1.' in alts[0]
    formulas = [alt for role, alt in roles(pdf) if role == "/Formula"]
    assert len(formulas) == 7
    assert any(r"\begin{cases}" in alt for alt in formulas)


def test_text_can_be_copied_from_the_pdf(pdf: pypdf.PdfReader) -> None:
    text = "\n".join(page.extract_text() for page in pdf.pages).replace("\u00a0", " ")
    for words in ("王小明", "Müller-Łukasiewicz", "中文字符也要能复制", "efficient, affordable", "flawless"):
        assert words in text
    assert "−0.4 ± 0.3 points" in text
    assert "11 173 962" in text
    assert "`" not in text
    assert "no_weight_decay_on_norm_layers" in text.replace("\n", "")  # broken at a joint, with nothing put in
    assert all(f"{i + 1} / {len(pdf.pages)}" in page.extract_text() for i, page in enumerate(pdf.pages))


def test_a_table_longer_than_a_page_repeats_its_head(pdf: pypdf.PdfReader) -> None:
    pages = [page.extract_text() for page in pdf.pages]
    with_rows = [page for page in pages if re.search(r"^run \d+ ", page, re.M)]
    assert len(with_rows) > 1
    assert all(page.count("run seed accuracy (%) seconds") == 1 for page in with_rows)
    assert sum(len(re.findall(r"^run \d+ ", page, re.M)) for page in with_rows) == 70


def test_word_has_styles_captions_descriptions_and_heads(word: dict[str, str]) -> None:
    body = word["word/document.xml"]
    styles = Counter(re.findall(r'w:pStyle w:val="(\w+)"', body))
    assert (styles["Title"], styles["Heading1"], styles["Heading2"], styles["Heading3"]) == (1, 4, 5, 2)
    assert (styles["ImageCaption"], styles["TableCaption"], styles["CaptionedFigure"]) == (3, 2, 3)
    assert (body.count("SEQ Figure"), body.count("SEQ Table")) == (3, 2)
    assert body.count("<w:tblHeader") == 3
    assert not set(styles) - set(re.findall(r'w:styleId="(\w+)"', word["word/styles.xml"]))
    described = re.findall(r'<wp:docPr descr="([^"]*)"', body)
    assert len(described) == 3
    assert all(described)
    assert body.count("<m:oMath>") + word["word/footnotes.xml"].count("<m:oMath>") == 7


def test_word_knows_title_authors_language_and_page(word: dict[str, str]) -> None:
    core = word["docProps/core.xml"]
    assert "<dc:title>Residual networks on handwritten digits</dc:title>" in core
    assert "王小明; Zoë Müller-Łukasiewicz; José Ñáñez" in core
    assert "<dc:language>en</dc:language>" in core
    assert "2026-11-20T00:00:00Z" in core
    assert 'w:w="11906"' in word["word/document.xml"]
    footer = next(text for name, text in word.items() if "footer" in name)
    assert "NUMPAGES" in footer


def test_references_have_the_same_numbers_in_all_formats(out: Path, pdf: pypdf.PdfReader, word: dict[str, str]) -> None:
    page = (out / "report.html").read_text("utf-8")
    for name, number in {"fig-wide": "Figure\u00a01", "fig-tall": "Figure\u00a03", "tbl-long": "Table\u00a02"}.items():
        assert f'<a href="#{name}">{number}</a>' in page
        assert f'id="{name}"' in page
        assert rf"\hyperref[{name}]{{{number.replace(chr(160), '~')}}}" in (out / "report.tex").read_text("utf-8")
        anchor = re.search(rf'<w:hyperlink w:anchor="{name}">.*?</w:hyperlink>', word["word/document.xml"])
        assert anchor
        assert number in anchor[0]
        assert number in pdf.pages[0].extract_text()
    assert "Figure\u00a03: </strong>A tall figure" in page
    text = "\n".join(p.extract_text() for p in pdf.pages).replace("\u00a0", " ")
    assert "Figure 3: A tall figure" in text
    assert "Table 2: Every run." in text


class Page(html.parser.HTMLParser):
    """Collects the elements of an HTML page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def test_html_is_whole_described_and_runs_nothing(out: Path) -> None:
    text = (out / "report.html").read_text("utf-8")
    elements = Page(text).elements
    images = [attrs for tag, attrs in elements if tag == "img"]
    assert len(images) == 3
    assert all(image["alt"] and (image["src"] or "").startswith("data:image/svg+xml;base64,") for image in images)
    tags = Counter(tag for tag, _ in elements)
    assert not tags.keys() & {"script", "iframe", "link", "object", "embed", "form"}
    assert tags["math"] == 7
    assert not [attrs for _, attrs in elements if any(name.startswith("on") for name in attrs)]
    assert "url(" not in text
    assert elements[0] == ("html", {"lang": "en"})
    assert text.count('class="scroll"') == 3
    targets = [(attrs["href"] or "")[1:] for tag, attrs in elements if tag == "a" and (attrs["href"] or "")[0] == "#"]
    assert set(targets) <= {attrs.get("id") for _, attrs in elements}
    assert {"introduction", "methods", "discussion"} <= set(targets)


def test_words_of_students_are_words_in_every_format(out: Path, pdf: pypdf.PdfReader, word: dict[str, str]) -> None:
    tex = (out / "report.tex").read_text("utf-8").replace(r"\joint{}", "")
    assert r"\textbackslash input\{/etc/passwd\}" in tex
    assert r"\textbackslash write18\{touch pwned\}" in tex
    body = tex.split(r"\begin{document}")[1]
    assert not re.search(r"\\(input|write|include)\b", body)
    text = "\n".join(page.extract_text() for page in pdf.pages)
    assert "<script>alert(“x”)</script>" in text
    assert "root:" not in text
    assert '#read("/etc/' in text
    assert "taken over" in text
    assert "&lt;iframe" in word["word/document.xml"]


@pytest.mark.skipif(not shutil.which("xelatex"), reason="xelatex is not installed")
def test_latex_compiles_without_a_warning(out: Path, tmp_path: Path) -> None:
    shutil.copytree(out / "figures", tmp_path / "figures")
    shutil.copy(out / "report.tex", tmp_path)
    for _ in range(4):
        command = ["xelatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "report.tex"]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
        assert ran.returncode == 0, ran.stdout[-1500:]
        log = (tmp_path / "report.log").read_text("utf-8", "replace")
        if "Rerun" not in log.split("rerunfilecheck.sty")[-1].replace("rerunfilecheck", ""):
            break
    assert not [line for line in log.splitlines() if LATEX_COMPLAINS.search(line) and "infwarerr" not in line]
    assert "Müller-Łukasiewicz" in pypdf.PdfReader(tmp_path / "report.pdf").pages[0].extract_text()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("![C.](figures/wide.png){#fig-a}", "The figure figures/wide.png has no description"),
        ('![C.](figures/wide.png){#fig-a alt=""}', "The figure figures/wide.png has no description"),
        ('![C.](figures/none.png){#fig-a alt="d"}', "The figure figures/none.png is missing"),
        ('![C.](figures/../../x.png){#fig-a alt="d"}', "lies outside the report's folder"),
        ('![C.](/etc/x.png){#fig-a alt="d"}', "lies outside the report's folder"),
        ('![C.](https://example.org/x.png){#fig-a alt="d"}', "is an address"),
        ('![C.](//example.org/x.png){#fig-a alt="d"}', "is an address"),
        ('![C.](figures/wide.gif){#fig-a alt="d"}', "is not one of .png"),
        ('![C.](figures/wi#de.png){#fig-a alt="d"}', "a name that LaTeX cannot bear"),
        ('![C.](figures/wide.png){#fig-a alt="d" width=12cm}', "has the width '12cm'"),
        ('![](figures/wide.png){#fig-a alt="d"}', "The image figures/wide.png has no caption"),
        ("Words and ![C.](figures/wide.png) more.", "The image figures/wide.png has no caption"),
        ('![C.](figures/wide.png){#wide alt="d"}', "The figure #wide needs a name like #fig-loss"),
        ("See [](#fig-none).", "refers to #fig-none, which it does not hold"),
        ("# One\n\nSee [](#one).", "The reference [](#one) needs words"),
        ("# One {#a}\n\n# Two {#a}", "pandoc says \"Duplicate identifier 'a' at line 7"),
        ('![C.](figures/wide.png){#fig-a alt="d"}\n\n' * 2, "Two parts of the report are called #fig-a"),
        ("# One\n\n#\n\nWords.", "A heading of the report is empty"),
        ("# One\n\n### Three", "The heading 'Three' has 3 #"),
        ("[x](javascript:alert(1))", "The link to 'javascript:alert(1)' leads nowhere"),
        ("[x](../runs/secret)", "The link to '../runs/secret' leads nowhere"),
        (r"$\input{/etc/passwd}$", r"The formula $\input{/etc/passwd}$ cannot be set"),
        (r"$\label{\input /etc/passwd }$", r"leave out '\\label'"),
        (r"$^^5cinput$", "leave out '^^'"),
        ("Words.[^1]\n\n[^1]: Used.\n\n[^2]: Not used.", "pandoc says"),
    ],
)
def test_a_mistake_is_one_sentence(small: Path, body: str, says: str) -> None:
    assert says in refused(small, body)


def test_a_link_out_of_the_folder_is_refused(small: Path) -> None:
    (small / "figures" / "out.png").symlink_to("/etc/hostname")
    assert "lies outside" in refused(small, '![C.](figures/out.png){#fig-a alt="d"}')


def test_a_character_without_a_glyph_is_one_sentence(small: Path) -> None:
    sentence = refused(small, "Good \U0001f642.", formats=FORMATS)
    assert sentence == "No font of the PDF has the character '🙂' (U+1F642): write it in another way."


def test_a_damaged_image_is_one_sentence(small: Path) -> None:
    (small / "figures" / "bad.png").write_bytes(b"no image")
    sentence = refused(small, '![C.](figures/bad.png){#fig-a alt="d"}')
    assert sentence == "The figure figures/bad.png is no image that can be read: save it again."


def test_a_table_that_fits_no_page_is_refused_and_not_cut(small: Path) -> None:
    row = "|" + " 12345.678 ± 0.123 |" * 15
    sentence = refused(small, f"|{' n |' * 15}\n|{'--:|' * 15}\n{row}\n", formats=FORMATS)
    assert sentence == "The table of 15 columns that begins with 'n' is too wide for a page: split it."


def test_a_report_without_title_or_with_unknown_format_is_refused(small: Path) -> None:
    assert "has no title" in refused(small, "Words.", front="")
    assert "Invalid 'lang' value" in refused(small, "Words.", front='---\ntitle: T\nlang: "x\\", y"\n---\n')
    assert "no report format 'odt'" in refused(small, "Words.", formats=("odt",))
    with pytest.raises(RequestError, match="cannot be read"):
        render(small / "none.md", small / "out")


def test_a_refused_report_leaves_the_earlier_one(small: Path) -> None:
    first = made(small, "Words.", "pdf")
    (small / "report.md").write_text(FRONT + "See [](#fig-none).", "utf-8")
    with pytest.raises(RequestError):
        render(small / "report.md", small / "out")
    assert (small / "out" / "report.pdf").read_bytes() == first
    assert [path.name for path in (small / "out").iterdir()] == ["report.pdf"]


def test_a_report_may_be_rendered_beside_its_source(small: Path) -> None:
    (small / "report.md").write_text(FRONT + '![C.](figures/wide.png){#fig-a alt="d"}', "utf-8")
    before = {path: path.stat().st_mtime_ns for path in (small / "figures").iterdir()}
    render(small / "report.md", small, ["tex"])
    assert {path: path.stat().st_mtime_ns for path in (small / "figures").iterdir()} == before


def test_one_author_a_short_abstract_and_another_language_will_do(small: Path) -> None:
    front = "---\ntitle: 报告\nauthor: 王小明\nnumber: 3\ncourse: 12\nabstract: One line.\nlang: zh-CN\n---\n\n"
    body = '![图注](figures/wide.png){#fig-a alt="d"}'
    pdf = pypdf.PdfReader(io.BytesIO(made(small, body, "pdf", front)))
    text = pdf.pages[0].extract_text()
    assert all(words in text for words in ("报告", "王小明", "12 · 3", "One line.", "Figure 1: 图注"))
    assert pdf.root_object["/Lang"] == "zh-CN"
    with zipfile.ZipFile(io.BytesIO(made(small, body, "docx", front))) as archive:
        assert '<w:pStyle w:val="Abstract" />' in archive.read("word/document.xml").decode()
    assert '<html lang="zh-CN">' in made(small, body, "html", front).decode()
    assert "xeCJK" in made(small, body, "tex", front).decode()


def test_a_short_report_has_smaller_margins(small: Path) -> None:
    body = "Words enough for a line of text that must wrap at the margin of a page. " * 12
    short = FRONT.replace("title: T", "title: T\nshort: true")
    long_lines, short_lines = (
        len(pypdf.PdfReader(io.BytesIO(made(small, body, "pdf", front))).pages[0].extract_text().splitlines())
        for front in (FRONT, short)
    )
    assert short_lines < long_lines
    assert "margin=20mm" in made(small, body, "tex", short).decode()


@pytest.mark.parametrize("lines", [4, 10, 20, 30])
def test_no_figure_stands_below_the_heading_that_follows_it(small: Path, lines: int) -> None:
    words = "\n\n".join(["A paragraph of one line."] * lines)
    body = f'# First\n\n{words}\n\n![Seen.](figures/wide.png){{#fig-a alt="d"}}\n\n# Second\n\nWords.'
    places: dict[str, tuple[int, float]] = {}
    for number, page in enumerate(pypdf.PdfReader(io.BytesIO(made(small, body, "pdf"))).pages):

        def note(text: str, cm: list[float], tm: list[float], font: object, size: float, number: int = number) -> None:
            places.update({key: (number, -cm[3] * tm[5] - cm[5]) for key in ("Seen", "Second") if key in text})

        page.extract_text(visitor_text=note)
    assert places["Seen"] < places["Second"], places


@pytest.mark.parametrize("columns", [3, 7, 12])
def test_a_table_of_words_stays_on_the_page(small: Path, columns: int) -> None:
    row = "|" + " a description of some words and 0.1234 |" * columns
    table = f"{row}\n|{':--|' * columns}\n{row}\n\n: C. {{#tbl-a}}\n"
    page = pypdf.PdfReader(io.BytesIO(made(small, table, "pdf"))).pages[0]
    right: list[float] = []
    page.extract_text(visitor_text=lambda text, cm, tm, font, size: right.append((tm[4] * cm[0]) + cm[4]))
    assert max(right) < 595 - 71
    assert page.extract_text().replace("\n", " ").count("0.1234") == 2 * columns
