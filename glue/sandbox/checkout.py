"""Checkout Sessions in payment mode. The customer's page is played by the control API (`pay`)."""

from __future__ import annotations

from glue.sandbox import payment_intents
from glue.sandbox.errors import Obj, invalid_parameter, invalid_request, missing_parameter, resource_missing
from glue.sandbox.listing import Call, list_of, page
from glue.sandbox.params import Params, words
from glue.sandbox.state import State, random_text

SHORTEST, LONGEST = 30 * 60, 24 * 3600
_CREATE = words(
    """
    adaptive_pricing after_expiration allow_promotion_codes allowed_payment_method_types automatic_tax
    billing_address_collection branding_settings cancel_url client_reference_id consent_collection
    currency custom_fields custom_text customer customer_account customer_creation customer_email
    customer_update discounts excluded_payment_method_types expires_at integration_identifier
    invoice_creation line_items locale managed_payments metadata mode name_collection optional_items
    origin_context payment_intent_data payment_method_collection payment_method_configuration
    payment_method_data payment_method_options payment_method_types permissions phone_number_collection
    redirect_on_completion return_url saved_payment_method_options shipping_address_collection
    shipping_options submit_type success_url tax_id_collection ui_mode wallet_options
    """
)
_INTENT_DATA = words(
    """
    application_fee_amount capture_method description metadata on_behalf_of receipt_email
    setup_future_usage shipping statement_descriptor statement_descriptor_suffix transfer_data
    transfer_group
    """
)


def create(call: Call) -> Obj:
    state, params = call.state, call.params
    params.known(_CREATE)
    mode = params.choice("mode", ("payment", "setup", "subscription"))
    if mode is None:
        raise missing_parameter("mode")
    if mode != "payment":
        raise invalid_parameter("The sandbox only knows sessions with mode=payment.", param="mode")
    success_url = params.required("success_url")
    cancel_url = params.string("cancel_url")
    reference = params.string("client_reference_id", limit=200)
    metadata = params.metadata()
    intent_data = params.mapping("payment_intent_data")
    intent_data.known(_INTENT_DATA)
    intent_values = {
        "capture_method": intent_data.choice(
            "capture_method", payment_intents.CAPTURE_METHODS, "automatic_async"
        ),
        "metadata": intent_data.metadata(),
        "description": intent_data.string("description"),
    }
    rows, currency = _line_items(params)
    now = state.now()
    expires_at = params.integer("expires_at", now + LONGEST) or 0
    if not now + SHORTEST - 5 <= expires_at <= now + LONGEST:
        raise invalid_parameter(
            "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session "
            "creation.",
            param="expires_at",
        )
    total = sum(row["amount_total"] for row in rows)
    session = state.new(
        "checkout.session",
        amount_subtotal=total,
        amount_total=total,
        cancel_url=cancel_url,
        client_reference_id=reference,
        currency=currency,
        customer=params.string("customer"),
        customer_email=params.string("customer_email"),
        expires_at=expires_at,
        metadata=metadata,
        mode=mode,
        success_url=success_url,
        payment_method_types=params.strings("payment_method_types")
        or params.strings("allowed_payment_method_types")
        or ["card"],
    )
    session["url"] = f"https://checkout.stripe.com/c/pay/{session['id']}"
    state.secret(session["id"]).update(line_items=rows, intent=intent_values)
    state.at(expires_at, "session_expires", session["id"])
    return session


def retrieve(call: Call) -> Obj:
    call.params.known(())
    return _get(call.state, call.id)


def update(call: Call) -> Obj:
    call.params.known(("metadata", "shipping_options", "collected_information"))
    session = _get(call.state, call.id)
    session["metadata"] = call.params.metadata(session["metadata"])
    return session


def list_all(call: Call) -> Obj:
    return page(
        call, "checkout.session", "/v1/checkout/sessions", equal=("payment_intent", "status", "customer")
    )


def line_items(call: Call) -> Obj:
    session = _get(call.state, call.id)
    return list_of(
        call.state.secret(session["id"])["line_items"], f"/v1/checkout/sessions/{session['id']}/line_items"
    )


def expire(call: Call) -> Obj:
    call.params.known(())
    session = _get(call.state, call.id)
    if session["status"] != "open":
        raise invalid_request(
            'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a '
            f"status of {session['status']}."
        )
    lapse(call.state, session["id"])
    return session


