"""Random histories tell every mutant from the model, and keep what holds for every history."""

from collections.abc import Iterator
from typing import Any

import pytest

from . import charging
from .facts import Contract, Customer, Ticket, Year, granted
from .generate import History, generate
from .mutants import MUTANTS, Mutant, told_apart, trace
from .player import Player

HISTORIES = 100
_played: list[tuple[History, list[Any]]] = []


def _histories() -> Iterator[tuple[History, list[Any]]]:
    """Histories with what the model answers, played when first needed."""
    for seed in range(HISTORIES):
        if seed == len(_played):
            history = generate(seed)
            _played.append((history, list(trace(history, Player(history.base)))))
        yield _played[seed]


def test_there_are_twenty_mutants_at_least() -> None:
    assert len({each.name for each in MUTANTS}) >= 20


@pytest.mark.long
@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_mutant_is_told_from_the_model(mutant: Mutant) -> None:
    assert told_apart(mutant, _histories()) is not None


def test_a_seed_gives_one_history() -> None:
    assert generate(7) == generate(7)
    assert generate(7) != generate(8)


@pytest.mark.parametrize("seed", range(20))
def test_what_holds_after_every_step(seed: int) -> None:
    history = generate(seed)
    player = Player(history.base)
    for step in history.steps:
        player.play(step)
        for customer in player.customers:
            _check(customer)


def _check(customer: Customer) -> None:
    for case in customer.cases:
        for entry in case.entries:
            counted = sum(share.minutes for share in entry.shares)
            nothing = entry.reversed or case.bug or isinstance(case.binding, Ticket)
            assert counted == (0 if nothing else entry.minutes)
            assert all(share.minutes > 0 for share in entry.shares)
            own = case.binding
            if entry.overrun and isinstance(own, Year | Contract):  # R22
                assert not charging.pays(customer, own, entry.day) or not customer.left(own)
    payers = {share.payer for _, entry in customer.work() for share in entry.shares} - {None}
    for payer in payers:
        assert payer is not None
        assert customer.used(payer) <= granted(payer)
    holders = [ticket.now.case for ticket in customer.tickets() if ticket.now.case]
    assert len(holders) == len(set(holders))  # R19: no case has two tickets
