"""Invoices as get_invoice() returns them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

Row = dict[str, Any]

ISSUED = datetime(2026, 3, 10, 12, tzinfo=UTC)


def invoice(**changes: Any) -> Row:
    """50.00 EUR with 19 % VAT, plain; with changes."""
    return {
        "invoice_id": UUID(int=1),
        "kind": "invoice",
        "number": "INV-2026-000001",
        "status": "issued",
        "version": 1,
        "latest_version": 1,
        "payment_id": UUID("0199f3a1-0d2c-7b12-8c0e-54b0f6a9d713"),
        "booking_id": UUID("0199f3a1-0d2c-7b11-a7a4-91c3e5f70b62"),
        "credited_invoice_id": None,
        "credited_number": None,
        "credited_issued_at": None,
        "student_id": "student-1",
        "expert_id": "expert-1",
        "currency": "eur",
        "decimals": 2,
        "seller": {
            "name": "Lessons Ltd",
            "address": "1 High Street\nLondon SW1A 1AA",
            "tax_id": "GB123456789",
        },
        "buyer": buyer(),
        "line": line(),
        "tax_name": "VAT",
        "tax_rate": 1900,
        "net": 4202,
        "tax": 798,
        "gross": 5000,
        "amount_credited": 0,
        "reason": "issued",
        "note": None,
        "issued_at": ISSUED,
        "version_created_at": ISSUED,
        **changes,
    }


def buyer(**changes: Any) -> Row:
    address = "1 Rue de Rivoli\n75001 Paris"
    return {"id": "student-1", "name": "Zoë Łuczak", "address": address, "tax_id": None, **changes}


def line(**changes: Any) -> Row:
    return {
        "title": "Cello for beginners",
        "expert_id": "expert-1",
        "starts_at": "2026-03-17T12:00:00Z",
        "ends_at": "2026-03-17T13:00:00Z",
        **changes,
    }


def credit_note(**changes: Any) -> Row:
    """12.00 EUR of the plain invoice."""
    return invoice(
        **{
            "kind": "credit_note",
            "number": "CN-2026-000001",
            "credited_number": "INV-2026-000001",
            "credited_issued_at": ISSUED,
            "issued_at": datetime(2026, 3, 12, 9, tzinfo=UTC),
            "net": 1008,
            "tax": 192,
            "gross": 1200,
            **changes,
        }
    )


SAMPLES: dict[str, Row] = {
    "plain": invoice(),
    "credit note": credit_note(),
    "void": credit_note(version=2, reason="refund_failed", net=0, tax=0, gross=0),
    "less credited": credit_note(version=2, reason="refund_failed", net=420, tax=80, gross=500),
    "corrected": invoice(
        version=2,
        reason="corrected",
        note="The tax id was missing, as the customer wrote on 11 March, and the name was misspelt as well.",
        buyer=buyer(name="Zoë Łuczak SARL", tax_id="FR12345678901"),
        version_created_at=datetime(2026, 3, 11, 12, tzinfo=UTC),
    ),
    "yen": invoice(
        currency="jpy",
        decimals=0,
        net=4545455,
        tax=454545,
        gross=5000000,
        tax_rate=1000,
        tax_name="消費税",
        buyer=buyer(name="山田太郎 様", address="東京都千代田区千代田1-1\n日本"),
    ),
    "dinar": invoice(
        currency="kwd",
        decimals=3,
        net=12500,
        tax=0,
        gross=12500,
        tax_rate=0,
        buyer=buyer(name="محمد بن راشد", address="مدينة الكويت"),
        line=line(starts_at="2026-03-17T23:30:00Z", ends_at="2026-03-18T00:30:00Z"),
    ),
    "bare": invoice(
        seller={"name": "", "address": "", "tax_id": ""},
        buyer=buyer(name="student-1", address=None),
        net=5000,
        tax=0,
        tax_rate=0,
    ),
    "long": invoice(
        net=84033613444,
        tax=15966386555,
        gross=99999999999,
        seller={
            "name": ("A Company That Sells Lessons of Every Kind Everywhere GmbH & Co. KG " * 3)[:200],
            "address": "Building 27B\nLlanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch\n"
            + "x" * 150,
            "tax_id": "D" * 50,
        },
        buyer=buyer(
            id="auth0|" + "a1b2c3d4" * 31,
            name=("Ñandú Þórðardóttir-Guðmundsdóttir von und zu " * 5)[:200],
            address="\n".join(f"Line {number} of an address that goes on" for number in range(30)),
            tax_id="X" * 50,
        ),
        line=line(title=("Advanced masterclass " * 10)[:200], expert_id="e" * 255),
        tax_name="Goods and services tax, state",
    ),
}
