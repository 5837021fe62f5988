"""Invoices and credit notes: found, read, printed, and issued where they are missing."""

from __future__ import annotations

from typing import Any

from flask import Response, g
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from werkzeug.routing import BaseConverter

from glue import schemas
from glue.invoices.renderer import MOST_WARMED
from glue.routes.base import BEARER, Services, answer, endpoint, errors, page

_PDF = {
    "description": "The invoice",
    "content": {"application/pdf": {"schema": {"type": "string", "format": "binary"}}},
}


class InvoiceConverter(BaseConverter):
    """One segment that may be an invoice's id: what ends in .pdf is another route's."""

    regex = r"[^/]+(?<!\.pdf)"


def routes(services: Services) -> APIBlueprint:
    """The blueprint of invoices."""
    api = APIBlueprint("invoices", __name__, abp_tags=[Tag(name="invoices")], abp_security=BEARER)
    db = services.db

    @api.get(
        "/api/invoices",
        summary="Invoices and credit notes, newest first: one's own, an administrator everybody's",
        responses={200: schemas.Invoices, **errors(400, 401, 403)},
    )
    @endpoint(services)
    def search_invoices(query: schemas.ListInvoices) -> Response:
        who = services.principal()
        rows = db.all(
            "select * from booking.search_invoices(p_user_id => %(user)s, p_is_admin => %(admin)s,"
            " p_student_id => %(student)s, p_expert_id => %(expert)s, p_from => %(from)s, p_to => %(to)s,"
            " p_status => %(status)s, p_number => %(number)s, p_after => %(after)s, p_limit => %(limit)s)",
            {
                "user": who.user_id,
                "admin": who.role == "admin",
                "student": query.student_id,
                "expert": query.expert_id,
                "from": query.from_,
                "to": query.to,
                "status": query.status,
                "number": query.number,
                "after": query.after,
                "limit": query.limit,
            },
        )
        return answer(schemas.Invoices, page(rows, "invoices", "invoice_id", query.limit))

    @api.get(
        "/api/invoices/<invoice:id>",
        summary="One invoice or credit note",
        responses={200: schemas.Invoice, **errors(400, 401, 403, 404)},
    )
    @endpoint(services)
    def get_invoice(path: schemas.InvoicePath, query: schemas.InvoiceQuery) -> Response:
        return answer(schemas.Invoice, read(path, query))

    @api.get(
        "/api/invoices/<id>.pdf",
        summary="One invoice or credit note as a PDF",
        responses={200: _PDF, **errors(400, 401, 403, 404)},
    )
    @endpoint(services)
    def get_invoice_pdf(path: schemas.InvoicePath, query: schemas.InvoiceQuery) -> Response:
        invoice = read(path, query)
        version = f"-v{invoice['version']}" if invoice["version"] > 1 else ""
        name = f"{invoice['number']}{version}.pdf"
        return Response(
            services.invoices.pdf(invoice),
            content_type="application/pdf",
            headers={"Content-Disposition": f'inline; filename="{name}"'},
        )

    @api.post(
        "/api/admin/invoices/issue-missing",
        summary="Issue the invoices and credit notes that are missing",
        responses={200: schemas.IssuedMissing, **errors(401, 403, body=True)},
    )
    @endpoint(services, "admin")
    def issue_missing_invoices(body: schemas.IssueMissing) -> Response:
        user = services.principal().user_id
        issued = db.scalar(
            "select * from booking.issue_missing_invoices("
            "p_limit => (select %(limit)s::int from booking.on_request(%(request_id)s, %(user)s)))",
            {"request_id": g.request_id, "user": user, "limit": body.limit},
        )
        warm(user, issued)
        missing = db.scalar("select booking.count_missing_invoices()")
        return answer(schemas.IssuedMissing, {"issued": issued, "missing": missing})

    def read(path: schemas.InvoicePath, query: schemas.InvoiceQuery) -> dict[str, Any]:
        who = services.principal()
        row = db.one(
            "select * from booking.get_invoice(p_user_id => %(user)s, p_invoice_id => %(invoice)s,"
            " p_version => %(version)s, p_is_admin => %(admin)s)",
            {
                "user": who.user_id,
                "invoice": path.id,
                "version": query.version,
                "admin": who.role == "admin",
            },
        )
        assert row is not None
        return row

    def warm(user: str, issued: int) -> None:
        """The newest ones are printed before anybody asks."""
        if issued == 0:
            return
        services.invoices.warm(
            db.all(
                "select i.* from booking.search_invoices(p_user_id => %(user)s, p_is_admin => true,"
                " p_limit => %(limit)s) s, lateral booking.get_invoice(p_user_id => %(user)s,"
                " p_invoice_id => s.invoice_id, p_is_admin => true) i",
                {"user": user, "limit": min(issued, MOST_WARMED)},
            )
        )

    return api
