"""PaymentIntents: the status machine and its endpoints.

requires_payment_method -> requires_confirmation -> requires_action -> processing -> requires_capture ->
succeeded; any of those before succeeded -> canceled; a failed attempt leads back to requires_payment_method.
"""

from __future__ import annotations

from glue.sandbox import cards, charges
from glue.sandbox.errors import (
    Obj,
    StripeError,
    card_error,
    invalid_parameter,
    invalid_request,
    unexpected_state,
)
from glue.sandbox.listing import Call, page
from glue.sandbox.params import Params, words
from glue.sandbox.state import State, random_text

CANCELABLE = (
    "requires_payment_method",
    "requires_capture",
    "requires_confirmation",
    "requires_action",
    "processing",
)
CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
CANCELLATION_REASONS = ("duplicate", "fraudulent", "requested_by_customer", "abandoned")
CAPTURE_METHODS = ("automatic", "automatic_async", "manual")
_TEXTS = (
    "description",
    "receipt_email",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_group",
)
_SHARED = words(
    """
    allowed_payment_method_types amount amount_details application_fee_amount capture_method currency
    customer customer_account excluded_payment_method_types hooks metadata payment_details
    payment_method payment_method_configuration payment_method_data payment_method_options
    payment_method_types setup_future_usage shipping transfer_data
    """
) | set(_TEXTS)
_CONFIRM = words(
    """
    allowed_payment_method_types amount_details amount_to_confirm capture_method confirmation_token
    error_on_requires_action excluded_payment_method_types hooks mandate mandate_data off_session
    payment_details payment_method payment_method_data payment_method_options payment_method_types
    radar_options receipt_email return_url setup_future_usage shipping use_stripe_sdk
    """
)
_CREATE = _SHARED | _CONFIRM | words("automatic_payment_methods confirm confirmation_method on_behalf_of")

_CAPTURE = words(
    """
    amount_details amount_to_capture application_fee_amount final_capture hooks metadata payment_details
    statement_descriptor statement_descriptor_suffix transfer_data
    """
)


def create(call: Call) -> Obj:
    """Create, and with `confirm` pay at once."""
    state, params = call.state, call.params
    params.known(_CREATE)
    currency = params.currency()
    amount = params.amount("amount", currency)
    capture_method = params.choice("capture_method", CAPTURE_METHODS, "automatic_async")
    metadata = params.metadata()
    confirm_now = params.boolean("confirm")
    texts = {name: params.string(name) for name in _TEXTS}
    types = params.strings("payment_method_types") or params.strings("allowed_payment_method_types")
    automatic = params.mapping("automatic_payment_methods")
    automatic.known(("enabled", "allow_redirects"))
    if not confirm_now and "off_session" in params:
        raise invalid_parameter("off_session may only be set when confirm is true.", param="off_session")
    customer = params.string("customer")
    if customer is not None:
        state.get("customer", customer, param="customer", status=400)
    method = params.string("payment_method")
    attached = cards.attach(state, method)["id"] if method is not None else None
    intent = make(
        state,
        amount=amount,
        currency=currency,
        capture_method=capture_method,
        metadata=metadata,
        customer=customer,
        payment_method=attached,
        status="requires_confirmation" if attached else "requires_payment_method",
        payment_method_types=types or ["card"],
        automatic_payment_methods=None
        if types
        else {
            "allow_redirects": automatic.choice("allow_redirects", ("always", "never"), "always"),
            "enabled": automatic.boolean("enabled", True),
        },
        **texts,
    )
    if confirm_now:
        pay(state, intent, params)
    return intent


def make(state: State, **values: object) -> Obj:
    """A new PaymentIntent and its first event."""
    intent = state.new("payment_intent", **values)
    intent["client_secret"] = f"{intent['id']}_secret_{random_text(25)}"
    state.emit("payment_intent.created", intent)
    return intent


def retrieve(call: Call) -> Obj:
    call.params.known(("client_secret",))
    return _get(call)


def list_all(call: Call) -> Obj:
    return page(call, "payment_intent", "/v1/payment_intents", equal=("customer",))


def update(call: Call) -> Obj:
    """Change metadata at any time, the money only before it was authorized."""
    state, params = call.state, call.params
    params.known(_SHARED)
    intent = _get(call)
    metadata = params.metadata(intent["metadata"])
    currency = params.currency() if "currency" in params else intent["currency"]
    amount = params.amount("amount", currency) if "amount" in params else intent["amount"]
    capture_method = params.choice("capture_method", CAPTURE_METHODS, intent["capture_method"])
    texts = {name: params.string(name) for name in _TEXTS if name in params}
    money = {"amount": amount, "currency": currency, "capture_method": capture_method}
    changes_money = any(intent[name] != value for name, value in money.items()) or "payment_method" in params
    if changes_money and intent["status"] not in CONFIRMABLE:
        raise unexpected_state(intent, "updated", ", ".join(CONFIRMABLE))
    if "payment_method" in params:
        intent["payment_method"] = cards.attach(state, params.required("payment_method"))["id"]
        intent["status"] = "requires_confirmation"
    intent.update(money)
    intent.update(texts)
    intent["metadata"] = metadata
    return intent


