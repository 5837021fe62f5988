"""Stripe's test payment methods and what a payment with each of them does."""

from __future__ import annotations

from dataclasses import dataclass

from glue.sandbox.errors import Obj, resource_missing
from glue.sandbox.state import State, random_text


@dataclass(frozen=True)
class Card:
    """A test card. At most one of the behaviours is set."""

    brand: str = "visa"
    last4: str = "4242"
    kind: str = "card"
    decline: tuple[str, str | None, str] | None = None
    authentication: bool = False
    authentication_off_session_only: bool = False
    disputed: str | None = None
    refund_fails: bool = False
    refund_pending: bool = False


def _declined(last4: str, decline_code: str, code: str = "card_declined", message: str = "") -> Card:
    text = message or "Your card was declined."
    return Card(last4=last4, decline=(code, decline_code if code == "card_declined" else None, text))


CARDS: dict[str, Card] = {
    "pm_card_visa": Card(),
    "pm_card_visa_debit": Card(last4="5556"),
    "pm_card_mastercard": Card("mastercard", "4444"),
    "pm_card_mastercard_debit": Card("mastercard", "8210"),
    "pm_card_amex": Card("amex", "8431"),
    "pm_card_discover": Card("discover", "9424"),
    "pm_card_bypassPending": Card(last4="0077"),
    "pm_card_chargeDeclined": _declined("0002", "generic_decline"),
    "pm_card_visa_chargeDeclined": _declined("0002", "generic_decline"),
    "pm_card_chargeDeclinedInsufficientFunds": _declined(
        "9995", "insufficient_funds", message="Your card has insufficient funds."
    ),
    "pm_card_visa_chargeDeclinedInsufficientFunds": _declined(
        "9995", "insufficient_funds", message="Your card has insufficient funds."
    ),
    "pm_card_visa_chargeDeclinedLostCard": _declined("9987", "lost_card"),
    "pm_card_visa_chargeDeclinedStolenCard": _declined("9979", "stolen_card"),
    "pm_card_chargeDeclinedFraudulent": _declined("0019", "fraudulent"),
    "pm_card_radarBlock": _declined("0019", "fraudulent"),
    "pm_card_chargeDeclinedExpiredCard": _declined("0069", "", "expired_card", "Your card has expired."),
    "pm_card_chargeDeclinedIncorrectCvc": _declined(
        "0127", "", "incorrect_cvc", "Your card's security code is incorrect."
    ),
    "pm_card_chargeDeclinedProcessingError": _declined(
        "0119",
        "",
        "processing_error",
        "An error occurred while processing your card. Try again in a little bit.",
    ),
    "pm_card_chargeCustomerFail": _declined("0341", "generic_decline"),
    "pm_card_authenticationRequired": Card(last4="3184", authentication=True),
    "pm_card_authenticationRequiredOnSetup": Card(last4="3155", authentication_off_session_only=True),
    "pm_card_authenticationRequiredSetupForOffSession": Card(
        last4="3155", authentication_off_session_only=True
    ),
    "pm_card_threeDSecure2Required": Card(last4="3220", authentication=True),
    "pm_card_threeDSecureRequired": Card(last4="3063", authentication=True),
    "pm_card_threeDSecureOptional": Card(last4="3055"),
    "pm_card_createDispute": Card(last4="0259", disputed="fraudulent"),
    "pm_card_createDisputeProductNotReceived": Card(last4="2685", disputed="product_not_received"),
    "pm_card_createDisputeInquiry": Card(last4="1976", disputed="inquiry"),
    "pm_card_refundFail": Card(last4="5126", refund_fails=True),
    "pm_card_pendingRefund": Card(last4="7726", refund_pending=True),
    "pm_usBankAccount": Card(brand="", last4="6789", kind="us_bank_account"),
    "pm_usBankAccount_success": Card(brand="", last4="6789", kind="us_bank_account"),
}


def attach(state: State, token: str, *, param: str = "payment_method") -> Obj:
    """The PaymentMethod `token` names: a stored one, or a new one of a test token such as `pm_card_visa`."""
    stored = state.stores["payment_method"].get(token)
    if stored is not None:
        return stored
    card = CARDS.get(token)
    if card is None:
        raise resource_missing("PaymentMethod", token, param=param, status=400)
    method = state.new("payment_method")
    state.secret(method["id"])["token"] = token
    if card.kind == "card":
        details = method["card"]
        details.update(
            brand=card.brand, display_brand=card.brand, last4=card.last4, fingerprint=random_text(16)
        )
        details["networks"]["available"] = [card.brand]
    else:
        method["type"] = card.kind
        del method["card"]
        method[card.kind] = {"bank_name": "STRIPE TEST BANK", "last4": card.last4, "account_type": "checking"}
    return method


def behaviour(state: State, method_id: str) -> Card:
    """What a stored PaymentMethod does when it pays."""
    return CARDS[state.secret(method_id).get("token", "pm_card_visa")]