def lapse(state: State, session_id: str) -> None:
    """End an open session; a PaymentIntent of a failed attempt goes with it."""
    session = _get(state, session_id)
    if session["status"] != "open":
        return
    session.update(status="expired", url=None)
    if session["payment_intent"] is not None:
        intent = state.get("payment_intent", session["payment_intent"], param="payment_intent")
        if intent["status"] in payment_intents.CANCELABLE:
            payment_intents.abandon(state, intent, "automatic")
    state.emit("checkout.session.expired", session)


def pay(state: State, session_id: str, method: str, email: str = "customer@example.com") -> Obj:
    """What the customer does on the hosted page. A declined card raises 402 and leaves the session open."""
    session = _get(state, session_id)
    if session["status"] != "open":
        raise invalid_request(f"This Checkout Session has a status of {session['status']}.")
    if session["payment_intent"] is None:
        intent = payment_intents.make(
            state,
            amount=session["amount_total"],
            currency=session["currency"],
            customer=session["customer"],
            payment_method_types=session["payment_method_types"],
            **state.secret(session_id)["intent"],
        )
        session["payment_intent"] = intent["id"]
        state.secret(intent["id"])["session"] = session_id
    intent = state.get("payment_intent", session["payment_intent"], param="payment_intent")
    if intent["status"] not in payment_intents.CONFIRMABLE:
        raise invalid_request(f"The session's PaymentIntent has a status of {intent['status']}.")
    session["customer_details"] = {
        "address": None,
        "email": session["customer_email"] or email,
        "name": None,
        "phone": None,
        "tax_exempt": "none",
        "tax_ids": [],
        "business_name": None,
        "individual_name": None,
    }
    payment_intents.pay(state, intent, Params({"payment_method": method}))
    follow(state, intent)
    return session


def follow(state: State, intent: Obj) -> None:
    """Complete or settle the session of a PaymentIntent that has just moved on, if it has one."""
    session_id = state.secret(intent["id"]).get("session")
    if session_id is None:
        return
    session = _get(state, session_id)
    paid = intent["status"] == "succeeded"
    if session["status"] == "open" and intent["status"] in ("succeeded", "processing", "requires_capture"):
        session.update(status="complete", payment_status="paid" if paid else "unpaid", url=None)
        state.emit("checkout.session.completed", session)
    elif session["status"] == "complete" and session["payment_status"] == "unpaid":
        if paid:
            session["payment_status"] = "paid"
            state.emit("checkout.session.async_payment_succeeded", session)
        elif intent["status"] == "requires_payment_method":
            state.emit("checkout.session.async_payment_failed", session)


def _line_items(params: Params) -> tuple[list[Obj], str]:
    rows: list[Obj] = []
    currencies: set[str] = set()
    for item in params.items("line_items"):
        item.known(
            (
                "adjustable_quantity",
                "dynamic_tax_rates",
                "metadata",
                "price",
                "price_data",
                "quantity",
                "tax_rates",
            )
        )
        price = item.string("price")
        if price is not None:
            raise resource_missing("price", price, param=item.name("price"), status=400)
        data = item.mapping("price_data")
        if not data.values:
            raise missing_parameter(item.name("price_data"))
        data.known(
            (
                "currency",
                "product",
                "product_data",
                "recurring",
                "tax_behavior",
                "unit_amount",
                "unit_amount_decimal",
            )
        )
        currency = data.currency()
        amount = data.integer("unit_amount", minimum=0)
        if amount is None:
            raise missing_parameter(data.name("unit_amount"))
        name = data.mapping("product_data").string("name") or data.string("product")
        if name is None:
            raise missing_parameter(f"{data.name('product_data')}[name]")
        quantity = item.integer("quantity", minimum=1)
        if quantity is None:
            raise missing_parameter(item.name("quantity"))
        currencies.add(currency)
        rows.append(
            {
                "id": f"li_1{random_text(23)}",
                "object": "item",
                "amount_discount": 0,
                "amount_subtotal": amount * quantity,
                "amount_tax": 0,
                "amount_total": amount * quantity,
                "currency": currency,
                "description": name,
                "price": {
                    "id": f"price_1{random_text(23)}",
                    "object": "price",
                    "currency": currency,
                    "type": "one_time",
                    "unit_amount": amount,
                },
                "quantity": quantity,
            }
        )
    if not rows:
        raise missing_parameter("line_items")
    if len(currencies) > 1:
        raise invalid_parameter("All line items must have the same currency.", param="line_items")
    return rows, currencies.pop()


def _get(state: State, session_id: str) -> Obj:
    return state.get("checkout.session", session_id, param="session")