def confirm(call: Call) -> Obj:
    """The customer pays."""
    call.params.known(_CONFIRM | {"client_secret"})
    intent = _get(call)
    if intent["status"] not in CONFIRMABLE:
        reason = (
            "it has already succeeded after being previously confirmed"
            if intent["status"] == "succeeded"
            else f"it has a status of {intent['status']}"
        )
        raise _refusal(
            intent,
            f"You cannot confirm this PaymentIntent because {reason}. Only a PaymentIntent with one of the "
            f"following statuses may be confirmed: {', '.join(CONFIRMABLE[1:])}.",
        )
    pay(call.state, intent, call.params)
    return intent


def capture(call: Call) -> Obj:
    """Take the held money, whole or in part (the rest of the hold is released)."""
    state, params = call.state, call.params
    params.known(_CAPTURE)
    amount = params.integer("amount_to_capture", minimum=1)
    intent = _get(call)
    metadata = params.metadata(intent["metadata"])
    if intent["status"] != "requires_capture":
        raise unexpected_state(intent, "captured", "requires_capture")
    charge = _charge(state, intent)
    if state.secret(charge["id"]).get("expired"):
        _end(state, intent, "automatic")
        raise charges.expired_for_capture(intent)
    if amount is None:
        amount = intent["amount_capturable"]
    if amount > intent["amount_capturable"]:
        raise invalid_request(
            f"The requested capture amount ({amount}) is greater than the amount you can capture for this "
            f"PaymentIntent ({intent['amount_capturable']}).",
            code="amount_too_large",
            param="amount_to_capture",
            payment_intent=intent,
        )
    intent["metadata"] = metadata
    charges.capture(state, charge, amount)
    intent.update(status="succeeded", amount_capturable=0, amount_received=amount)
    state.emit("payment_intent.succeeded", intent, status="requires_capture")
    charges.after_capture(state, charge)
    return intent


def cancel(call: Call) -> Obj:
    """Give up: a hold goes back to the customer."""
    call.params.known(("cancellation_reason",))
    reason = call.params.choice("cancellation_reason", CANCELLATION_REASONS)
    intent = _get(call)
    if intent["status"] not in CANCELABLE:
        raise _refusal(
            intent,
            f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}. Only a "
            f"PaymentIntent with one of the following statuses may be canceled: {', '.join(CANCELABLE)}.",
        )
    abandon(call.state, intent, reason)
    return intent


def capture_charge(call: Call) -> Obj:
    """The older way to capture, by the charge's id."""
    state, params = call.state, call.params
    params.known(("amount", "receipt_email", "statement_descriptor", "statement_descriptor_suffix"))
    charge = state.get("charge", call.id, param="charge")
    if state.secret(charge["id"]).get("expired"):
        raise charges.expired_for_capture()
    if charge["captured"]:
        raise invalid_request(
            f"Charge {charge['id']} has already been captured.", code="charge_already_captured"
        )
    if charge["refunded"]:
        raise invalid_request(
            f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded"
        )
    amount = {"amount_to_capture": params.values["amount"]} if "amount" in params else {}
    capture(Call(state, Params(amount), (charge["payment_intent"],)))
    return charge


def pay(state: State, intent: Obj, params: Params) -> None:
    """One attempt to pay; what follows depends on the test payment method."""
    method = params.string("payment_method")
    off_session = params.values.get("off_session") in ("true", "one_off", "recurring")
    if method is not None:
        intent["payment_method"] = cards.attach(state, method)["id"]
    if intent["payment_method"] is None:
        raise _refusal(
            intent,
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either "
            "update the PaymentIntent with a payment method and then confirm it again, or confirm it again "
            "directly with a payment method.",
        )
    intent.update(next_action=None, last_payment_error=None)
    card = cards.behaviour(state, intent["payment_method"])
    if card.decline is not None:
        code, decline_code, message = card.decline
        raise _decline(state, intent, code, decline_code or None, message)
    if off_session and (card.authentication or card.authentication_off_session_only):
        message = "Your card was declined. This transaction requires authentication."
        raise _decline(state, intent, "authentication_required", "authentication_required", message)
    if card.authentication:
        if params.values.get("error_on_requires_action") == "true":
            raise _decline(
                state,
                intent,
                "authentication_required",
                "authentication_not_handled",
                "Authentication is required.",
            )
        return_url = params.string("return_url")
        intent["status"] = "requires_action"
        intent["next_action"] = _next_action(return_url)
        state.emit("payment_intent.requires_action", intent)
    elif card.kind != "card":
        charge = charges.make(state, intent, status="pending", captured=False)
        intent["status"] = "processing"
        state.emit("charge.pending", charge)
        state.emit("payment_intent.processing", intent)
    else:
        _accept(state, intent)


