"""Documents become text with page marks, or have one clear line."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pypdf
import pytest

from kit.office import RELATIONS, SPACE, docx, epub, odt, paragraph, pptx, slide
from kit.speech import pdf
from tuneline.parsing.text import POINTER
from tuneline_transcriber.reading.documents import Unusable, read_document


def written(data: bytes, **changed: Any) -> bytes:
    """Return a PDF as another program writes it, with an attachment or a password."""
    writer, out = pypdf.PdfWriter(io.BytesIO(data)), io.BytesIO()
    if "attached" in changed:
        writer.add_attachment("notes.txt", changed["attached"])
    if "algorithm" in changed:
        writer.encrypt(changed.get("password", ""), owner_password="owner", algorithm=changed["algorithm"])
    writer.write(out)
    return out.getvalue()


def locked(password: str) -> bytes:
    return written(pdf(["Secret."]), algorithm="AES-256", password=password)


def test_pages_and_words_are_counted_and_a_pdf_without_a_password_is_read(tmp_path: Path) -> None:
    for name, content in (("a.pdf", pdf(["One two.", "Three."])), ("b.pdf", locked(""))):
        (tmp_path / name).write_bytes(content)
    found = read_document(tmp_path / "a.pdf")
    assert (found.text, found.pages, found.words) == ("One two.\fThree.", 2, 3)
    assert read_document(tmp_path / "b.pdf").text == "Secret."


@pytest.mark.parametrize("name", ["a.html", "a.txt", "a.md"])
def test_a_page_of_the_web_is_what_it_shows(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(
        '<html><head><title>x</title><meta charset="iso-8859-1"></head><body><h1>Caf\xe9 &amp; bar</h1>'
        "<script>var no = 1</script><p>Falls <b>are</b>\ncommon.</p></body></html>".encode("latin-1")
    )
    assert read_document(path).text.split() == ["Café", "&", "bar", "Falls", "are", "common."]


TWO_PAGES = pdf(["One two.", "Three."])


@pytest.mark.parametrize(
    "content",
    [b"From: a printer\n\n" + TWO_PAGES, TWO_PAGES + b"\0" * 3000, TWO_PAGES.replace(b"startxref\n", b"startxref\n9"),
     TWO_PAGES.replace(b"\n", b"\r\n"), written(TWO_PAGES, attached=b"nobody reads this")]
    + [written(TWO_PAGES, algorithm=name) for name in ("RC4-40", "RC4-128", "AES-128", "AES-256-R5", "AES-256")],
    ids=["mail", "padded", "moved", "windows", "attached", "rc4-40", "rc4-128", "aes-128", "aes-256-r5", "aes-256"],
)  # fmt: skip
def test_damaged_and_locked_pdfs_that_readers_open_are_read(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(content)
    assert read_document(tmp_path / "a.pdf").text == "One two.\fThree."


def test_pages_keep_their_numbers_where_the_first_is_a_picture(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf(["", "Two."]))
    assert read_document(tmp_path / "a.pdf").text == "\fTwo."


MARKED = (
    f"{paragraph('Falls')}<w:p><w:r><w:t>They </w:t></w:r><w:del><w:r><w:delText>were</w:delText></w:r></w:del>"
    "<w:ins><w:r><w:t>are</w:t></w:r></w:ins><w:moveFrom><w:r><w:t>gone</w:t></w:r></w:moveFrom>"
    "<w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r><w:r><w:rPr><w:vanish w:val='0'/></w:rPr>"
    "<w:t xml:space='preserve'> common</w:t><w:noBreakHyphen/><w:t>place.</w:t></w:r></w:p>"
    f"<w:tbl><w:tr><w:tc>{paragraph('one')}</w:tc><w:tc>{paragraph('two')}{paragraph('three')}</w:tc></w:tr></w:tbl>"
    "<w:p><w:r><w:br w:type='page'/></w:r></w:p><w:p><w:r><w:lastRenderedPageBreak/><w:t>Next.</w:t></w:r></w:p>"
    f"<x:AlternateContent xmlns:x='urn:x'><x:Choice>{paragraph('Box')}</x:Choice>"
    f"<x:Fallback>{paragraph('Box')}</x:Fallback></x:AlternateContent>"
)


def test_a_file_of_word_is_what_it_shows_page_by_page(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_bytes(docx(MARKED, part="word/document2.xml"))
    found = read_document(tmp_path / "a.docx")
    assert found.text == "Falls\nThey are common-place.\none\ttwo\nthree\n\f\nNext.\nBox" and found.pages == 2


def test_slides_are_pages_in_the_order_in_which_they_are_shown(tmp_path: Path) -> None:
    (tmp_path / "a.pptx").write_bytes(pptx([slide("Last."), slide("Never.", shown=False), slide("First.")], [3, 2, 1]))
    found = read_document(tmp_path / "a.pptx")
    assert (found.text, found.pages) == ("First.\fLast.", 2)


def test_a_file_of_libreoffice_is_what_it_shows(tmp_path: Path) -> None:
    cells = "".join(f"<table:table-cell><text:p>{cell}</text:p></table:table-cell>" for cell in ("Year", "Falls"))
    body = f"""<office:text><text:tracked-changes><text:p>taken out</text:p></text:tracked-changes>
