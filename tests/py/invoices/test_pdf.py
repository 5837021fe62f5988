"""What an invoice's PDF says, that all of it can be read, and that a version always gives the same bytes."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pypdfium2
import pytest

from glue.invoices.pdf import money, percent, render
from tests.py.invoices.samples import SAMPLES, buyer, credit_note, invoice, line

ROOT = Path(__file__).parents[3]
PAGE = (595.28, 841.89)


@contextmanager
def opened(pdf: bytes) -> Iterator[pypdfium2.PdfDocument]:
    document = pypdfium2.PdfDocument(pdf)
    try:
        yield document
    finally:
        document.close()


@cache
def sample(name: str) -> bytes:
    return render(SAMPLES[name])


def text_of(pdf: bytes) -> str:
    """All that it says, words parted by single spaces."""
    with opened(pdf) as document:
        pages = [page.get_textpage().get_text_bounded() for page in document]
    return " ".join(" ".join(pages).split())


def boxes(pdf: bytes) -> list[list[tuple[float, float, float, float]]]:
    """Where each piece of text stands, page by page: left, bottom, right, top in points."""
    with opened(pdf) as document:
        found = []
        for page in document:
            text = page.get_textpage()
            found.append([text.get_rect(number) for number in range(text.count_rects())])
        return found


@pytest.mark.parametrize(
    ("amount", "decimals", "currency", "shown"),
    [
        (5000, 2, "usd", "50.00 USD"),
        (5, 2, "eur", "0.05 EUR"),
        (0, 2, "eur", "0.00 EUR"),
        (5000, 0, "jpy", "5,000 JPY"),
        (12500, 3, "kwd", "12.500 KWD"),
        (99999999999, 2, "usd", "999,999,999.99 USD"),
    ],
)
def test_amounts_have_the_decimals_of_their_currency(
    amount: int, decimals: int, currency: str, shown: str
) -> None:
    assert money(amount, decimals, currency) == shown


@pytest.mark.parametrize(
    ("rate", "shown"),
    [
        (0, "0 %"),
        (1000, "10 %"),
        (1900, "19 %"),
        (810, "8.1 %"),
        (825, "8.25 %"),
        (5, "0.05 %"),
        (10000, "100 %"),
    ],
)
def test_a_rate_is_written_without_needless_zeros(rate: int, shown: str) -> None:
    assert percent(rate) == shown


def test_a_plain_invoice_says_who_what_when_and_how_much() -> None:
    text = text_of(render(invoice()))
    for part in (
        "Lessons Ltd 1 High Street London SW1A 1AA Tax ID GB123456789", "INVOICE", "INV-2026-000001",
        "Zoë Łuczak 1 Rue de Rivoli 75001 Paris", "Date of issue 10 March 2026",
        "Date of service 17 March 2026",
        "0199f3a1-0d2c-7b11-a7a4-91c3e5f70b62", "0199f3a1-0d2c-7b12-8c0e-54b0f6a9d713", "Cello for beginners",
        "12:00 \N{EN DASH} 13:00 UTC", "with expert-1", "Net amount 42.02 EUR", "VAT 19 % 7.98 EUR",
        "Total paid 50.00 EUR",
    ):  # fmt: skip
        assert part in text
    assert "Version" not in text


def test_a_credit_note_names_its_invoice() -> None:
    text = text_of(render(credit_note()))
    for part in (
        "CREDIT NOTE", "CN-2026-000001", "Credits invoice INV-2026-000001 of 10 March 2026",
        "Date of issue 12 March 2026", "Refund: Cello for beginners", "Total credited 12.00 EUR",
    ):  # fmt: skip
        assert part in text
    assert "void" not in text
    assert "Paid" not in text


def test_a_void_credit_note_says_so() -> None:
    text = text_of(sample("void"))
    assert "This credit note is void: the refund did not arrive." in text
    assert "Total credited 0.00 EUR" in text
    assert "returned" not in text


def test_another_version_says_why() -> None:
    text = text_of(sample("corrected"))
    assert "This version replaces version 1. The tax id was missing" in text
    assert "Version 2 of 11 March 2026" in text
    assert "A part of the refund did not arrive." in text_of(sample("less credited"))
    grown = invoice(version=2, reason="captured_more")
    assert "The amount paid has grown." in text_of(render(grown))


def test_yen_have_no_decimals_and_dinars_three() -> None:
    yen = text_of(sample("yen"))
    assert "消費税 10 % 454,545 JPY" in yen
    assert "山田太郎" in yen
    dinar = text_of(sample("dinar"))
    assert "VAT 0 % 0.000 KWD" in dinar
    assert "17 March 2026, 23:30 \N{EN DASH} 18 March 2026, 00:30 UTC" in dinar


def test_times_are_utc_and_dates_too() -> None:
    moved = invoice(line=line(starts_at="2026-03-17T01:00:00+02:00", ends_at="2026-03-17T02:00:00+02:00"))
    assert "16 March 2026, 23:00 \N{EN DASH} 00:00" not in text_of(render(moved))
    assert "16 March 2026, 23:00 \N{EN DASH} 17 March 2026, 00:00 UTC" in text_of(render(moved))


@pytest.mark.parametrize("name", SAMPLES)
def test_nothing_is_written_over_something_else_or_off_the_page(name: str) -> None:
    for page in boxes(sample(name)):
        assert page
        for left, bottom, right, top in page:
            assert left >= 50
            assert bottom >= 20
            assert right <= PAGE[0] - 50
            assert top <= PAGE[1] - 40
        for one, other in itertools.combinations(page, 2):
            wide = min(one[2], other[2]) - max(one[0], other[0])
            high = min(one[3], other[3]) - max(one[1], other[1])
            assert wide <= 1 or high <= 2.5, (one, other)


def test_long_texts_are_there_to_the_last_letter() -> None:
    said = SAMPLES["long"]
    pdf = sample("long")
    text = text_of(pdf).replace(" ", "").replace("\ufffe", "-")
    with opened(pdf) as document:
        assert len(document) > 1
    for part in (
        said["seller"]["name"], said["seller"]["address"], said["buyer"]["name"], said["buyer"]["id"],
        said["buyer"]["address"], said["buyer"]["tax_id"], said["line"]["expert_id"],
    ):  # fmt: skip
        for each in part.split("\n"):
            assert "".join(each.split()) in text
    assert text.count("masterclass") == said["line"]["title"].count("masterclass")
    assert text.count("840,336,134.44EUR") == 2
    assert "Totalpaid999,999,999.99EUR" in text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("नमस्ते", "नमस्ते"),
        ("Ελένη Привет", "Ελένη Привет"),
        ("김철수", "김철수"),
        ("สวสด", "สวสด"),
        ("a\ue000b", "a\N{REPLACEMENT CHARACTER}b"),
        ("a\x07b\tc\u200b", "ab c"),
        ("real\N{RIGHT-TO-LEFT OVERRIDE}eman", "realeman"),
        ("e\N{COMBINING ACUTE ACCENT}", "é"),
    ],
)
def test_names_of_every_script_are_shown(name: str, shown: str) -> None:
    text = text_of(render(invoice(buyer=buyer(name=name))))
    found = "".join(character for character in text if character not in "\u200b\u200c\u200d")
    assert f"Billed to {shown} 1 Rue" in found


def test_every_font_is_embedded() -> None:
    pdf = sample("yen")
    assert pdf.count(b"/FontFile") >= 3
    assert pdf.count(b"/FontDescriptor") == pdf.count(b"/Type /FontDescriptor") * 2
    assert b"/Helvetica" not in pdf


FRESH = """
import sys
from glue.invoices.pdf import render
from tests.py.invoices.samples import SAMPLES
for name in ("plain", "yen", "dinar", "corrected"):
    sys.stdout.buffer.write(render(SAMPLES[name]))
"""


def test_a_version_gives_the_same_bytes_in_every_process() -> None:
    made = {
        subprocess.run(
            [sys.executable, "-c", FRESH],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone},
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    }
    assert len(made) == 1


def test_the_present_state_is_not_printed() -> None:
    later = invoice(status="credited", amount_credited=5000, latest_version=3)
    assert render(later) == render(invoice())
