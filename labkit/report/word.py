"""The reference document for Word: pandoc's own with our styles, A4 pages and a page number in the foot."""

import io
import re
import zipfile
from datetime import UTC, datetime
from pathlib import Path

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.footer+xml"


def reference_document(default: bytes, styles: Path, short: bool = False) -> bytes:
    """Replace the styles of pandoc's ``default`` document that ``styles`` defines anew, and set the page."""
    parts = {name: content.decode() for name, content in unzipped(default).items()}
    parts["word/styles.xml"] = restyled(parts["word/styles.xml"], styles.read_text("utf-8"))
    margin = 1134 if short else 1417  # twentieths of a point: 20 and 25 mm
    page = (
        f'<w:pgSz w:w="11906" w:h="16838" /><w:pgMar w:top="{margin}" w:right="{margin}" w:bottom="{margin}" '
        f'w:left="{margin}" w:header="709" w:footer="709" w:gutter="0" /></w:sectPr>'
    )
    body = parts["word/document.xml"].replace("</w:sectPr>", page)
    foot = f'<w:sectPr><w:footerReference xmlns:r="{RELATION}" w:type="default" r:id="rIdFoot" />'
    parts["word/document.xml"] = body.replace("<w:sectPr>", foot)
    parts["word/footer1.xml"] = footer()
    relation = f'<Relationship Type="{RELATION}/footer" Id="rIdFoot" Target="footer1.xml" /></Relationships>'
    kind = f'<Override PartName="/word/footer1.xml" ContentType="{TYPE}" /></Types>'
    rels, types = "word/_rels/document.xml.rels", "[Content_Types].xml"
    parts[rels] = parts[rels].replace("</Relationships>", relation)
    parts[types] = parts[types].replace("</Types>", kind)
    return zipped({name: text.encode() for name, text in parts.items()})


def restyled(document: str, styles: str) -> str:
    """Put each ``<w:style>`` of ``styles`` in place of the one of that name, or at the end; so with the defaults."""
    defaults = re.search(r"<w:docDefaults>.*?</w:docDefaults>", styles, re.DOTALL)
    assert defaults
    document = re.sub(r"<w:docDefaults>.*?</w:docDefaults>", lambda _: defaults[0], document, flags=re.DOTALL)
    for style in re.findall(r"<w:style .*?</w:style>", styles, re.DOTALL):
        name = re.search(r'w:styleId="(\w+)"', style)
        assert name
        old = re.compile(rf'<w:style [^>]*w:styleId="{name[1]}".*?</w:style>', re.DOTALL)
        document = old.sub("", document).replace("</w:styles>", f"{style}</w:styles>")
    return document


def footer() -> str:
    """The foot of every page: "3 / 12"."""
    fields = [f'<w:fldSimple w:instr="{f}"><w:r><w:t>1</w:t></w:r></w:fldSimple>' for f in ("PAGE", "NUMPAGES")]
    text = '<w:r><w:t xml:space="preserve"> / </w:t></w:r>'.join(fields)
    return f'<w:ftr {W}><w:p><w:pPr><w:pStyle w:val="Footer" /></w:pPr>{text}</w:p></w:ftr>'


def dated(document: bytes, seconds: int) -> bytes:
    """Write the time, in seconds since 1970, into a document's properties; pandoc's sandbox knows none."""
    parts = unzipped(document)
    time = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
    parts["docProps/core.xml"] = re.sub(rb"1970-01-01T00:00:00Z", time, parts["docProps/core.xml"])
    return zipped(parts)


def unzipped(content: bytes) -> dict[str, bytes]:
    """The parts of a zip file."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(parts: dict[str, bytes]) -> bytes:
    """The parts as a zip file that bears no time."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(zipfile.ZipInfo(name), part, zipfile.ZIP_DEFLATED)
    return content.getvalue()
