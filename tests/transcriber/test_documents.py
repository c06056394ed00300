"""Documents become text with page marks, or have one clear line."""

from __future__ import annotations

import io
from pathlib import Path

import pypdf
import pytest

from kit.speech import pdf
from tuneline_transcriber.documents import Unusable, read_document


def locked(password: str) -> bytes:
    writer, out = pypdf.PdfWriter(io.BytesIO(pdf(["Secret."]))), io.BytesIO()
    writer.encrypt(password, owner_password="owner", algorithm="AES-256")
    writer.write(out)
    return out.getvalue()


def test_pages_and_words_are_counted_and_a_pdf_without_a_password_is_read(tmp_path: Path) -> None:
    for name, content in (("a.pdf", pdf(["One two.", "Three."])), ("b.pdf", locked(""))):
        (tmp_path / name).write_bytes(content)
    found = read_document(tmp_path / "a.pdf")
    assert (found.text, found.pages, found.words) == ("One two.\fThree.", 2, 3)
    assert read_document(tmp_path / "b.pdf").text == "Secret."


def test_a_page_of_the_web_is_what_it_shows(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_bytes(
        '<html><head><title>x</title><meta charset="iso-8859-1"></head><body><h1>Caf\xe9 &amp; bar</h1>'
        "<script>var no = 1</script><p>Falls <b>are</b>\ncommon.</p></body></html>".encode("latin-1")
    )
    assert read_document(path).text.split() == ["Café", "&", "bar", "Falls", "are", "common."]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [("a.pdf", locked("x"), "encrypted"), ("a.pdf", pdf(["", ""]), "OCR"), ("a.pdf", b"%PDF-1.7 rubbish", "broken"),
     ("a.pdf", pdf(["Text."])[:300], "broken"), ("a.txt", b"\n \n", "no text"), ("a.md", b"\xe4b", "UTF-8"),
     ("a.html", b"<html><body><script>x</script></body></html>", "no text")],
)  # fmt: skip
def test_what_cannot_be_read_says_why(name: str, content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Unusable, match=why):
        read_document(tmp_path / name)
