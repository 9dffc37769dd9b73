r"""Predicates as one line of text, the way people write them.

    conv3x3 >= 2 and depth >= 3 and params < 1.0M
    op(0->3) = skip|conv1x1                 the choice at a decision; `input3 = 1` for a plain name
    count(conv1x1|conv3x3) >= 3             operations of either kind
    path(conv3x3|skip)                      an input-output path made only of these
    conv1x1 feeds conv3x3
    latency[raspi4] < 12ms or flops < 80M
    not (depth < 2 or skip > 3)

`not` binds tighter than `and`, `and` tighter than `or`. Counts compare with `== != < <= > >=`, a
choice is given with a single `=`. Names in a list may be apart by commas, and what others write for signs
(&&, ||, one character for >=) is understood. Units: K, M, G for params and flops, us, ms, s for latency.
Names that are no plain words stand in double quotes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, NoReturn

from pydantic import ValidationError

from vitruvius.errors import InvalidPredicateError
from vitruvius.knowledge.predicate import (
    All,
    AnyOf,
    AnyPredicate,
    Bound,
    Choice,
    Count,
    Depth,
    Feeds,
    Not,
    Path,
    Predicate,
    predicate_from_json,
)
from vitruvius.knowledge.wording import KEYWORDS, is_word

MAX_TEXT = 2000
_TOKENS = re.compile(
    r"\s*(?:(?P<decision>op\(\s*(?P<inside>\"[^\"]*\"|[^()\"]+?)\s*\))"
    r"|(?P<latency>latency\[\s*(?P<device>[^\[\]\"\\\s]+)\s*\])"
    r"|(?P<edge>\d+->\d+)"
    r"|(?P<number>\d+(?:\.\d+)?(?P<unit>[A-Za-z]*)(?![\w.-]))"
    r"|(?P<name>\d[\w.]*(?:-[\w.]+)*)"
    r"|(?P<word>[A-Za-z_][\w.]*(?:-[\w.]+)*)|(?P<quoted>\"[^\"]*\")"
    r"|(?P<sign><=|>=|==|!=|<|>|=)|(?P<mark>[()|,])|(?P<end>$))",
    re.ASCII,
)
_SYNONYMS = {"\u2265": ">=", "\u2264": "<=", "\u2260": "!=", "&&": " and ", "||": " or "}
"""How others write signs of the language."""
_MILLIONS = {"K": Decimal("0.001"), "M": Decimal(1), "G": Decimal(1000)}
_MILLISECONDS = {"us": Decimal("0.001"), "ms": Decimal(1), "s": Decimal(1000)}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int
    value: str = ""
    unit: str = ""


def parse_predicate(value: str | Mapping[str, Any] | Predicate) -> AnyPredicate:
    """Read a predicate: the text form, the JSON form as text or as data, or a predicate itself.

    Raises:
        InvalidPredicateError: It cannot be read; for the text form the message names the position.
    """
    if isinstance(value, Predicate):
        return predicate_from_json(value.to_json())
    if isinstance(value, str) and not value.lstrip().startswith("{"):
        return _Parser(value).predicate()
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (json.JSONDecodeError, RecursionError) as error:
            raise InvalidPredicateError(f"The predicate begins like JSON but is none: {error}.") from None
    if not isinstance(value, Mapping):
        raise InvalidPredicateError(f"A predicate is a text or a JSON object, not {type(value).__name__}.")
    return predicate_from_json(value)


class _Parser:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str) -> None:
        for sign, ours in _SYNONYMS.items():
            text = text.replace(sign, ours)
        self.text = text
        if len(text) > MAX_TEXT or text.count("(") > 100 or len(re.findall(r"\bnot\b", text, re.I)) > 20:
            raise InvalidPredicateError(
                f"The predicate is too long: at most {MAX_TEXT} characters, 100 brackets and 20 times 'not'."
            )
        self.tokens = self._tokens()
        self.place = 0

    def predicate(self) -> AnyPredicate:
        found = self._either()
        if self.now.kind != "end":
            self._refuse("'and', 'or' or the end")
        return predicate_from_json(found.to_json())  # the same limits as for the JSON form

    # ---- tokens ----------------------------------------------------------------------------

    def _tokens(self) -> list[_Token]:
        tokens: list[_Token] = []
        position = 0
        while not tokens or tokens[-1].kind != "end":
            match = _TOKENS.match(self.text, position)
            if match is None:
                start = position + len(self.text[position:]) - len(self.text[position:].lstrip())
                self._fail(start, f"{self.text[start : start + 12]!r} is no part of the language")
            kind = next(k for k in _KINDS if match[k] is not None)
            value = match["inside"] or match["device"] or match["quoted"] or match[kind]
            tokens.append(_Token(kind, match[kind], match.start(kind), value.strip('"'), match["unit"] or ""))
            position = match.end()
        return tokens

    @property
    def now(self) -> _Token:
        return self.tokens[self.place]

    def _take(self) -> _Token:
        token = self.now
        self.place += 1
        return token

    def _is(self, *words: str) -> bool:
        return self.now.kind in ("word", "mark") and self.now.text.lower() in words

    def _expect(self, mark: str) -> None:
        if not self._is(mark):
            self._refuse(f"{mark!r}")
        self.place += 1

    def _refuse(self, expected: str) -> NoReturn:
        found = repr(self.now.text) if self.now.text else "the end"
        self._fail(self.now.start, f"expected {expected}, found {found}")

    def _fail(self, position: int, why: str) -> NoReturn:
        raise InvalidPredicateError(
            f"The predicate cannot be read at character {position + 1}: {why}, "
            f"in {self.text[:position]!r} >>> {self.text[position : position + 60]!r}."
        )

    # ---- grammar ---------------------------------------------------------------------------

    def _either(self) -> AnyPredicate:
        parts = [self._both()]
        while self._is("or"):
            self.place += 1
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else self._build(AnyOf, parts=tuple(parts))

    def _both(self) -> AnyPredicate:
        parts = [self._one()]
        while self._is("and"):
            self.place += 1
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else self._build(All, parts=tuple(parts))

    def _one(self) -> AnyPredicate:
        if self._is("not"):
            self.place += 1
            return self._build(Not, part=self._one())
        if self._is("("):
            self.place += 1
            inner = self._either()
            self._expect(")")
            return inner
        return self._condition()

    def _condition(self) -> AnyPredicate:
        token = self.now
        word = token.text.lower() if token.kind == "word" else ""
        if token.kind == "latency" or word in ("params", "flops"):
            return self._bound()
        if word == "latency":
            self._fail(token.start, "a latency needs its device, as in latency[pixel3] < 12ms")
        if word == "depth":
            self.place += 1
            return self._build(Depth, **self._comparison())
        if word in ("path", "count"):
            self.place += 1
            self._expect("(")
            names = self._names()
            self._expect(")")
            comparison = self._comparison() if word == "count" else {}
            return self._build(Count if word == "count" else Path, operations=names, **comparison)
        if token.kind in ("decision", "edge"):
            self.place += 1
            return self._choice(token.value)
        return self._about(self._name("a condition such as conv3x3 >= 2"))

    def _about(self, name: str) -> AnyPredicate:
        if self._is("feeds"):
            self.place += 1
            return self._build(Feeds, first=name, second=self._name("an operation"))
        if self.now.kind == "sign" and self.now.text == "=":
            return self._choice(name)
        if self.now.kind != "sign":
            self._refuse(f"'feeds', '=' or a comparison such as '>= 2' after {name!r}")
        return self._build(Count, operations=(name,), **self._comparison())

    def _choice(self, decision: str) -> AnyPredicate:
        if self.now.text != "=":
            self._refuse("'=' and a choice")
        self.place += 1
        return self._build(Choice, decision=decision, among=self._names())

    def _bound(self) -> AnyPredicate:
        token = self._take()
        latency = token.kind == "latency"
        sign, number = self._sign(), self._number()
        units = _MILLISECONDS if latency else _MILLIONS
        if not number.unit and self.now.kind == "word" and self.now.text in units:  # "12 ms"
            number = replace(number, unit=self._take().text)
        if number.unit not in units:
            self._fail(
                number.start, f"{token.text} needs a unit, one of {', '.join(units)}, as in 12{[*units][1]}"
            )
        value = float(Decimal(number.text.removesuffix(number.unit)) * units[number.unit])
        cost = f"latency[{token.value}]" if latency else token.text.lower()
        return self._build(Bound, cost=cost, comparison=sign, value=value)

    def _comparison(self) -> dict[str, Any]:
        sign, number = self._sign(), self._number()
        if number.unit or "." in number.text:
            costs = ": units are for params, flops and latency[DEVICE]" if number.unit else ""
            self._fail(number.start, f"expected a whole number, found {number.text!r}{costs}")
        return {"comparison": sign, "value": int(number.text)}

    def _sign(self) -> str:
        if self.now.kind != "sign":
            self._refuse("a comparison, one of < <= == != >= >")
        if self.now.text == "=":
            self._refuse("a comparison (write == for equal)")
        return self._take().text

    def _number(self) -> _Token:
        if self.now.kind != "number":
            self._refuse("a number")
        return self._take()

    def _names(self) -> tuple[str, ...]:
        names = [self._name("a name", numbers=True)]
        while self._is("|", ","):
            self.place += 1
            names.append(self._name("a name", numbers=True))
        return tuple(names)

    def _name(self, expected: str, *, numbers: bool = False) -> str:
        token = self.now
        plain = token.kind in ("quoted", "name") or (token.kind == "word" and is_word(token.text))
        if not (plain or (numbers and token.kind == "number")):
            reserved = token.kind == "word" and token.text.lower() in KEYWORDS
            self._refuse(f"{expected} (quote {token.text} to use it as a name)" if reserved else expected)
        return self._take().value

    def _build(self, kind: Callable[..., AnyPredicate], **fields: Any) -> AnyPredicate:
        try:
            return kind(**fields)
        except ValidationError as error:
            self._fail(self.now.start, error.errors(include_url=False)[0]["msg"])


_KINDS = ("decision", "latency", "edge", "number", "name", "word", "quoted", "sign", "mark", "end")