def authenticate(state: State, intent: Obj, *, succeed: bool) -> None:
    """The customer finishes 3-D Secure, or fails it."""
    if intent["status"] != "requires_action":
        raise unexpected_state(intent, "authenticated", "requires_action")
    intent["next_action"] = None
    if succeed:
        _accept(state, intent)
        return
    method = state.get("payment_method", intent["payment_method"], param="payment_method")
    _failed(
        state,
        intent,
        {
            "type": "invalid_request_error",
            "code": "payment_intent_authentication_failure",
            "doc_url": "https://stripe.com/docs/error-codes/payment-intent-authentication-failure",
            "message": "The provided PaymentMethod has failed authentication. You can provide "
            "payment_method_data or a new PaymentMethod to attempt to fulfill this PaymentIntent again.",
            "payment_method": method,
        },
    )


def settle(state: State, intent: Obj, *, succeed: bool) -> None:
    """The bank answers for a payment in `processing`."""
    if intent["status"] != "processing":
        raise unexpected_state(intent, "settled", "processing")
    charge = _charge(state, intent)
    if succeed:
        charge.update(status="succeeded", paid=True, captured=True, amount_captured=charge["amount"])
        charges.book(state, charge, charge["amount"], "charge")
        state.emit("charge.succeeded", charge, status="pending")
        intent.update(status="succeeded", amount_received=intent["amount"])
        state.emit("payment_intent.succeeded", intent, status="processing")
        return
    message = "The customer's account has insufficient funds to cover this payment."
    charge.update(status="failed", paid=False, failure_code="insufficient_funds", failure_message=message)
    state.emit("charge.failed", charge, status="pending")
    method = state.get("payment_method", intent["payment_method"], param="payment_method")
    error = {
        "type": "invalid_request_error",
        "code": "payment_method_provider_decline",
        "message": message,
        "charge": charge["id"],
        "payment_method": method,
    }
    _failed(state, intent, error)


def abandon(state: State, intent: Obj, reason: str | None) -> None:
    """Cancel whatever state allows it, releasing a hold first."""
    if intent["status"] == "requires_capture":
        charge = _charge(state, intent)
        if not charge["refunded"]:
            charges.release(state, charge)
    _end(state, intent, reason)


def lapse(state: State, intent_id: str, *, cancel: bool = True) -> None:
    """The hold's seven days are over. Without `cancel` Stripe only notices at the next capture."""
    intent = state.get("payment_intent", intent_id, param="intent")
    if intent["status"] != "requires_capture":
        return
    charge = _charge(state, intent)
    if not state.secret(charge["id"]).get("expired"):
        charges.expire(state, charge)
    if cancel:
        _end(state, intent, "automatic")


def _accept(state: State, intent: Obj) -> None:
    manual = intent["capture_method"] == "manual"
    charge = charges.make(state, intent, status="succeeded", captured=not manual)
    state.emit("charge.succeeded", charge)
    if manual:
        intent.update(status="requires_capture", amount_capturable=intent["amount"])
        state.emit("payment_intent.amount_capturable_updated", intent, amount_capturable=0)
        state.at(charge["payment_method_details"]["card"]["capture_before"], "hold_lapses", intent["id"])
    else:
        intent.update(status="succeeded", amount_received=intent["amount"])
        state.emit("payment_intent.succeeded", intent)
        charges.after_capture(state, charge)


def _decline(state: State, intent: Obj, code: str, decline_code: str | None, message: str) -> StripeError:
    method = state.get("payment_method", intent["payment_method"], param="payment_method")
    charge = charges.make(state, intent, status="failed", captured=False)
    charge.update(failure_code=code, failure_message=message)
    charge["outcome"].update(
        network_status="declined_by_network",
        reason=decline_code or code,
        seller_message="The bank did not return any further details with this decline.",
        type="issuer_declined",
    )
    state.emit("charge.failed", charge)
    error = card_error(
        code, message, decline_code=decline_code, intent=intent, charge=charge["id"], method=method
    )
    _failed(state, intent, {key: value for key, value in error.error.items() if key != "payment_intent"})
    return error


def _failed(state: State, intent: Obj, error: Obj) -> None:
    intent.update(status="requires_payment_method", payment_method=None, last_payment_error=error)
    state.emit("payment_intent.payment_failed", intent)


def _end(state: State, intent: Obj, reason: str | None) -> None:
    intent.update(
        status="canceled",
        amount_capturable=0,
        canceled_at=state.now(),
        cancellation_reason=reason,
        next_action=None,
    )
    state.emit("payment_intent.canceled", intent)


def _next_action(return_url: str | None) -> Obj:
    if return_url is None:
        return {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}
    url = f"https://hooks.stripe.com/3d_secure_2/hosted?{random_text(16)}"
    return {"type": "redirect_to_url", "redirect_to_url": {"return_url": return_url, "url": url}}


def _get(call: Call) -> Obj:
    return call.state.get("payment_intent", call.id, param="intent")


def _charge(state: State, intent: Obj) -> Obj:
    return state.get("charge", intent["latest_charge"], param="charge")


def _refusal(intent: Obj, message: str) -> StripeError:
    return invalid_request(message, code="payment_intent_unexpected_state", payment_intent=intent)
