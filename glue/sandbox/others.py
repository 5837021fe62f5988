"""The smaller resources: events, balance transactions, payment methods, customers."""

from __future__ import annotations

from fnmatch import fnmatchcase

from glue.sandbox import cards
from glue.sandbox.errors import Obj, invalid_parameter
from glue.sandbox.listing import PAGING, Call, page
from glue.sandbox.params import Params

_TOKENS = {
    f"tok_{name.removeprefix('pm_card_')}": name for name in cards.CARDS if name.startswith("pm_card_")
}
EVENT_LIFETIME = 30 * 24 * 3600


def retrieve_event(call: Call) -> Obj:
    call.params.known(())
    return call.state.get("event", call.id, param="id")


def list_events(call: Call) -> Obj:
    """Events of the last 30 days; `type` may end in a wildcard, as at Stripe (`charge.*`)."""
    params = call.params
    params.known((*PAGING, "created", "type", "types", "delivery_success"))
    wanted = [name for name in (params.string("type"), *params.strings("types")) if name]
    success = params.boolean("delivery_success") if "delivery_success" in params else None
    oldest = call.state.now() - EVENT_LIFETIME

    def matches(row: Obj) -> bool:
        return (
            row["created"] >= oldest
            and (not wanted or any(fnmatchcase(row["type"], pattern) for pattern in wanted))
            and (success is None or (row["pending_webhooks"] == 0) == success)
        )

    plain = {key: value for key, value in params.values.items() if key in (*PAGING, "created")}
    return page(Call(call.state, Params(plain)), "event", "/v1/events", where=matches)


def retrieve_balance_transaction(call: Call) -> Obj:
    call.params.known(())
    return call.state.get("balance_transaction", call.id, param="id")


def list_balance_transactions(call: Call) -> Obj:
    return page(call, "balance_transaction", "/v1/balance_transactions", equal=("source", "type", "currency"))


def create_payment_method(call: Call) -> Obj:
    """A card by its test token (`tok_visa`): raw numbers are refused, as at Stripe by default."""
    params = call.params
    params.known(("type", "card", "billing_details", "metadata", "allow_redisplay"))
    if params.required("type") != "card":
        raise invalid_parameter("The sandbox only makes payment methods of type card.", param="type")
    card = params.mapping("card")
    card.known(("token",))
    token = card.required("token")
    metadata = params.metadata()
    if token not in _TOKENS:
        raise invalid_parameter(f"No such token: '{token}'", param="card[token]", code="resource_missing")
    row = cards.attach(call.state, _TOKENS[token])
    row["metadata"] = metadata
    return row


def retrieve_payment_method(call: Call) -> Obj:
    call.params.known(())
    return cards.attach(call.state, call.id)


def create_customer(call: Call) -> Obj:
    row = _customer_values(call, {})
    return call.state.new("customer", **row)


def retrieve_customer(call: Call) -> Obj:
    call.params.known(())
    return call.state.get("customer", call.id, param="id")


def update_customer(call: Call) -> Obj:
    row = call.state.get("customer", call.id, param="id")
    row.update(_customer_values(call, row["metadata"]))
    return row


def list_customers(call: Call) -> Obj:
    return page(call, "customer", "/v1/customers", equal=("email",))


def _customer_values(call: Call, metadata: dict[str, str]) -> Obj:
    params = call.params
    params.known(("email", "name", "phone", "description", "metadata", "payment_method", "preferred_locales"))
    given = {
        name: params.string(name) for name in ("email", "name", "phone", "description") if name in params
    }
    return {**given, "metadata": params.metadata(metadata)}
