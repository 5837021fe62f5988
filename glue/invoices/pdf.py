"""What an invoice looks like: one version of it, as get_invoice() returns it, becomes a PDF.

The same version gives the same bytes. Only what a version says is used: the present status, what was credited
since, and the clock stay out.
"""

from __future__ import annotations

import logging
import tempfile
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from fpdf import FPDF
from fpdf.enums import Align, WrapMode, XPos, YPos

from glue.invoices import fonts

MARGIN = 20.0  # millimetres, as every length here
WIDTH = 210 - 2 * MARGIN
INK, SOFT, FAINT, PANEL, ALARM = (24, 32, 48), (96, 106, 122), (208, 213, 221), (244, 246, 249), (176, 32, 32)

# fpdf2 tells each font's missing tables
logging.getLogger("fpdf").setLevel(logging.ERROR)
logging.getLogger("fontTools").setLevel(logging.ERROR)


def money(amount: int, decimals: int, currency: str) -> str:
    """'1,234.50 EUR' of 123450 in minor units; as many decimals as the currency has."""
    return f"{Decimal(amount).scaleb(-decimals):,.{decimals}f} {currency.upper()}"


def percent(rate: int) -> str:
    """'19 %' of 1900 hundredths of a percent, '8.1 %' of 810."""
    return f"{(Decimal(rate) / 100).normalize():f} %"


def day(moment: datetime) -> str:
    """'9 March 2026', in UTC."""
    return f"{moment.astimezone(UTC):%-d %B %Y}"


def render(invoice: Mapping[str, Any]) -> bytes:
    """The PDF of one version of an invoice or credit note; `invoice` is the row of get_invoice()."""
    with tempfile.TemporaryDirectory(prefix="pgbooking-fonts-") as folder:
        return _rendered(invoice, Path(folder))


def _rendered(invoice: Mapping[str, Any], folder: Path) -> bytes:
    shown = _cleaned(invoice)
    page = _Page(shown, folder)
    page.set_creation_date(invoice["version_created_at"].astimezone(UTC))
    page.set_title(f"{_name(shown)} {shown['number']}")
    page.set_author(shown["seller"]["name"])
    page.set_lang("en")
    page.add_page()
    page.head()
    page.people()
    page.notice()
    page.lines()
    page.totals()
    return bytes(page.output())


def _name(invoice: Mapping[str, Any]) -> str:
    return "Credit note" if invoice["kind"] == "credit_note" else "Invoice"


def _cleaned(value: Any) -> Any:
    """Every text in a form that fonts can show."""
    if isinstance(value, str):
        return fonts.printable(unicodedata.normalize("NFC", value)).strip()
    if isinstance(value, Mapping):
        return {name: _cleaned(part) for name, part in value.items()}
    return value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)


