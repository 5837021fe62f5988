"""Who takes part in the demo: people who talk HTTP, and the card at Stripe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests
import stripe
import urllib3

from glue.sandbox.signing import signature_header
from glue.system import WEBHOOK_PATH, System, mint

Obj = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What came back over HTTP."""

    status: int
    body: Obj

    @property
    def code(self) -> str:
        """The machine code of a refusal, else an empty text."""
        return str(self.body.get("error", {}).get("code", ""))

    def __str__(self) -> str:
        return f"{self.status} {self.code}".rstrip()


class Api:
    """The server over HTTP. Loopback only, so no proxy of the environment is asked."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._http = urllib3.PoolManager(maxsize=32, retries=False, timeout=30)

    def call(
        self,
        method: str,
        path: str,
        *,
        bearer: str = "",
        body: Mapping[str, Any] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        sent = dict(headers or {})
        if bearer:
            sent["Authorization"] = f"Bearer {bearer}"
        if body is not None:
            sent["Content-Type"] = "application/json"
        data = json.dumps(body).encode() if isinstance(body, Mapping) else body
        answer = self._http.request(method, self._url + path, body=data, headers=sent)
        return Answer(answer.status, json.loads(answer.data))

    def download(self, path: str, *, bearer: str) -> tuple[int, bytes]:
        """Status and body of an answer that is not JSON."""
        answer = self._http.request("GET", self._url + path, headers={"Authorization": f"Bearer {bearer}"})
        return answer.status, answer.data

    def deliver(self, event: Mapping[str, Any], secret: str) -> Answer:
        """An event as Stripe would post it, signed with `secret`."""
        body = json.dumps(event).encode()
        signature = {"Stripe-Signature": signature_header(body, secret)}
        return self.call("POST", WEBHOOK_PATH, body=body, headers=signature)

    def close(self) -> None:
        self._http.clear()


@dataclass(frozen=True)
class Person:
    """Somebody with a token."""

    name: str
    role: str
    api: Api
    token: str

    @classmethod
    def of(cls, name: str, role: str, api: Api, jwt_secret: str) -> Person:
        return cls(name, role, api, mint(jwt_secret, name, role))

    def get(self, path: str) -> Answer:
        return self.api.call("GET", path, bearer=self.token)

    def post(self, path: str, body: Mapping[str, Any], key: str = "") -> Answer:
        """`key`: goes out as Idempotency-Key."""
        headers = {"Idempotency-Key": key} if key else {}
        return self.api.call("POST", path, bearer=self.token, body=body, headers=headers)


class Card:
    """A customer's card: stripe-python as it is published, pointed at the sandbox."""

    def __init__(self, system: System) -> None:
        self._session = requests.Session()
        self._session.trust_env = False
        self._stripe = stripe.StripeClient(
            system.secrets.stripe,
            base_addresses={"api": system.sandbox_url},
            http_client=stripe.RequestsClient(session=self._session),
            max_network_retries=0,
        )

    def pay(self, intent: str, method: str = "pm_card_visa") -> str:
        """Confirm a PaymentIntent; returns its status at Stripe."""
        return self._stripe.v1.payment_intents.confirm(intent, {"payment_method": method}).status

    def close(self) -> None:
        self._session.close()
