"""Request parameters: Stripe's form encoding with nested keys, and their checks.

`amount=5&metadata[a]=b&expand[]=latest_charge` becomes `{"amount": "5", "metadata": {"a": "b"}, "expand":
["latest_charge"]}`. Every refusal names the parameter, as Stripe's does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from glue.sandbox.errors import Obj, invalid_parameter, missing_parameter


def words(text: str) -> frozenset[str]:
    """The words of a text: long sets of names stay readable."""
    return frozenset(text.split())


ZERO_DECIMAL = words("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf")
THREE_DECIMAL = words("bhd jod kwd omr tnd")
WHOLE_UNITS_ONLY = words("isk ugx")
CURRENCIES = (
    words(
        """
        aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bmd bnd bob brl bsd bwp byn bzd cad cdf chf
        cny cop crc cve czk dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gtq gyd hkd hnl htg huf idr ils
        inr jmd kes kgs khr kyd kzt lak lbp lkr lrd lsl mad mdl mkd mmk mnt mop mur mvr mwk mxn myr mzn nad
        ngn nio nok npr nzd pab pen pgk php pkr pln qar ron rsd rub sar sbd scr sek sgd shp sle sos srd std
        szl thb tjs top try ttd twd tzs uah usd uyu uzs wst xcd yer zar zmw
        """
    )
    | ZERO_DECIMAL
    | THREE_DECIMAL
    | WHOLE_UNITS_ONLY
)
MINIMUM = {
    "usd": 50,
    "eur": 50,
    "gbp": 30,
    "chf": 50,
    "jpy": 50,
    "isk": 5000,
    "ugx": 100000,
    "bhd": 200,
    "kwd": 150,
}
MAXIMUM_AMOUNT = 99_999_999

_PART = re.compile(r"\[([^\]]*)\]")


def decode_form(text: str) -> Obj:
    """Nested parameters of a form-encoded body or query string."""
    result: Obj = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        head, bracket, rest = name.partition("[")
        keys = [head, *_PART.findall(bracket + rest)]
        target = result
        for position, key in enumerate(keys[:-1]):
            following = target.setdefault(key if key else str(len(target)), {})
            if not isinstance(following, dict):
                raise invalid_parameter(f"Invalid object: {'.'.join(keys[: position + 1])}", param=name)
            target = following
        target[keys[-1] if keys[-1] else str(len(target))] = value
    return {key: value if key == "metadata" else _lists(value) for key, value in result.items()}


def _lists(value: Any) -> Any:
    """Mappings with the keys 0, 1, 2... are lists; metadata keeps its keys whatever they look like."""
    if not isinstance(value, dict):
        return value
    if value and list(value) == [str(n) for n in range(len(value))]:
        return [_lists(item) for item in value.values()]
    return {key: item if key == "metadata" else _lists(item) for key, item in value.items()}


def money(amount: int, currency: str) -> str:
    """An amount in minor units as Stripe writes it in messages."""
    if currency in ZERO_DECIMAL:
        text = f"{amount:,}"
    elif currency in THREE_DECIMAL:
        text = f"{amount / 1000:,.3f}"
    else:
        text = f"{amount / 100:,.2f}"
    return f"${text}" if currency == "usd" else f"{text} {currency.upper()}"


def check_step(amount: int, currency: str, param: str) -> None:
    """Three-decimal currencies come in tens, ISK and UGX in whole units (hundreds)."""
    step = 10 if currency in THREE_DECIMAL else 100 if currency in WHOLE_UNITS_ONLY else 1
    if amount % step:
        raise invalid_parameter(
            f"Invalid amount: {currency} amounts must be a multiple of {step} in the minor unit.", param=param
        )


class Params:
    """Parameters of one call. `path` is the prefix used in messages, such as `line_items[0]`."""

    def __init__(self, values: Obj, path: str = "") -> None:
        self.values = values
        self.path = path

    def name(self, key: str) -> str:
        return f"{self.path}[{key}]" if self.path else key

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def known(self, names: Iterable[str]) -> None:
        """Refuse every parameter that is not in `names` (`expand` always is)."""
        allowed = set(names) | {"expand"}
        unknown = [self.name(key) for key in self.values if key not in allowed]
        if unknown:
            plural = "s" if len(unknown) > 1 else ""
            raise invalid_parameter(
                f"Received unknown parameter{plural}: {', '.join(unknown)}",
                param=unknown[0],
                code="parameter_unknown",
            )

    def string(self, key: str, default: str | None = None, *, limit: int = 5000) -> str | None:
        """A text; the empty string unsets it, which is None here."""
        value = self.values.get(key, default)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise invalid_parameter("Invalid string", param=self.name(key))
        if len(value) > limit:
            raise invalid_parameter(
                f"Invalid string: {value[:10]}...; must be at most {limit} characters", param=self.name(key)
            )
        return value

    def required(self, key: str) -> str:
        value = self.string(key)
        if value is None:
            raise missing_parameter(self.name(key))
        return value

    def integer(
        self, key: str, default: int | None = None, *, minimum: int = 0, maximum: int | None = None
    ) -> int | None:
        raw = self.values.get(key)
        if raw is None:
            return default
        if not isinstance(raw, str) or not re.fullmatch(r"-?\d{1,18}", raw):
            raise invalid_parameter(
                f"Invalid integer: {raw}", param=self.name(key), code="parameter_invalid_integer"
            )
        value = int(raw)
        if value < minimum:
            raise invalid_parameter(
                f"This value must be greater than or equal to {minimum}.",
                param=self.name(key),
                code="parameter_invalid_integer",
            )
        if maximum is not None and value > maximum:
            raise invalid_parameter(
                f"This value must be less than or equal to {maximum}.",
                param=self.name(key),
                code="parameter_invalid_integer",
            )
        return value

    def boolean(self, key: str, default: bool = False) -> bool:
        value = self.values.get(key)
        if value is None:
            return default
        if value not in ("true", "false"):
            raise invalid_parameter(f"Invalid boolean: {value}", param=self.name(key))
        return bool(value == "true")

    def choice(self, key: str, allowed: Iterable[str], default: str | None = None) -> str | None:
        value = self.string(key, default)
        options = list(allowed)
        if value is not None and value not in options:
            raise invalid_parameter(
                f"Invalid {self.name(key)}: must be one of {', '.join(options)}", param=self.name(key)
            )
        return value

    def mapping(self, key: str) -> Params:
        """A nested object; empty when it was not given."""
        value = self.values.get(key) or {}
        if not isinstance(value, dict):
            raise invalid_parameter("Invalid object", param=self.name(key))
        return Params(value, self.name(key))

    def items(self, key: str) -> list[Params]:
        """A list of nested objects."""
        return [
            Params(item, f"{self.name(key)}[{n}]") if isinstance(item, dict) else self._not_an_object(key, n)
            for n, item in enumerate(self.strings_or_objects(key))
        ]

    def _not_an_object(self, key: str, position: int) -> Params:
        raise invalid_parameter("Invalid object", param=f"{self.name(key)}[{position}]")

    def strings_or_objects(self, key: str) -> list[Any]:
        value = self.values.get(key) or []
        if not isinstance(value, list):
            raise invalid_parameter("Invalid array", param=self.name(key))
        return value

    def strings(self, key: str) -> list[str]:
        values = self.strings_or_objects(key)
        if not all(isinstance(value, str) for value in values):
            raise invalid_parameter("Invalid array", param=self.name(key))
        return values

    def currency(self, key: str = "currency") -> str:
        value = self.required(key).lower()
        if value not in CURRENCIES:
            raise invalid_parameter(
                f"Invalid currency: {value}. Stripe currently supports these currencies: "
                f"{', '.join(sorted(CURRENCIES))}",
                param=self.name(key),
            )
        return value

    def amount(self, key: str, currency: str) -> int:
        """A chargeable amount in minor units: at least the currency's minimum, in steps Stripe accepts."""
        value = self.integer(key, minimum=1)
        if value is None:
            raise missing_parameter(self.name(key))
        if value > MAXIMUM_AMOUNT:
            raise invalid_parameter(
                f"Amount must be no more than {money(MAXIMUM_AMOUNT, currency)}",
                param=self.name(key),
                code="amount_too_large",
            )
        if value < MINIMUM.get(currency, 1):
            raise invalid_parameter(
                f"Amount must be at least {money(MINIMUM[currency], currency)} {currency}",
                param=self.name(key),
                code="amount_too_small",
            )
        check_step(value, currency, self.name(key))
        return value

    def metadata(self, current: dict[str, str] | None = None, key: str = "metadata") -> dict[str, str]:
        """`current` with what was given merged in; an empty value removes a key, an empty text all."""
        given = self.values.get(key)
        if given is None:
            return dict(current or {})
        if given == "":
            return {}
        if not isinstance(given, dict):
            raise invalid_parameter("Invalid object", param=self.name(key))
        merged = dict(current or {})
        for name, value in given.items():
            if not isinstance(value, str):
                raise invalid_parameter("Metadata values must be strings", param=f"{self.name(key)}[{name}]")
            if len(name) > 40:
                raise invalid_parameter(
                    f"Metadata keys must be at most 40 characters: {name}", param=f"{self.name(key)}[{name}]"
                )
            if len(value) > 500:
                raise invalid_parameter(
                    f"Metadata values must be at most 500 characters: {name}",
                    param=f"{self.name(key)}[{name}]",
                )
            if value == "":
                merged.pop(name, None)
            else:
                merged[name] = value
        if len(merged) > 50:
            raise invalid_parameter("Metadata can have at most 50 keys", param=self.name(key))
        return merged
