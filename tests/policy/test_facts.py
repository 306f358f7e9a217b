"""Licences that came back, and packs day by day, at each boundary."""

from datetime import date, timedelta

import pytest

from app.policy.facts import Contract, Facts, LengthenedTicket, Licence, Pack, ServiceYear

_DAY = timedelta(days=1)
BOUGHT = date(2026, 3, 1)
EDITOR = Licence("l1", "S-1", "editor", BOUGHT)
ENDS = date(2027, 3, 1)
PACK = Pack("p1", "TP-1", BOUGHT, ENDS, 5)


# --- a licence that went and came back (R44) ------------------------------------------------------


def test_a_licence_that_came_back_counts_as_bought_by_whoever_bought_it() -> None:
    went, came = date(2026, 5, 1), date(2026, 8, 1)
    upgrades = (date(2026, 4, 1),)
    before = EDITOR._replace(withdrawn_on=went, paid_upgrades=upgrades)
    back = EDITOR._replace(id="l2", held_from=came, bought=False, paid_upgrades=(date(2026, 9, 1),))
    after = back.after(before)
    assert after == back._replace(
        bought=True,
        paid_upgrades=(date(2026, 4, 1), date(2026, 9, 1)),
        earlier=((BOUGHT, went),),
    )
    assert after.purchases == (BOUGHT, date(2026, 4, 1), date(2026, 9, 1))
    # It went again, and came back once more.
    gone = after._replace(withdrawn_on=date(2026, 10, 1))
    third = back._replace(held_from=date(2026, 11, 1), paid_upgrades=()).after(gone)
    assert third.earlier == ((BOUGHT, went), (came, date(2026, 10, 1)))


def test_a_licence_got_twice_is_no_purchase() -> None:
    got = EDITOR._replace(bought=False, held_from=date(2026, 4, 1))
    back = got._replace(held_from=date(2026, 8, 1))
    after = back.after(got._replace(withdrawn_on=date(2026, 5, 1)))
    assert after.bought is False
    assert after.purchases == ()
    assert after.earlier == ((date(2026, 4, 1), date(2026, 5, 1)),)
    # One that was never given away was held without an end.
    assert back.after(got).earlier == ()


# --- tickets of a pack (R5, R18, R19, R45) --------------------------------------------------------


def test_tickets_that_are_cancelled_by_a_day() -> None:
    first, second = date(2026, 6, 1), date(2026, 7, 1)
    longer = (LengthenedTicket(4, ENDS + _DAY), LengthenedTicket(5, ENDS + 2 * _DAY))
    pack = PACK._replace(
        cancelled=1, lengthened=longer, cancelled_later=((second, 3), (first, 5), (first, 2))
    )
    assert pack.by(first - _DAY) is pack
    cancelled = (longer[0], longer[1]._replace(state="cancelled"))
    by_first = pack._replace(cancelled=3, lengthened=cancelled, cancelled_later=((second, 3),))
    assert pack.by(first) == by_first
    assert pack.by(second - _DAY) == by_first
    assert pack.by(second) == by_first._replace(cancelled=4, cancelled_later=())
    facts = Facts(packs=(PACK, pack))
    assert facts.packs_by(first) == (PACK, by_first)
    assert Facts(packs=(PACK,)).packs_by(first) == (PACK,)


@pytest.mark.parametrize(
    ("on", "available", "expired"),
    [
        (BOUGHT - _DAY, 0, 0),
        (BOUGHT, 2, 0),
        (ENDS - _DAY, 2, 0),
        (ENDS, 0, 2),
    ],
)
def test_a_ticket_is_available_from_its_purchase_to_its_end(
    on: date, available: int, expired: int
) -> None:
    pack = PACK._replace(held=1, consumed=1, cancelled=1)
    assert (pack.unused, pack.available(on), pack.expired(on)) == (2, available, expired)
    assert pack.next_ticket(on) == ((ENDS, None) if available else None)


def test_lengthened_tickets_end_by_themselves() -> None:
    sooner, later = ENDS + _DAY, ENDS + 10 * _DAY
    pack = PACK._replace(
        held=1,
        consumed=1,
        cancelled=1,
        lengthened=(
            LengthenedTicket(1, later),
            LengthenedTicket(2, sooner),
            LengthenedTicket(3, later + _DAY, "consumed"),
            LengthenedTicket(4, later + _DAY, "cancelled"),
        ),
    )
    assert pack.unused_by_end == {sooner: 1, later: 1}
    assert pack.ends_on == later
    days = (BOUGHT - _DAY, BOUGHT, ENDS, sooner, later)
    assert [pack.available(day) for day in days] == [0, 2, 2, 1, 0]
    assert [pack.expired(day) for day in days] == [0, 0, 0, 1, 2]
    assert [pack.next_ticket(day) for day in days] == [
        None,
        (sooner, 2),
        (sooner, 2),
        (later, 1),
        None,
    ]
    more = pack._replace(quantity=7)
    assert more.unused_by_end == {ENDS: 2, sooner: 1, later: 1}
    assert [more.available(day) for day in (ENDS - _DAY, ENDS)] == [4, 2]
    assert [more.next_ticket(day) for day in (ENDS - _DAY, ENDS)] == [(ENDS, None), (sooner, 2)]
    # The last ticket that is neither consumed nor cancelled may be held, or be a plain one.
    held = pack._replace(lengthened=(LengthenedTicket(1, later, "held"),))
    assert held.ends_on == later
    consumed = pack._replace(lengthened=(LengthenedTicket(1, later, "consumed"),))
    assert consumed.ends_on == ENDS


def test_a_pack_is_void_when_every_ticket_is_cancelled() -> None:
    assert [PACK._replace(cancelled=n).is_void for n in (4, 5)] == [False, True]


def test_nothing_is_left_of_what_is_used_beyond_its_grant() -> None:
    year = ServiceYear(BOUGHT, ENDS, 300)
    contract = Contract("c1", "SA-1", BOUGHT, ENDS, None, 300)
    for used, left in ((0, 300), (299, 1), (300, 0), (301, 0)):
        assert year._replace(used_minutes=used).remaining_minutes == left
        assert contract._replace(used_minutes=used).remaining_minutes == left