<text:h>Falls</text:h><text:p>at<text:s text:c="2"/>home<text:note><text:note-body><text:p>Below</text:p>
</text:note-body></text:note>, and
 <text:span>more</text:span>.<text:soft-page-break/></text:p><text:list><text:list-item><text:p>One<text:line-break/>
two</text:p></text:list-item></text:list><table:table><table:table-row>{cells}</table:table-row></table:table>
<text:section text:display="none"><text:p>hidden</text:p></text:section></office:text>"""
    (tmp_path / "a.odt").write_bytes(odt(body))
    found = read_document(tmp_path / "a.odt")
    assert (
        found.text.split("\n") == ["Falls", "at  home, and more.\f", "One", "two", "Year \tFalls"] and found.pages == 2
    )
    page = "<draw:page><text:p>{}</text:p><presentation:notes><text:p>Say it</text:p></presentation:notes></draw:page>"
    (tmp_path / "a.odp").write_bytes(
        odt(page.format("One") + page.format("Two"), "application/vnd.oasis.opendocument.presentation")
    )
    assert read_document(tmp_path / "a.odp").text == "One\n\fTwo"


def test_an_e_book_is_read_chapter_by_chapter(tmp_path: Path) -> None:
    chapters = {
        "two.xhtml": "<h1>Two</h1><p>More.</p>",
        "cover.xhtml": "<img/>",
        "eins und.xhtml": "<nav>Go</nav><p>One &amp; one.</p>",
    }
    (tmp_path / "a.epub").write_bytes(epub(chapters, ["eins und.xhtml", "two.xhtml"]))
    assert read_document(tmp_path / "a.epub").text == "One & one.\fTwo\n\nMore."


def packed(**changed: Any) -> bytes:
    """Return a zip that is a file of Word by its names, with one thing that no program writes."""
    inside = changed.get("inside", f'<w:document xmlns:w="{SPACE}"><w:body>{paragraph("x")}</w:body></w:document>')
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", changed.get("method", zipfile.ZIP_DEFLATED)) as parts:
        parts.writestr("_rels/.rels", f'<r><Relationship Id="a" Type="{RELATIONS}/officeDocument" Target="d.xml"/></r>')
        parts.writestr("d.xml", inside)
        for number in range(changed.get("more", 0)):
            parts.writestr(f"{number}", "")
    return file.getvalue()


BILLION = '<!DOCTYPE d [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><d><t>&b;</t></d>'


@pytest.mark.parametrize(
    "content",
    [packed(inside=BILLION), packed(inside="<a>" * 1000 + "</a>" * 1000), packed(inside=b" " * (101 * 2**20)),
     pptx([slide("x" * (11 * 2**20))], [1] * 10),
     packed(method=zipfile.ZIP_LZMA), packed(more=20_001), packed(inside="<a>"), packed()[:-40]],
    ids=["entities", "deep", "bomb", "often", "lzma", "many", "open", "cut"],
)  # fmt: skip
def test_a_zip_that_no_program_writes_for_people_is_refused_at_once(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_bytes(content)
    with pytest.raises(Unusable, match="no file of Word, PowerPoint, LibreOffice or EPUB"):
        read_document(tmp_path / "a.docx")


PAGE = """<html><head><title>T</title></head><body><nav><ul><li>Home</li></ul><nav>More</nav></nav><main><h1>Falls</h1>
<p>They are<br/>common.<script>no()</script></p><table><tr><td>one<td>two</table><button>Share</button></main>
<footer>Imprint</footer></body></html>"""


@pytest.mark.parametrize(
    ("content", "text"),
    [(PAGE.encode(), "Falls|They are|common.|one two"),
     (b"<body><div>All</div><article>few</article><p>of it is said out here, in many words.</p>",
      "All|few|of it is said out here, in many words."),
     (b"<form runat=server><p>All in a form.</p></form>", "All in a form."),
     ('<meta http-equiv="content-type" content="text/html; charset=windows-1251">\u041f\u0440\u0438'.encode("cp1251"),
      "\u041f\u0440\u0438"),
     ('<?xml version="1.0" encoding="ISO-8859-15"?><p>10 \u20ac</p>'.encode("iso-8859-15"), "10 \u20ac"),
     ("<meta charset='shift_jis'><p>\u8ee2\u5012</p>".encode("shift_jis"), "\u8ee2\u5012"),
     (b"<meta charset=iso-8859-1><p>\x93so\x94</p>", "\u201cso\u201d"),
     (b"<meta charset=unicode_escape><p>\\u0041</p>", "\\u0041"),
     ("<p>caf\u00e9</p>".encode("utf-16"), "caf\u00e9"), (b"<meta charset=utf-8><p>so\xff</p>", "so\ufffd")],
    ids=["main", "articles", "form", "cyrillic", "xml", "japanese", "latin-1", "no-encoding", "utf-16", "wrong"],
)  # fmt: skip
def test_pages_of_the_web_in_the_wild(content: bytes, text: str, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_bytes(content)
    assert "|".join(line for line in read_document(tmp_path / "a.html").text.split("\n") if line) == text


@pytest.mark.parametrize(
    ("content", "text"),
    [("---\ntitle: x\ntags: [a]\n---\n# Head\n", "# Head"), ("+++\na = 1\n+++\nText", "Text"),
     ("---\n\nA rule, then text.\n\n---\nmore", "---\n\nA rule, then text.\n\n---\nmore"),
     ("So ![a fall](data:image/png;base64,AAAA) it is.<!-- not\nthis -->", "So a fall it is.")],
)  # fmt: skip
def test_markdown_is_read_without_what_programs_put_there(content: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(content)
    assert read_document(tmp_path / "a.md").text == text


def test_text_of_windows_and_of_old_typewriters_is_text(tmp_path: Path) -> None:
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"):
        (tmp_path / "a.txt").write_bytes("De\u00adfine \ufb01ve\r\nflu\u00df\x1b\x00.\x0cNext".encode(encoding))
        assert read_document(tmp_path / "a.txt").text == "Define five\nflu\u00df.\fNext"


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [("a.pdf", locked("x"), "encrypted"), ("a.pdf", pdf(["", ""]), "OCR"), ("a.pdf", b"%PDF-1.7 rubbish", "broken"),
     ("a.pdf", pdf(["Text."])[:300], "broken"), ("a.txt", b"\n \n", "no text"), ("a.md", b"\xe4b", "UTF-8"),
     ("a.html", b"<html><body><script>x</script></body></html>", "no text"), ("a.docx", b"PK\3\4", "no file of Word"),
     ("a.docx", b"\xd0\xcf\x11\xe0", "has a password"), ("a.docx", docx([""]), "no text"),
     ("a.odt", b"PK\3\4", "no file of Word"), ("a.epub", epub({"a": "x"}, [])[:-9], "no file of Word"),
     ("a.epub", epub({"a": "x"}, []), "no text"), ("a.txt", b"PK\3\4", "archive"),
     ("a.mobi", b"x", "as PDF"), ("a.md", b"", "empty"),
     ("a.txt", POINTER + b"v1\n", "lfs"), ("a.rtf", b"{\\rtf1 x}", "writing program"),
     ("a.pdf", b"<html>404</html>", "no PDF"), ("a.html", b"<meta charset=utf-8>" + b"\xe4" * 99, "not UTF-8")],
)  # fmt: skip
def test_what_cannot_be_read_says_why(name: str, content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Unusable, match=why):
        read_document(tmp_path / name)


MENU = "".join(f'<div><a href="/{n}">Topic {n}</a></div>' for n in range(6))
OLD_PAGE = f"""<html><body><div id="menu">{MENU}</div><div style="color: red; Display : None">Accept all cookies?</div>
<div hidden><div>Sign up</div> now</div><aside>Also read</aside><div><p>Falls are common at home.</p>
<p>A sensor <a href="/s">sees them</a>, and <a name="x">it calls for help.</p>
<ul><li><a href="/m">More</a></li></ul></div><footer>Imprint <a href="/i">and privacy</a></footer></body></html>"""


def test_of_a_page_without_a_main_part_menus_footers_and_what_is_hidden_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(OLD_PAGE)
    lines = [line for line in read_document(tmp_path / "a.html").text.split("\n") if line]
    assert lines == ["Falls are common at home.", "A sensor sees them, and it calls for help.", "More"]


@pytest.mark.parametrize(
    ("page", "text"),
    [
        (f"<main><p>See</p>{MENU}</main>", "See Topic 0 Topic 1 Topic 2 Topic 3 Topic 4 Topic 5"),
        (MENU, "Topic 0 Topic 1 Topic 2 Topic 3 Topic 4 Topic 5"),
        ("<div hidden><p>Falls are common at home.</p></div>Short", "Short"),
        ("<p hidden>No<p>Falls are common.", "No Falls are common."),
    ],
)
def test_a_page_keeps_what_it_is_about(tmp_path: Path, page: str, text: str) -> None:
    (tmp_path / "a.html").write_text(f"<html><body>{page}</body></html>")
    assert " ".join(read_document(tmp_path / "a.html").text.split()) == text


BELOW = ") Tj 0 -20 Td ("
"""Within what `pdf` draws on a page: the next line."""


def lines_of(folder: Path, pages: list[list[str]]) -> list[str]:
    (folder / "a.pdf").write_bytes(pdf([BELOW.join(lines) for lines in pages]))
    return [line.strip() for line in read_document(folder / "a.pdf").text.replace("\f", "\n").split("\n")]


def test_what_heads_and_foots_the_pages_is_left_out_and_parted_words_are_whole(tmp_path: Path) -> None:
    said = ["Vulnerabilities are rare.", "World-readable files.", "We found vul-", "Last.", "The ex-"]
    more = ["One.", "Two.", "nerabilities, and world-", "", "husband."]
    pages = [["Report 2026", "Of X41", said[n], more[n] or "-", f"Page {n + 1} of 5"] for n in range(5)]
    pages[2].insert(4, "readable keys.")
    assert lines_of(tmp_path, pages) == [
        "Vulnerabilities are rare.", "One.", "World-readable files.", "Two.", "We found vulnerabilities",
        ", and world-readable", "keys.", "Last.", "-", "The ex-", "husband.",
    ]  # fmt: skip
    assert lines_of(tmp_path, [["Falls", "One."]] * 3) == ["Falls", "One."] * 3, "of three pages nothing is a head"


HELVETICA = b"/Subtype /Type1 /BaseFont /Helvetica"
NUMBERED = (
    b"/Subtype /Type0 /BaseFont /A+B /Encoding /Identity-H "
    b"/DescendantFonts [<< /Type /Font /Subtype /CIDFontType2 /BaseFont /A+B %s >>]"
)
NAMED = HELVETICA + b" /Encoding << /Type /Encoding /Differences [65 /g1 /g2 /C0003] >>"


@pytest.mark.parametrize(
    ("font", "drawn", "text"),
    [(NUMBERED % b"", "\0&\0D\0I\0p", None), (NAMED, "ABCABC hello", None), (NAMED, "hello " * 30 + "A", "hello"),
     (NUMBERED % b"/CIDToGIDMap << /Length 0 >>", "\0F\0a\0l\0l", "Fall")],
    ids=["numbers", "names", "few names", "numbers of letters"],
)  # fmt: skip
def test_letters_of_a_pdf_that_nothing_names_are_no_text(
    font: bytes, drawn: str, text: str | None, tmp_path: Path
) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf([drawn]).replace(HELVETICA, font))
    if text:
        assert read_document(tmp_path / "a.pdf").text.startswith(text)
        return
    with pytest.raises(Unusable, match="fonts that do not say which letters"):
        read_document(tmp_path / "a.pdf")


def test_what_is_typed_into_a_form_is_read_and_its_passwords_are_not(tmp_path: Path) -> None:
    parts = {
        "name": "/Subtype /Widget /FT /Tx /T (f1[0]) /TU (First name) /V (Ann)", "kind": "/Subtype /Widget /Parent %s",
        "secret": "/Subtype /Widget /FT /Tx /V (hidden) /Ff 8192", "link": "/Subtype /Link /Contents (no)",
        "box": "/Subtype /Widget /FT /Btn /V /Yes", "above": "/Subtype /FreeText /Contents (On top)",
    }  # fmt: skip
    fields = " ".join(f"<< /Rect [0 0 9 9] {one} >>" for one in parts.values()) % "<< /FT /Ch /V (Fall) /T (kind) >>"
    content = pdf(["Report."]).replace(b"/Type /Page /Parent", f"/Type /Page /Annots [{fields}] /Parent".encode())
    (tmp_path / "a.pdf").write_bytes(content)
    assert read_document(tmp_path / "a.pdf").text.split("\n") == ["Report.", "First name: Ann", "Fall", "On top"]