class _Page(FPDF):
    """The pages of one invoice, from top to bottom."""

    def __init__(self, invoice: Mapping[str, Any], folder: Path) -> None:
        super().__init__(format="A4")
        self.invoice = invoice
        self.set_margins(MARGIN, MARGIN, MARGIN)
        self.set_auto_page_break(True, margin=28)
        self.c_margin = 0
        # the words of the form itself, and all that the invoice says
        letters = {character for text in _texts(invoice) for character in text}
        text = letters - {"\n"} | {chr(code) for code in range(0x20, 0x7F)} | set("\N{EN DASH}\N{MIDDLE DOT}")
        self._embed("sans", "", fonts.main_font(text, fonts.REGULAR), folder)
        self._embed("sans", "B", fonts.main_font(text, fonts.BOLD), folder)
        others = []
        for number, font in enumerate(fonts.fallback_fonts(text)):
            others.append(f"other{number}")
            self._embed(others[-1], "", font, folder)
        self.set_fallback_fonts(others, exact_match=False)
        self.set_text_shaping(True)

    def _embed(self, family: str, style: Literal["", "B"], font: bytes, folder: Path) -> None:
        """fpdf2 takes a font from a file only, which must stay until the end."""
        path = folder / f"{family}{style}.ttf"
        path.write_bytes(font)
        self.add_font(family, style, path)

    # -- parts

    def head(self) -> None:
        seller, top = self.invoice["seller"], self.get_y()
        self._write(seller["name"] or " ", 15, bold=True, width=100, leading=7)
        self.ln(1)
        for part in (seller["address"], seller["tax_id"] and f"Tax ID {seller['tax_id']}"):
            if part:
                self._write(part, 9, SOFT, width=100, leading=4.4)
        left = self.get_y()
        self.set_y(top)
        x, width = MARGIN + 104, WIDTH - 104
        title = _name(self.invoice).upper()
        self._write(title, 20, x=x, width=width, leading=8, align=Align.R, bold=True)
        self._write(self.invoice["number"], 11, SOFT, x=x, width=width, leading=6, align=Align.R)
        self.set_y(max(left, self.get_y()) + 6)
        self._rule()
        self.ln(8)

    def people(self) -> None:
        buyer, top = self.invoice["buyer"], self.get_y()
        self._label("Billed to")
        self._write(buyer["name"], 11, bold=True, width=88, leading=5.6)
        for part in (buyer["address"], buyer["tax_id"] and f"Tax ID {buyer['tax_id']}"):
            if part:
                self._write(part, 9.5, width=88, leading=4.8)
        if buyer["name"] != buyer["id"]:
            self._write(f"Customer {buyer['id']}", 9, SOFT, width=88, leading=4.8)
        left, pages = self.get_y(), self.page
        if pages == 1:
            self.set_y(top)
            for name, value in self._facts():
                line = self.get_y()
                self._write(name, 9, SOFT, x=MARGIN + 96, width=28, leading=5.2)
                self.set_y(line)
                size = 7.5 if len(value) > 30 else 9
                self._write(value, size, x=MARGIN + 114, width=WIDTH - 114, leading=5.2, align=Align.R)
        self.set_y(max(left, self.get_y()) + 9)

    def _facts(self) -> Iterator[tuple[str, str]]:
        invoice = self.invoice
        yield "Date of issue", day(invoice["issued_at"])
        if invoice["kind"] == "credit_note":
            yield "Credits invoice", invoice["credited_number"]
            yield "of", day(invoice["credited_issued_at"])
        yield "Date of service", day(datetime.fromisoformat(invoice["line"]["starts_at"]))
        if invoice["version"] > 1:
            yield "Version", f"{invoice['version']} of {day(invoice['version_created_at'])}"
        yield "Booking", str(invoice["booking_id"])
        yield "Payment", str(invoice["payment_id"])

    def notice(self) -> None:
        """Why there is another version."""
        invoice = self.invoice
        if invoice["version"] == 1:
            return
        if invoice["kind"] == "credit_note" and invoice["gross"] == 0:
            text, colour = "This credit note is void: the refund did not arrive.", ALARM
        else:
            why = {
                "corrected": invoice["note"] or "",
                "captured_more": "The amount paid has grown.",
                "refund_failed": "A part of the refund did not arrive.",
            }.get(invoice["reason"], "")
            text = f"This version replaces version {invoice['version'] - 1}. {why}".strip()
            colour = SOFT
        self.set_fill_color(*PANEL)
        self._write(text, 9.5, colour, width=WIDTH, leading=6, fill=True, padding=3)
        self.ln(7)

    def lines(self) -> None:
        invoice, line = self.invoice, self.invoice["line"]
        if self.will_page_break(40):
            self.add_page()
        self._row(("Description", "Quantity", "Net amount"), 8.5, SOFT)
        self._rule()
        self.ln(3)
        title = f"Refund: {line['title']}" if invoice["kind"] == "credit_note" else line["title"]
        top = self.get_y()
        self._row(("", "1", self._money("net")), 10.5)
        self.set_y(top)
        self._write(title, 10.5, bold=True, width=104, leading=5.4)
        begin, end = (datetime.fromisoformat(line[name]).astimezone(UTC) for name in ("starts_at", "ends_at"))
        until = f"{end:%H:%M}" if begin.date() == end.date() else f"{day(end)}, {end:%H:%M}"
        self._write(f"{day(begin)}, {begin:%H:%M} \N{EN DASH} {until} UTC", 9, SOFT, width=104, leading=4.8)
        self._write(f"with {line['expert_id']}", 9, SOFT, width=104, leading=4.8)
        self.ln(3)
        self._rule()
        self.ln(4)

    def totals(self) -> None:
        invoice = self.invoice
        if self.will_page_break(34):
            self.add_page()
        tax = f"{invoice['tax_name']} {percent(invoice['tax_rate'])}"
        for name, amount in (("Net amount", "net"), (tax, "tax")):
            self._sum(name, self._money(amount), 10)
        self.ln(1.5)
        self._rule(MARGIN + 90)
        self.ln(1.5)
        credited = invoice["kind"] == "credit_note"
        self._sum("Total credited" if credited else "Total paid", self._money("gross"), 13, bold=True)
        self.ln(6)
        if not credited:
            self._close("Paid in full.")
        elif invoice["gross"]:
            self._close("The amount is returned to the means of payment that was used.")

    def _close(self, text: str) -> None:
        self._write(text, 9, SOFT, width=WIDTH, leading=5, align=Align.R)

    def footer(self) -> None:
        seller = self.invoice["seller"]
        self.set_y(-20)
        self._rule()
        self.ln(2)
        self._font(8, SOFT)
        parts = (seller["name"], " ".join((seller["address"] or "").split()), seller["tax_id"])
        text = " · ".join(part for part in parts if part)
        while self.get_string_width(text) > WIDTH - 60:
            text = text[: int(len(text) * 0.9)].rstrip() + "..."
        self.cell(WIDTH - 55, 5, text)
        self.cell(55, 5, f"{self.invoice['number']} · page {self.page_no()}", align=Align.R)

    # -- small things

    def _money(self, name: str) -> str:
        return money(self.invoice[name], self.invoice["decimals"], self.invoice["currency"])

    def _font(self, size: float, colour: tuple[int, int, int] = INK, *, bold: bool = False) -> None:
        self.set_font("sans", "B" if bold else "", size)
        self.set_text_color(*colour)

    def _write(
        self,
        text: str,
        size: float,
        colour: tuple[int, int, int] = INK,
        *,
        width: float,
        leading: float,
        x: float = MARGIN,
        align: Align = Align.L,
        bold: bool = False,
        fill: bool = False,
        padding: int = 0,
    ) -> None:
        """A paragraph; long words are broken where they must."""
        self._font(size, colour, bold=bold)
        self.set_x(x)
        long = any(self.get_string_width(word) > width for word in text.split())
        self.multi_cell(
            width,
            leading,
            text,
            align=align,
            new_x=XPos.LMARGIN,
            new_y=YPos.NEXT,
            wrapmode=WrapMode.CHAR if long else WrapMode.WORD,
            fill=fill,
            padding=padding,
        )

    def _label(self, text: str) -> None:
        self._write(text, 8.5, SOFT, width=88, leading=5.2)

    def _row(self, cells: tuple[str, str, str], size: float, colour: tuple[int, int, int] = INK) -> None:
        self._font(size, colour)
        self.set_x(MARGIN)
        self.cell(108, 5.4, cells[0])
        self.cell(18, 5.4, cells[1], align=Align.R)
        self.cell(WIDTH - 126, 5.4, cells[2], align=Align.R, new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def _sum(self, name: str, amount: str, size: float, *, bold: bool = False) -> None:
        left = MARGIN + 90
        self._font(size, bold=bold)
        room = WIDTH - 90 - self.get_string_width(amount) - 4
        self.set_x(left)
        self.cell(WIDTH - 90, size * 0.62, amount, align=Align.R)
        self.set_x(left)
        while self.get_string_width(name) > room:
            size *= 0.95
            self._font(size, bold=bold)
        self.cell(room, size * 0.62, name, new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def _rule(self, left: float = MARGIN) -> None:
        self.set_draw_color(*FAINT)
        self.set_line_width(0.25)
        self.line(left, self.get_y(), MARGIN + WIDTH, self.get_y())
