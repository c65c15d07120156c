"""Opens the files of the sample dossier with libraries that had no part in writing them.

usage: sample_dossier.py DIR
"""

import re
import sys
from datetime import datetime
from pathlib import Path

try:
    import docx
    import openpyxl
    import pypdf
except ImportError as missing:
    sys.exit(f"{missing} (in {sys.executable}): run `make setup`")


def check_pdf(path, pages, phrase):
    """The marks of PDF/A-2: version, metadata, output intent, embedded fonts, no encryption."""
    assert path.read_bytes().startswith(b"%PDF-1.7\n"), "not PDF 1.7"
    reader = pypdf.PdfReader(path, strict=True)
    assert not reader.is_encrypted and "/Encrypt" not in reader.trailer, "encrypted"
    catalogue = reader.trailer["/Root"]
    xmp = catalogue["/Metadata"].get_data().decode()
    assert re.search(r"<pdfaid:part>2</pdfaid:part>", xmp), "XMP does not say PDF/A part 2"
    assert re.search(r"<pdfaid:conformance>[BU]</pdfaid:conformance>", xmp), "no conformance level B or U"
    assert catalogue["/OutputIntents"][0]["/S"] == "/GTS_PDFA1", "no output intent"
    assert len(reader.pages) == pages, f"{len(reader.pages)} pages"

    fonts = [font.get_object() for page in reader.pages for font in page["/Resources"]["/Font"].values()]
    assert fonts, "no font"
    for font in fonts:
        for descendant in font["/DescendantFonts"]:
            descriptor = descendant["/FontDescriptor"]
            assert {"/FontFile2", "/FontFile3"} & set(descriptor), f"{font['/BaseFont']} is not embedded"

    text = " ".join(" ".join(page.extract_text() for page in reader.pages).split())
    assert phrase in text, f"the text lacks {phrase!r}"


def check_jpeg(path):
    """A whole JPEG of at least 200 kB with its Exif description."""
    photo = path.read_bytes()
    assert len(photo) >= 200_000, f"{len(photo)} bytes"
    assert photo[:3] == b"\xff\xd8\xff", "no start of image"
    assert photo[-2:] == b"\xff\xd9", "no end of image"
    assert b"Exif\0\0" in photo[:64], "no Exif"


def check_spreadsheet(path):
    """The first reading of gauge J1, the formula of its widening, and the result kept beside it."""
    sheet = openpyxl.load_workbook(path)["Relevé"]
    assert sheet["A5"].value == "Date"
    assert sheet["A6"].value == datetime(2026, 3, 10)
    assert sheet["B6"].value == 1.2
    assert sheet["B10"].value == "=B9-B6", sheet["B10"].value
    results = openpyxl.load_workbook(path, data_only=True)["Relevé"]
    assert results["B10"].value == 0.2, results["B10"].value


def check_document(path):
    """The headings of the dire, one paragraph and its table."""
    document = docx.Document(path)
    texts = [paragraph.text.replace("\u00a0", " ") for paragraph in document.paragraphs]
    assert "DIRE N° 1" in texts, texts
    asked = "Le demandeur demande que le présent dire soit joint au rapport"
    assert any(text.startswith(asked) for text in texts), texts
    headings = [paragraph for paragraph in document.paragraphs if paragraph.style.name.lower() == "heading 1"]
    assert len(headings) == 5, [heading.text for heading in headings]
    assert document.tables[0].cell(1, 0).text.replace("\u00a0", " ") == "n° 6"


def main(folder):
    """Runs every check; the first failure names the file."""
    checks = [
        ("ordonnance.pdf", lambda path: check_pdf(path, 2, "Fixons à 3 000 € la provision")),
        ("pre-rapport.pdf", lambda path: check_pdf(path, 2, "sont attendues jusqu’au 20 juillet 2026")),
        ("rapport.pdf", lambda path: check_pdf(path, 3, "Réponse au dire n° 1 du demandeur")),
        ("photo-fissure.jpg", check_jpeg),
        ("releve-mesures.xlsx", check_spreadsheet),
        ("dire-n1.docx", check_document),
    ]
    for name, check in checks:
        try:
            check(folder / name)
        except Exception as failure:
            sys.exit(f"{name}: {type(failure).__name__}: {failure}")
    print(f"{len(checks)} files opened")


main(Path(sys.argv[1]))
