"""Invoices over HTTP: found, read, printed, issued; everybody sees his own."""

from __future__ import annotations

import uuid
from typing import Any

import pypdfium2
import pytest
import requests

from glue.invoices.renderer import Renderer
from glue.sandbox.process import SandboxProcess
from tests.py.http.site import PRICE, Offer, Person, Row, Site, refused
from tests.py.invoices import renders

pytestmark = pytest.mark.pg18  # the functions behind it have their tests on every version

ISSUE = "/api/admin/invoices/issue-missing"


@pytest.fixture
def admin(site: Site) -> Person:
    return site.person("admin-1", "admin")


def captured(site: Site, student: Person, offer: Offer | None = None) -> Row:
    """A booking that was paid and confirmed."""
    offer = offer or site.offer()
    booking, _ = site.authorized(student, offer)
    answer = site.person(offer.expert, "expert").post(
        "/api/bookings/expert/confirm", {"bookingId": booking["bookingId"], "action": "confirm"}
    )
    assert answer.json()["paymentStatus"] == "captured"
    site.control.wait_idle()  # a payment that an event is working on is left to the next run
    return booking


def issue(admin: Person) -> Row:
    response = admin.post(ISSUE, {})
    assert response.status_code == 200, response.text
    return dict(response.json())


@pytest.mark.parametrize(
    "sent", [{}, {"json": {}}, {"data": b"", "headers": {"Content-Type": "application/json"}}]
)
def test_what_has_only_defaults_needs_no_body(site: Site, admin: Person, sent: Row) -> None:
    captured(site, site.new_student())
    headers = {"Authorization": admin.authorization, **sent.pop("headers", {})}
    response = requests.post(site.base + ISSUE, headers=headers, timeout=120, **sent)
    assert (response.status_code, response.text) == (200, '{"issued":1,"missing":0}')


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b'{"limit": 1}', "text/plain", 415, "unsupported_media_type"),
        (b"limit=1", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b"null", "application/json", 400, "invalid_request"),
        (b" ", "application/json", 400, "invalid_json"),
    ],
)
def test_a_body_that_is_sent_must_be_right(
    site: Site, admin: Person, body: bytes, kind: str, status: int, code: str
) -> None:
    headers = {"Authorization": admin.authorization, "Content-Type": kind}
    with site.unchanged():
        refused(requests.post(site.base + ISSUE, data=body, headers=headers, timeout=120), status, code)


def listed(person: Person, query: str = "") -> list[str]:
    response = person.get(f"/api/invoices{query}")
    assert response.status_code == 200, response.text
    return [invoice["number"][:-12] + "-" + invoice["number"][-2:] for invoice in response.json()["invoices"]]


def text_of(response: requests.Response) -> str:
    assert response.status_code == 200, response.text
    document = pypdfium2.PdfDocument(response.content)
    text = " ".join(page.get_textpage().get_text_bounded() for page in document)
    document.close()
    return " ".join(text.split())


def test_what_was_captured_is_invoiced_and_what_was_refunded_credited(site: Site, admin: Person) -> None:
    student, offer = site.new_student(), site.offer()
    booking = captured(site, student, offer)
    assert issue(admin) == {"issued": 1, "missing": 0}
    assert issue(admin) == {"issued": 0, "missing": 0}
    [found] = student.get("/api/invoices").json()["invoices"]
    assert set(found) == {
        "invoiceId", "kind", "number", "status", "version", "paymentId", "bookingId", "creditedInvoiceId",
        "studentId", "expertId", "currency", "decimals", "net", "tax", "gross", "issuedAt", "buyerName",
    }  # fmt: skip
    assert (found["kind"], found["status"], found["gross"]) == ("invoice", "issued", PRICE)
    assert found["number"].startswith("INV-")
    assert found["bookingId"] == booking["bookingId"]

    one = student.get(f"/api/invoices/{found['invoiceId']}").json()
    assert {name: one[name] for name in found if name != "buyerName"} == {
        name: found[name] for name in found if name != "buyerName"
    }
    assert (one["latestVersion"], one["amountCredited"], one["reason"]) == (1, 0, "issued")
    assert one["line"]["title"] == "An hour"
    assert one["buyer"] == {"id": student.user, "name": student.user, "address": None, "taxId": None}

    answer = student.post("/api/bookings/cancel", {"bookingId": booking["bookingId"]})
    assert answer.json()["paymentStatus"] == "refunded"
    note, invoice = student.get("/api/invoices").json()["invoices"]
    assert (invoice["status"], note["kind"], note["gross"]) == ("credited", "credit_note", PRICE)
    assert note["creditedInvoiceId"] == invoice["invoiceId"]
    assert "Credits invoice " + invoice["number"] in text_of(
        student.get(f"/api/invoices/{note['invoiceId']}.pdf")
    )
    assert site.sql.execute("select * from booking.check_invariants()").fetchall() == []


def test_issuing_is_audited_with_who_and_under_which_request(site: Site, admin: Person) -> None:
    captured(site, site.new_student())
    admin.post(ISSUE, {}, headers={"X-Request-Id": "request-17"})
    rows = site.sql.execute(
        "select actor, request_id from booking.audit_log where action = 'invoice.issued'"
    ).fetchall()
    assert rows == [{"actor": "admin-1", "request_id": "request-17"}]


