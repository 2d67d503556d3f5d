"""One Markdown source becomes report.pdf, .docx, .tex and .html; the same source always gives the same bytes."""

import contextlib
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pypandoc
import typst
from noto_cjk_sans_otc import FONT_PATH

from labkit.errors import RequestError
from labkit.files import write_atomic
from labkit.report.check import Picture, check, nodes, words
from labkit.report.word import dated, reference_document

FORMATS = ("pdf", "docx", "tex", "html")
TEMPLATES = Path(__file__).parent / "templates"
# Students' own words are read as Markdown and nothing else: no HTML, TeX, macros or metadata of theirs.
OFF = (
    "raw_html raw_tex raw_attribute latex_macros citations yaml_metadata_block pandoc_title_block native_divs "
    "native_spans fenced_divs bracketed_spans grid_tables multiline_tables simple_tables"
)
MARKDOWN = "markdown" + "".join(f"-{extension}" for extension in OFF.split())
METADATA = ("title", "subtitle", "author", "affiliation", "course", "number", "date", "lang", "abstract", "short")
MARGIN = 100  # calls of Python that may come on top
MEMORY, PATIENCE = "2g", 60  # what pandoc may take, bytes and seconds
FILES = (".png", ".pdf", ".svg")  # forms of one figure
DATES = ("%Y-%m-%d", "%d %B %Y", "%B %d, %Y")
EARLIEST = 315532800  # 1980-01-01, the first day a zip file can bear
OUR_WORDS = re.compile(r"Could not load translations|The term \w+ has no translation")  # we name figures ourselves
CJK = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]")


