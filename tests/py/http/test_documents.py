"""The OpenAPI document and its page."""

from __future__ import annotations

import re
from typing import Any

import pytest
import requests

from tests.py.http.site import Row, Site

pytestmark = pytest.mark.pg18  # the document is the server's, whatever the database


@pytest.fixture
def document(site: Site) -> Row:
    response = requests.get(site.base + "/openapi.json", timeout=120)
    assert response.status_code == 200
    return dict(response.json())


CHECKOUT = "/api/checkout/create-session"


def operations(document: Row) -> dict[tuple[str, str], Row]:
    return {
        (method.upper(), path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def test_the_document_lists_exactly_the_routes(document: Row) -> None:
    assert set(operations(document)) == {
        ("POST", "/api/bookings/create"),
        ("POST", "/api/bookings/expert/confirm"),
        ("POST", "/api/bookings/cancel"),
        ("GET", "/api/bookings/{id}"),
        ("GET", "/api/bookings/{id}/cancellation-quote"),
        ("GET", "/api/bookings"),
        ("GET", "/api/slots"),
        ("POST", "/api/payment/create-intent"),
        ("POST", "/api/payments/create-intent"),
        ("POST", "/api/bookings/confirm"),
        ("POST", "/api/refunds/request"),
        ("GET", "/api/refunds"),
        ("GET", "/api/admin/refunds"),
        ("POST", "/api/admin/refunds/{id}/decision"),
        ("POST", "/api/checkout/create-session"),
        ("POST", "/api/webhooks/stripe"),
        ("GET", "/api/cron/cleanup-bookings"),
        ("POST", "/api/cron/cleanup-bookings"),
        ("GET", "/api/admin/stats"),
        ("POST", "/api/admin/reconcile"),
        ("GET", "/api/invoices"),
        ("GET", "/api/invoices/{id}"),
        ("GET", "/api/invoices/{id}.pdf"),
        ("POST", "/api/admin/invoices/issue-missing"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
    }


def test_every_reference_has_its_schema_and_every_operation_its_own_name(document: Row) -> None:
    schemas = set(document["components"]["schemas"])
    assert set(re.findall(r"#/components/schemas/(\w+)", str(document))) <= schemas
    names = [operation["operationId"] for operation in operations(document).values()]
    assert len(set(names)) == len(names)


def test_errors_are_described_in_their_envelope(document: Row) -> None:
    for (_, path), operation in operations(document).items():
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                schema = response["content"]["application/json"]["schema"]
                own = {(CHECKOUT, "409"): "CheckoutRefusal"}.get((path, status), "ErrorAnswer")
                assert schema == {"$ref": f"#/components/schemas/{own}"}, path
        assert ("401" in operation["responses"]) == bool(operation.get("security")), path


def test_requests_are_closed_and_name_their_words(document: Row) -> None:
    schemas: dict[str, Any] = document["components"]["schemas"]
    assert [one["$ref"].split("/")[-1] for one in schemas["CheckoutRefusal"]["anyOf"]] == [
        "CheckoutConflict",
        "ErrorAnswer",
    ]
    decide = schemas["DecideBooking"]
    assert decide["additionalProperties"] is False
    assert decide["required"] == ["bookingId", "action"]
    assert decide["properties"]["action"]["enum"] == ["confirm", "decline"]
    assert decide["properties"]["bookingId"]["format"] == "uuid"
    assert set(schemas["Booking"]["required"]) == set(schemas["Booking"]["properties"])


def test_a_body_is_required_where_a_field_has_no_default(document: Row) -> None:
    optional = [
        path
        for (_, path), operation in operations(document).items()
        if not operation.get("requestBody", {"required": True})["required"]
    ]
    assert optional == ["/api/admin/invoices/issue-missing"]


def test_the_page_loads_nothing_from_elsewhere(site: Site) -> None:
    page = requests.get(site.base + "/docs", timeout=120)
    assert page.headers["Content-Type"].startswith("text/html")
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(links) == 4
    for link in links:
        assert link.startswith("/docs/")
        part = requests.get(site.base + link, timeout=120)
        assert part.status_code == 200
        assert part.content
    assert "http" not in page.text


def test_the_assets_folder_gives_nothing_else(site: Site) -> None:
    for path in (
        "/docs/assets/../__init__.py",
        "/docs/assets/%2e%2e/__init__.py",
        "/docs/assets/js/nothing.js",
    ):
        assert requests.get(site.base + path, timeout=120).status_code == 404
