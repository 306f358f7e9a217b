"""Entitlement answers that are kept as bytes, for callers that repeat a question."""

from collections.abc import Callable
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from app.http.decisions import entitlements_body
from app.http.encoding import json_bytes
from app.http.etags import weak_etag
from app.http.languages import Language
from app.policy.civil import DeskState
from app.policy.decide import decide
from app.policy.document import Policies
from app.store.facts import Known

_LONGEST_FACTS = 8_192
"""In characters of their JSON."""


class RenderedAnswer(NamedTuple):
    """The bytes before and after the instant in an answer, and the entity tag of both."""

    before: bytes
    after: bytes
    etag: str


class AnswerKey(NamedTuple):
    """Everything that an answer depends on, apart from the instant that it shows."""

    policies: Policies
    customer: Known
    on: date
    desk: DeskState
    language: Language
    explained: bool


def render(key: AnswerKey) -> RenderedAnswer:
    """Decide and render; the work that a kept answer saves."""
    policies, customer, on, state, language, explained = key
    facts = customer.facts()
    decision = decide(policies, facts, on)
    desk = decision.standing.policy.desk_for(customer.country, customer.help_desk)
    # Any instant will do: it is cut out.
    body = entitlements_body(
        customer,
        facts,
        decision,
        policies,
        state.changes_at,
        (desk, state),
        language,
        explained=explained,
    )
    # These bytes occur once: a quote inside a text is escaped.
    before, member, rest = json_bytes(body).partition(b',"at":')
    _, _, after = rest.partition(b',"on":')
    before, after = before + member, b',"on":' + after
    return RenderedAnswer(before, after, weak_etag(before + after))


class AnswerMemory:
    """The answers to the last `size` questions that were asked at least twice.

    Dashboards, and every step of one telephone call, repeat a question. Its facts are read from the
    database each time; if they are the same to the letter, so is the answer, and it is neither
    decided nor rendered again. Cache an answer on its second request: caching all of them, at five
    kilobytes each, cost more than it saved. The answer of a customer with long facts is never
    cached, so that `size` bounds the memory too.
    """

    def __init__(self, size: int, render: Callable[[AnswerKey], RenderedAnswer] = render) -> None:
        self._render = render
        self._rendered = lru_cache(size)(render)
        # Whether a question was asked before, by its hash. If two questions have the same hash, an
        # answer is cached too early, which is harmless.
        self._asked = lru_cache(size)(lambda _: [False])

    def answer(self, key: AnswerKey) -> RenderedAnswer:
        """The answer to a question, from the memory if it is there."""
        if len(key.customer.document) > _LONGEST_FACTS:
            return self._render(key)
        asked = self._asked(hash(key))
        if asked[0]:
            return self._rendered(key)
        asked[0] = True
        return self._render(key)