def render(source: Path, out: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Set the report ``source`` (Markdown, figures in ``figures/`` beside it) and write ``out/report.*``.

    All formats are made before the first is written; RequestError says what is wrong and leaves an earlier report.
    ``out/figures`` gets what report.tex includes.
    """
    source, out = Path(source), Path(out)
    if unknown := [form for form in formats if form not in FORMATS]:
        raise RequestError(f"There is no report format {unknown[0]!r}: choose among {', '.join(FORMATS)}.")
    with prepared(source) as (meta, figures, work):
        made = {out / f"report.{form}": MAKERS[form](meta, work) for form in formats}
    try:
        if "tex" in formats:
            copy_figures(figures, source.parent, out)
        for path, content in made.items():
            write_atomic(path, content)
    except OSError as error:
        raise RequestError(
            f"The report cannot be written to {out} ({error.strerror}): choose another folder."
        ) from error
    return list(made)


def page_count(source: Path) -> int:
    """How many pages the PDF of ``source`` has."""
    with prepared(source) as (_, _, work):
        path = written(work, "typst")
        pages = typst.compile(
            str(path), root=str(work), font_paths=[str(FONT_PATH.parent)], ignore_system_fonts=True, format="png", ppi=4
        )
    return len(pages) if isinstance(pages, list) else 1


@contextlib.contextmanager
def prepared(source: Path) -> Iterator[tuple[dict[str, Any], list[Picture], Path]]:
    """The checked report in a folder to work in: its metadata, its figures and the folder."""
    document = read(source)
    figures = check(document, source.parent)
    with tempfile.TemporaryDirectory(prefix="labkit-report-") as name:
        work = Path(name)
        copy_figures(figures, source.parent, work)
        (work / "report.json").write_text(json.dumps(document), "utf-8")
        yield document["meta"], figures, work


def read(source: Path) -> dict[str, Any]:
    """A Markdown file as a pandoc document: metadata from the block at its top, the rest untrusted text."""
    try:
        text = source.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"The report {source} cannot be read ({error}): it must be a UTF-8 text file.") from error
    front = re.match(r"---\s*\n.*?\n(---|\.\.\.)[ \t]*(\n|$)", text, re.DOTALL)
    head = front[0] if front else ""
    document = parsed(text[len(head) :])
    meta = json.loads(pandoc(head, "-f", f"{MARKDOWN}+yaml_metadata_block", "-t", "json"))["meta"]
    document["meta"] = {"lang": {"t": "MetaString", "c": "en"}} | {key: meta[key] for key in METADATA if key in meta}
    if CJK.search(text):
        document["meta"]["cjk"] = {"t": "MetaBool", "c": True}
    check_mathematics(document)
    return document


def check_mathematics(document: dict[str, Any]) -> None:
    """RequestError with the first formula that cannot be set."""
    if any(tag == "Math" for tag, _ in nodes(document)):
        pandoc(json.dumps(document), "-f", "json", "-t", "html", "--mathml")  # warns of what it cannot read


def parsed(text: str) -> dict[str, Any]:
    """Markdown as a pandoc document; RequestError if it is nested so deeply that nobody can have meant it."""
    # Long lines would give pipe tables widths by their dashes, which say nothing about what is in them.
    written = pandoc(text, "-f", MARKDOWN, "-t", "json", "--columns=100000")
    try:
        json.loads("[" * MARGIN + written + "]" * MARGIN)  # what is read here can be written again deeper in the stack
        return json.loads(written)
    except RecursionError:
        raise RequestError("It has lists or quotations nested too deeply for a page: take out some levels.") from None


def pandoc(text: str, *options: str, folder: Path | None = None) -> str:
    """Run pandoc in ``folder`` and in its sandbox, where there is no clock; a warning is an error."""
    command = [pypandoc.get_pandoc_path(), "+RTS", f"-M{MEMORY}", "-RTS", "--sandbox", *options]
    try:
        ran = subprocess.run(command, input=text.encode(), capture_output=True, cwd=folder, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise RequestError(
            f"The report cannot be set: pandoc was not done after {PATIENCE} s; is a text no prose?"
        ) from None
    says = re.split(r"^\[WARNING\] ", ran.stderr.decode("utf-8", "replace"), flags=re.MULTILINE)
    serious = [line for line in says if line.strip() and not OUR_WORDS.match(line)]
    if ran.returncode or serious:
        raise RequestError(pandoc_says((serious or ["nothing"])[-1]))
    return ran.stdout.decode("utf-8")


def pandoc_says(message: str) -> str:
    """One sentence made from pandoc's complaint."""
    formula = re.search(r"Could not convert TeX math (.*?), rendering as TeX", message, re.DOTALL)
    if formula:
        advice = "look at its braces, and use the common commands of LaTeX"
        return f"The formula ${formula[1]}$ cannot be set in all formats: {advice}."
    ours = re.search(r"Error running filter .*?\.lua:\s*(.*?)\s*stack traceback:", message, re.DOTALL)
    if ours:
        return ours[1]
    return f"The report cannot be set: pandoc says {' '.join(message.split())!r}; mend the Markdown there."


def copy_figures(figures: Sequence[Picture], source: Path, target: Path) -> None:
    """Copy every form of the figures, in folders of the same names."""
    for figure in figures:
        named = Path(figure.file)
        for name in {named, *(named.with_suffix(suffix) for suffix in FILES)}:
            path = (source / name).resolve()
            inside = path.is_file() and path.is_relative_to(source.resolve())
            if inside and path != (target / name).resolve():
                write_atomic(target / name, path.read_bytes())


def written(work: Path, form: str, *options: str) -> Path:
    """The document as pandoc writes it in a format, shaped by our filters and our template."""
    path, template = work / f"report.{form}", TEMPLATES / f"report.{'openxml' if form == 'docx' else form}"
    files = [f"--template={template}", *(f"--lua-filter={TEMPLATES / name}" for name in ("shape.lua", "tables.lua"))]
    shared = f"-f json -t {form} --number-sections --wrap=preserve --syntax-highlighting=none".split()
    text = (work / "report.json").read_text("utf-8")
    pandoc(text, *shared, *files, *options, "-o", str(path), folder=work)
    return path


def timestamp(meta: dict[str, Any]) -> int:
    """Seconds since 1970 of the report's date; the clock has no part in it."""
    for form in DATES:
        with contextlib.suppress(ValueError):
            day = datetime.strptime(words(meta.get("date")).strip(), form).replace(tzinfo=UTC)
            return max(EARLIEST, int(day.timestamp()))
    return EARLIEST


def make_pdf(meta: dict[str, Any], work: Path) -> bytes:
    """A tagged PDF/UA-1 file."""
    path = written(work, "typst")
    try:
        return typst.compile(
            str(path),
            root=str(work),
            font_paths=[str(FONT_PATH.parent)],
            ignore_system_fonts=True,
            pdf_standards=["ua-1"],
            timestamp=timestamp(meta),
        )
    except typst.TypstError as error:
        raise RequestError(typst_says(str(error.message))) from error


def typst_says(message: str) -> str:
    """One sentence made from typst's complaint."""
    glyph = re.search(r'the text `"(.+)"` could not be displayed', message)
    if glyph:
        text = re.sub(r"\\u\{(\w+)\}", lambda code: chr(int(code[1], 16)), glyph[1])
        codes = " ".join(f"U+{ord(character):04X}" for character in text)
        return f"No font of the PDF has the character {text!r} ({codes}): write it in another way."
    return f"The PDF cannot be made: typst says {message!r}."


def make_docx(meta: dict[str, Any], work: Path) -> bytes:
    """A Word document with real headings, captions and table heads."""
    reference = work / "reference.docx"
    default = subprocess.run(
        [pypandoc.get_pandoc_path(), "--print-default-data-file", "reference.docx"], capture_output=True, check=True
    ).stdout
    short = meta.get("short", {}).get("c") is True
    reference.write_bytes(reference_document(default, TEMPLATES / "styles.xml", short))
    path = written(work, "docx", f"--reference-doc={reference}")
    return dated(path.read_bytes(), timestamp(meta))


def make_tex(meta: dict[str, Any], work: Path) -> bytes:
    """LaTeX for xelatex that includes its figures from ``figures/``."""
    return written(work, "latex").read_bytes()


def make_html(meta: dict[str, Any], work: Path) -> bytes:
    """One page with everything in it."""
    options = ("--mathml", "--toc", "--toc-depth=3", "--shift-heading-level-by=1")
    return written(work, "html", *options).read_bytes()


MAKERS = {"pdf": make_pdf, "docx": make_docx, "tex": make_tex, "html": make_html}