def test_people_see_their_own_and_an_administrator_sees_all(site: Site, admin: Person) -> None:
    students, offers = [site.new_student() for _ in range(2)], [site.offer() for _ in range(2)]
    for student, offer in zip(students, offers, strict=True):
        captured(site, student, offer)
    issue(admin)
    assert [len(listed(student)) for student in students] == [1, 1]
    assert listed(site.person(offers[0].expert, "expert")) == listed(students[0])
    assert sorted(listed(admin)) == ["INV-01", "INV-02"]
    assert listed(admin, f"?studentId={students[0].user}") == listed(students[0])
    assert listed(admin, f"?expertId={offers[1].expert}") == listed(students[1])
    assert listed(students[0], f"?studentId={students[1].user}") == []

    [found] = students[0].get("/api/invoices").json()["invoices"]
    for path in (f"/api/invoices/{found['invoiceId']}", f"/api/invoices/{found['invoiceId']}.pdf"):
        assert admin.get(path).status_code == 200
        assert site.person(offers[0].expert, "expert").get(path).status_code == 200
        refused(students[1].get(path), 403, "not_your_invoice")
        refused(site.nobody().get(path), 401, "missing_token")
        refused(students[0].get(path + "?version=2"), 404, "invoice_version_not_found")
        refused(students[0].get(path + "?version=0"), 400, "invalid_request")


def test_filters_and_pages(site: Site, admin: Person) -> None:
    student = site.new_student()
    for _ in range(3):
        captured(site, student)
    issue(admin)
    number = student.get("/api/invoices").json()["invoices"][0]["number"]
    assert listed(student) == ["INV-03", "INV-02", "INV-01"]
    assert listed(student, f"?number={number}") == ["INV-03"]
    assert listed(student, "?status=issued&from=2020-01-01T00:00:00Z") == ["INV-03", "INV-02", "INV-01"]
    assert listed(student, "?status=credited") == []
    assert listed(student, "?to=2020-01-01T00:00:00Z") == []
    page = student.get("/api/invoices?limit=2").json()
    assert len(page["invoices"]) == 2
    assert listed(student, f"?limit=2&after={page['nextAfter']}") == ["INV-01"]


def test_the_pdf_is_the_invoice(site: Site, admin: Person) -> None:
    student = site.new_student()
    captured(site, student)
    issue(admin)
    [found] = student.get("/api/invoices").json()["invoices"]
    response = student.get(f"/api/invoices/{found['invoiceId']}.pdf")
    text = text_of(response)
    assert found["number"] in text
    assert "Total paid 50.00 EUR" in text
    assert response.headers["Content-Type"] == "application/pdf"
    assert response.headers["Content-Disposition"] == f'inline; filename="{found["number"]}.pdf"'
    assert response.headers["Cache-Control"] == "no-store"
    again = student.get(f"/api/invoices/{found['invoiceId']}.pdf")
    assert again.content == response.content

    site.sql.execute(
        "select * from booking.correct_invoice('ann', %s, %s, 'The name was missing.')",
        (found["invoiceId"], '{"name": "Zoë Łuczak"}'),
    )
    corrected = student.get(f"/api/invoices/{found['invoiceId']}.pdf")
    assert "Zoë Łuczak" in text_of(corrected)
    assert corrected.headers["Content-Disposition"] == f'inline; filename="{found["number"]}-v2.pdf"'
    first = student.get(f"/api/invoices/{found['invoiceId']}.pdf?version=1")
    assert first.content == response.content


def test_what_was_just_issued_is_warm(site: Site, admin: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    warmed: list[Any] = []
    monkeypatch.setattr(site.services.invoices, "warm", warmed.extend)
    captured(site, site.new_student())
    issue(admin)
    issue(admin)
    assert [(row["number"][:4], row["version"]) for row in warmed] == [("INV-", 1)]


def test_a_renderer_that_hangs_is_503_and_the_rest_goes_on(
    db_url: str, sandbox: SandboxProcess, tmp_path: Any
) -> None:
    site = Site(db_url, sandbox, invoice_generation_timeout=1)
    hanging = Renderer(timeout=1, cache_ttl=300, render=renders.never)
    object.__setattr__(site.services, "invoices", hanging)
    with site.open():
        student = site.new_student()
        captured(site, student)
        issue(site.person("admin-1", "admin"))
        [found] = student.get("/api/invoices").json()["invoices"]
        response = student.get(f"/api/invoices/{found['invoiceId']}.pdf")
        assert refused(response, 503, "invoice_unavailable") == {}
        assert int(response.headers["Retry-After"]) > 0
        assert student.get(f"/api/invoices/{found['invoiceId']}").status_code == 200


@pytest.mark.parametrize("path", ["/api/invoices/no-uuid", "/api/invoices/no-uuid.pdf"])
def test_an_id_must_be_one(site: Site, path: str) -> None:
    assert refused(site.new_student().get(path), 400, "invalid_request")["field"] == "id"


@pytest.mark.parametrize("suffix", ["", ".pdf"])
def test_what_is_not_there_is_404(site: Site, suffix: str) -> None:
    refused(site.new_student().get(f"/api/invoices/{uuid.uuid4()}{suffix}"), 404, "invoice_not_found")


@pytest.mark.parametrize("query", ["status=paid", "limit=0", "limit=201", "from=today", "after=x", "page=2"])
def test_a_filter_must_be_right(site: Site, query: str) -> None:
    refused(site.new_student().get(f"/api/invoices?{query}"), 400, "invalid_request")


@pytest.mark.parametrize("body", [{"limit": 0}, {"limit": 1001}, {"limit": "5"}, {"all": True}])
def test_issuing_takes_a_limit_only(site: Site, admin: Person, body: Row) -> None:
    with site.unchanged():
        refused(admin.post(ISSUE, body), 400, "invalid_request")


@pytest.mark.parametrize("role", ["student", "expert"])
def test_only_an_administrator_issues(site: Site, role: Any) -> None:
    with site.unchanged():
        refused(site.person("somebody", role).post(ISSUE, {}), 403, "forbidden")
