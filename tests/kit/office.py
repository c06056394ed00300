"""Files of Word, PowerPoint, LibreOffice and e-books, as these and Teams write them: a zip with XML in it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from urllib.parse import quote
from xml.sax.saxutils import escape

RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
SPACE = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def paragraph(text: str) -> str:
    """Return a paragraph; lines of it are parted by a break, as Teams has them."""
    runs = "<w:br/>".join(f'<w:t xml:space="preserve">{escape(line)}</w:t>' for line in text.split("\n"))
    return f"<w:p><w:pPr><w:tabs><w:tab w:val='left'/></w:tabs></w:pPr><w:r>{runs}</w:r></w:p>"


def pptx(slides: Sequence[str], order: Sequence[int]) -> bytes:
    """Return a file with slides, each the XML of its text, shown in this order of their numbers."""
    file, kind = io.BytesIO(), f"{RELATIONS}/slide"
    listed = "".join(f'<p:sldId id="{256 + number}" r:id="rId{number}"/>' for number in order)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as parts:
        _write(parts, "_rels/.rels", _relations([("rId1", f"{RELATIONS}/officeDocument", "ppt/presentation.xml")]))
        files = [(f"rId{number}", kind, f"slides/slide{number}.xml") for number in order]
        theme = ("rId99", f"{RELATIONS}/theme", "theme/theme1.xml")
        _write(parts, "ppt/_rels/presentation.xml.rels", _relations([*files, theme]))
        about = f'xmlns:p="urn:p" xmlns:r="{RELATIONS}"'
        _write(
            parts, "ppt/presentation.xml", f"<p:presentation {about}><p:sldIdLst>{listed}</p:sldIdLst></p:presentation>"
        )
        for number, text in enumerate(slides, 1):
            _write(parts, f"ppt/slides/slide{number}.xml", text)
    return file.getvalue()


def slide(text: str, shown: bool = True) -> str:
    """Return a slide with a title and its number."""
    said = f"<a:p><a:pPr><a:buNone/></a:pPr><a:r><a:t>{escape(text)}</a:t></a:r></a:p>"
    number = '<a:p><a:fld type="slidenum"><a:t>1</a:t></a:fld></a:p>'
    hidden = "" if shown else ' show="0"'
    return f'<p:sld xmlns:p="urn:p" xmlns:a="urn:a"{hidden}><p:txBody>{said}{number}</p:txBody></p:sld>'


def _relations(rows: Sequence[tuple[str, str, str]]) -> str:
    inside = "".join(f'<Relationship Id="{name}" Type="{kind}" Target="{target}"/>' for name, kind, target in rows)
    space = "http://schemas.openxmlformats.org/package/2006/relationships"
    return f'<Relationships xmlns="{space}">{inside}</Relationships>'


def _write(parts: zipfile.ZipFile, name: str, text: str) -> None:
    parts.writestr(zipfile.ZipInfo(name), f'<?xml version="1.0" encoding="UTF-8"?>{text}', zipfile.ZIP_DEFLATED)


def docx(body: Sequence[str] | str, part: str = "word/document.xml") -> bytes:
    """Return a file with paragraphs, or with a body of XML, in the part that its relations name."""
    inside = body if isinstance(body, str) else "".join(map(paragraph, body))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as parts:
        _write(parts, "_rels/.rels", _relations([("rId1", f"{RELATIONS}/officeDocument", f"/{part}")]))
        _write(parts, part, f'<w:document xmlns:w="{SPACE}"><w:body>{inside}</w:body></w:document>')
    return file.getvalue()


def odt(body: str, mimetype: str = "application/vnd.oasis.opendocument.text") -> bytes:
    """Return a file of LibreOffice with a body of XML."""
    spaces = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for name in ("office", "text", "table", "draw", "presentation")
    )
    content = f"<office:document-content {spaces}><office:body>{body}</office:body></office:document-content>"
    return _typed(mimetype, {"content.xml": content})


def epub(chapters: Mapping[str, str], order: Sequence[str]) -> bytes:
    """Return an e-book with chapters by the name of their file, read in this order."""
    root = '<container><rootfiles><rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
    items = "".join(
        f'<item id="i{n}" href="{quote(name)}" media-type="application/xhtml+xml"/>' for n, name in enumerate(chapters)
    )
    spine = "".join(f'<itemref idref="i{[*chapters].index(name)}"/>' for name in order)
    package = f"<package><manifest>{items}</manifest><spine>{spine}</spine></package>"
    pages = {f"OEBPS/{name}": f"<html><body>{text}</body></html>" for name, text in chapters.items()}
    return _typed("application/epub+zip", {"META-INF/container.xml": root, "OEBPS/book.opf": package, **pages})


def _typed(mimetype: str, files: Mapping[str, str]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as parts:
        parts.writestr(zipfile.ZipInfo("mimetype"), mimetype)
        for name, text in files.items():
            _write(parts, name, text)
    return file.getvalue()
