"""Licences: registered, corrected, upgraded and withdrawn (R1, R2, R25, R40, R46)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Literal, NamedTuple
from uuid import UUID

from sqlalchemy import (
    JSON,
    ColumnElement,
    Row,
    Select,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    update,
)

from app.errors import (
    AlreadyExists,
    AlreadyReversed,
    CorrectionConflicts,
    CustomerNotFound,
    NotEntitled,
    NotFound,
    WrongState,
    invalid,
)
from app.ids import new_id
from app.policy.decide import decide
from app.policy.facts import LicenceKind
from app.services.service_years import follow_licences, restore_cases
from app.services.unit_of_work import UnitOfWork
from app.services.visibility import (
    called,
    find,
    find_locked,
    lock_customer,
    lock_customers,
    of_customer,
    records,
    visible,
    within,
)
from app.store import facts
from app.store.corrections import Undone
from app.store.event_types import (
    EventData,
    EventType,
    LicenceCorrected,
    LicenceRegistered,
    LicenceTransferred,
    LicenceUpgraded,
    LicenceWithdrawn,
    UpgradeReversed,
)
from app.store.events import latest_data
from app.store.keyset import Listing, exactly
from app.store.ledger import Ledger
from app.store.tables import customers, events, licence_upgrades, licences

_UPGRADES = literal_column(
    """coalesce((SELECT json_agg(json_build_object('id', id, 'version', version,
            'upgraded_on', upgraded_on, 'paid_by', paid_by, 'contract_id', contract_id)
            ORDER BY upgraded_on, created_at, id)
        FROM licence_upgrades WHERE licence_id = licences.id AND reversed_at IS NULL), '[]')""",
    JSON,
).label("upgrades")
SENT = ("kind", "product", "version", "purchased_on")
"""The columns that a PUT or a file gives, and that a transfer takes along. `licences.sent` has
their values as they were sent last (R40)."""
_SERIAL = "serial_number"


def as_sent(row: str) -> str:
    """SQL: the values that a row has in the columns `SENT`, as `licences.sent` keeps them; nulls
    are left out."""
    members = ", ".join(f"'{name}', {row}.{name}" for name in SENT)
    return f"jsonb_strip_nulls(jsonb_build_object({members}))"


STORED_AS_SENT = f"""SELECT * FROM (
    SELECT * FROM (
        (SELECT 1 AS place, s.* FROM licences s WHERE lower(s.serial_number COLLATE "C") = r.key
            ORDER BY coalesce(s.held_from, s.purchased_on) DESC, s.id DESC LIMIT 1)
        UNION ALL
        (SELECT 2, s.* FROM licences s
            WHERE s.customer_id = c.id AND lower(s.sent->>'serial_number') = r.key
            ORDER BY s.id DESC LIMIT 1)) s
    WHERE s.customer_id = c.id OR NOT coalesce(
        s.withdrawn_on <= :today AND s.withdrawn_on <= r.purchased_on, false)
    ORDER BY place LIMIT 1) s
WHERE s.customer_id <> c.id
    OR ({" AND ".join(f"s.{name} IS NOT DISTINCT FROM r.{name}" for name in SENT)})
    OR coalesce(s.sent - 'serial_number' = {as_sent("r")}, false)
    OR NOT coalesce(s.withdrawn_on <= :today AND s.withdrawn_on <= r.purchased_on, false)"""
"""SQL: the licence that a customer `c` means by what it sends; no row if it is a new licence.

`r` is what was sent: the columns `SENT`, and the serial number in lower case as `key`. Look first
for the latest holder of that serial number (R44), then for the customer's newest licence that was
sent under it before staff corrected the number (R40). A licence that was withdrawn on or before the
day of purchase does not count, because it is registered anew, unless what was sent equals what is
stored or was sent last.
"""
_MEANT = text(f"""
    SELECT s.id, s.customer_id, s.sent FROM (
        SELECT lower(:serial_number) AS key,
            {", ".join(f"CAST(:{name} AS {licences.c[name].type}) AS {name}" for name in SENT)}) r,
        (SELECT CAST(:owner AS uuid) AS id) c, LATERAL ({STORED_AS_SENT}) s""").columns(
    licences.c.id, licences.c.customer_id, licences.c.sent
)


class History(NamedTuple):
    """Everybody who held a serial number, oldest first, and the events of these licences."""

    serial_number: str
    held: Sequence[Row[Any]]
    steps: Sequence[Row[Any]]


_COLUMNS = [column for column in licences.c if column.name not in {"sent", "created_at"}]


def _whole(work: UnitOfWork) -> Select[Any]:
    """Every licence in sight, with its upgrades that are not reversed, oldest first."""
    return visible(work.caller, licences).with_only_columns(*_COLUMNS, _UPGRADES)


async def read(work: UnitOfWork, key: str | UUID) -> Row[Any]:
    """One licence with its upgrades. Raises NotFound."""
    return await find(work, licences, key, _whole(work))


def search(
    work: UnitOfWork,
    customer: str | None,
    kind: LicenceKind | None,
    serial_number: str | None,
) -> Listing:
    """Licences as `read` gives them, in the order in which they were registered.

    `customer`: the id or code of one.
    """
    where = [within(work.caller, licences)]
    if customer is not None:
        where.append(of_customer(licences, customer))
    if kind is not None:
        where.append(exactly(licences.c.kind, kind))
    if serial_number is not None:
        where.append(called(licences, serial_number))
    return Listing(
        "licences",
        _whole(work),
        (licences.c.id,),
        where=tuple(where),
        fixed=() if kind is None else (licences.c.kind,),
        long_columns=("upgrades",),
    )


async def register(
    work: UnitOfWork,
    *,
    customer_id: str,
    serial_number: str,
    purchased_on: date,
    **fields: Any,
) -> Row[Any]:
    """Register a licence of the customer with an id or code; `fields` are its kind, product and
    version.

    Raises CustomerNotFound, InvalidInput; the database refuses a serial number that somebody holds
    on that day or later (R44).
    """
    owner = await _lock_buyer(work, customer_id, purchased_on)
    return await _insert(work, owner, serial_number, {**fields, "purchased_on": purchased_on})


async def put(
    work: UnitOfWork,
    serial_number: str,
    precondition: Callable[[Row[Any] | None], None],
    *,
    customer_id: str,
    purchased_on: date,
    reason: str | None,
    **fields: Any,
) -> tuple[Row[Any], bool]:
    """Register a licence, or correct what is known of it: the licence, and whether it is new.

    What was sent last, sent again, changes nothing, whatever staff have corrected since. Another
    day of purchase or kind is a correction, for `reason` or "sent again" (R40).
    `precondition` takes the stored licence, or None. Raises as `register` and `precondition` do,
    AlreadyExists while another customer holds the serial number, WrongState for a withdrawn licence
    unless it is registered anew, from the day of the withdrawal on (R44),
    CorrectionConflicts if a contract paid for an upgrade of a licence whose kind changes.
    """
    await _lock_chain(work, called(licences, serial_number), await _known(work, customer_id))
    owner = await _lock_buyer(work, customer_id, purchased_on)
    wanted = {**fields, "purchased_on": purchased_on}
    sent = {"serial_number": serial_number, "owner": owner, "today": work.today, **wanted}
    known = (await work.connection.execute(_MEANT, sent)).one_or_none()
    if known is None:
        precondition(None)
        return await _insert(work, owner, serial_number, wanted), True
    if known.customer_id != owner:
        raise AlreadyExists("serial_number")
    before = await read(work, known.id)
    precondition(before)
    changed = {name: value for name, value in wanted.items() if getattr(before, name) != value}
    kept = {name: value for name, value in (known.sent or {}).items() if name == _SERIAL}
    if _texts(wanted) | kept == known.sent:
        return before, False
    if not changed:
        await _update(work, before, {"sent": _texts(wanted) | kept})
        return before, False
    if _withdrawn(before, work.today):
        raise WrongState("withdrawn", "in_force")
    await _update(work, before, {"sent": _texts(wanted) | kept})
    if changed.keys() & {"kind", "purchased_on"}:
        return await _correct(work, before, changed, reason or "sent again"), False
    return await _change(work, before, wanted), False


async def change(
    work: UnitOfWork,
    key: str,
    precondition: Callable[[Row[Any]], None],
    changes: Mapping[str, Any],
) -> Row[Any]:
    """Change a licence's product or version. Raises NotFound, and as `precondition` does."""
    before = await find_locked(work, licences, key, _whole(work))
    precondition(before)
    return await _change(work, before, changes)


async def withdraw(work: UnitOfWork, key: str, *, withdrawn_on: date, reason: str) -> Row[Any]:
    """Withdraw a licence from a day on. Raises NotFound, WrongState, InvalidInput.

    As of the day of its purchase it never was, and neither were its service years (R14).
    """
    licence = await find_locked(work, licences, key, _whole(work))
    if licence.withdrawn_on is not None:
        raise WrongState(_ended(licence), "withdrawn")
    if withdrawn_on < _got_on(licence):
        raise invalid("/withdrawn_on", "wrong_order")
    withdrawal = {"withdrawn_on": withdrawn_on, "withdrawal_reason": reason}
    undone = await _update_and_follow(work, licence, withdrawal)
    data: LicenceWithdrawn = {
        "serial_number": licence.serial_number,
        "withdrawn_on": withdrawn_on.isoformat(),
        "reason": reason,
    }
    if undone:
        data["undone"] = [
            {
                "case_id": str(one.case_id),
                "year": one.year.isoformat(),
                "paid_by": one.paid_by,
                "allowance_id": None if one.allowance_id is None else str(one.allowance_id),
                "bound": one.bound,
                "first": one.first,
                "last_entry": one.last,
            }
            for one in undone
        ]
    await _record(work, EventType.LICENCE_WITHDRAWN, licence, data)
    return await read(work, licence.id)


async def lock(work: UnitOfWork, key: str) -> list[UUID]:
    """Lock the holders of a licence, for a correction that is tried out: its customer, then others.

    Raises NotFound.
    """
    found = await find(work, licences, key, _whole(work))
    holders = await _lock_chain(work, licences.c.id == found.id)
    return sorted(holders, key=lambda one: one != found.customer_id)


async def correct(work: UnitOfWork, key: str, *, reason: str, **given: Any) -> Row[Any]:
    """Correct a licence as if it had been right from the start (R40).

    `given` are its day of purchase, kind, serial number and product, as far as they are corrected.
    Values that are stored already change nothing. Raises NotFound, InvalidInput, WrongState for a
    withdrawn licence, CorrectionConflicts if a contract paid for an upgrade of a licence whose kind
    changes; the database refuses a serial number that is taken.
    """
    before = await find(work, licences, key, _whole(work))
    await _lock_chain(work, licences.c.id == before.id)
    before = await read(work, before.id)
    changed = {
        name: value
        for name, value in given.items()
        if value is not None and getattr(before, name) != value
    }
    if not changed:
        return before
    if _withdrawn(before, work.today):
        raise WrongState(_ended(before), "corrected")
    if changed.get("purchased_on", work.today) > work.today:
        raise invalid("/purchased_on", "in_future")
    if _SERIAL in changed:
        await _remember_sent(work, before)
    return await _correct(work, before, changed, reason)


async def _remember_sent(work: UnitOfWork, licence: Row[Any]) -> None:
    """Keep the serial number by which the CRM goes on sending the licence (R40)."""
    query = select(licences.c.sent).where(licences.c.id == licence.id)
    sent = await work.connection.scalar(query)
    if sent is None:
        sent = _texts({name: getattr(licence, name) for name in SENT})
    await _update(work, licence, {"sent": {_SERIAL: licence.serial_number} | sent})


async def reinstate(work: UnitOfWork, key: str, *, reason: str) -> Row[Any]:
    """Take back a withdrawal, before or after its day (R46).

    Service years that it had undone get their cases again (R14). Raises NotFound, WrongState, and
    CorrectionConflicts if the serial number has been registered anew.
    """
    licence = await find_locked(work, licences, key, _whole(work))
    if licence.withdrawn_on is None or licence.passed_on:
        raise WrongState(_ended(licence), "reinstated")
    got_on = func.coalesce(licences.c.held_from, licences.c.purchased_on)
    others = select(licences.c.serial_number, got_on.label("got_on")).where(
        called(licences, licence.serial_number),
        licences.c.id != licence.id,
        got_on >= licence.withdrawn_on,
        or_(licences.c.withdrawn_on.is_(None), licences.c.withdrawn_on > got_on),
    )
    if found := (await work.connection.execute(others)).all():
        raise CorrectionConflicts(
            [{"kind": "licence", "name": one.serial_number, "on": one.got_on} for one in found]
        )
    undone = await _undone(work, licence)
    await _update_and_follow(work, licence, {"withdrawn_on": None, "withdrawal_reason": None})
    await restore_cases(_ledger(work, licence), work.caller.actor, undone)
    data: LicenceCorrected = {
        "serial_number": licence.serial_number,
        "reason": reason,
        "before": {"withdrawn_on": licence.withdrawn_on.isoformat()},
        "after": {"withdrawn_on": None},
    }
    await _record(work, EventType.LICENCE_REINSTATED, licence, data)
    return await read(work, licence.id)


async def transfer(
    work: UnitOfWork, key: str, *, to_customer_id: str, on: date, reason: str
) -> Row[Any]:
    """Pass a licence on to another customer, who holds it from a day on (R44).

    Returns the new holder's licence. Raises NotFound, CustomerNotFound, InvalidInput, WrongState,
    AlreadyExists for the customer who holds it.
    """
    licence, holder = await _lock_both(work, key, to_customer_id)
    if licence.withdrawn_on is not None:
        raise WrongState(_ended(licence), "transferred")
    if holder == licence.customer_id:
        raise AlreadyExists("serial_number")
    if on > work.today:
        raise invalid("/on", "in_future")
    if on <= max((_got_on(licence), *_upgrade_dates(licence))):
        raise invalid("/on", "wrong_order")
    ending = {"withdrawn_on": on, "withdrawal_reason": reason, "passed_on": True}
    await _update_and_follow(work, licence, ending)
    passed = {
        **{name: getattr(licence, name) for name in (_SERIAL, *SENT)},
        "id": new_id(),
        "customer_id": holder,
        "held_from": on,
        "origin_id": licence.origin_id or licence.id,
        "created_at": work.now,
    }
    await work.connection.execute(insert(licences), passed)
    got = await read(work, passed["id"])
    # Time worked since on a case of a year that came back may be covered by it (R14, R22).
    await _ledger(work, got).settle()
    for row, field in ((licence, "held_until"), (got, "held_from")):
        data: LicenceTransferred = {
            "serial_number": licence.serial_number,
            "reason": reason,
            "transferred_on": on.isoformat(),
            "before": {field: None},
            "after": {field: on.isoformat()},
        }
        await _record(work, EventType.LICENCE_TRANSFERRED, row, data)
    return got


async def lock_both(work: UnitOfWork, key: str, to_customer_id: str) -> list[UUID]:
    """Lock both customers of a transfer that is tried out. Raises NotFound, CustomerNotFound."""
    licence, holder = await _lock_both(work, key, to_customer_id)
    return list(dict.fromkeys((licence.customer_id, holder)))


async def _lock_both(work: UnitOfWork, key: str, to: str) -> tuple[Row[Any], UUID]:
    """The licence and the customer who gets it, both customers locked in the order of their ids."""
    licence = await find(work, licences, key, _whole(work))
    holder = await _known(work, to)
    if holder is None:
        raise CustomerNotFound
    await lock_customers(work, licence.customer_id, holder)
    return await read(work, licence.id), holder


async def _known(work: UnitOfWork, key: str) -> UUID | None:
    """The customer with an id or code, not locked."""
    query = select(customers.c.id).where(called(customers, key), within(work.caller, customers))
    found: UUID | None = await work.connection.scalar(query)
    return found


async def _lock_chain(
    work: UnitOfWork, which: ColumnElement[bool], *more: UUID | None
) -> list[UUID]:
    """Lock the customers who hold or held these licences, and `more`, in the order of their ids.

    The holders are read before they are locked, and again after it: if a transfer came in between,
    the new holder is locked too. A transfer takes the present holder's lock, so none follows then.
    """
    origins = select(func.coalesce(licences.c.origin_id, licences.c.id)).where(which)
    chain = or_(licences.c.id.in_(origins), licences.c.origin_id.in_(origins))
    query = select(licences.c.customer_id).where(chain).distinct()
    while True:
        found = set((await work.connection.execute(query)).scalars())
        wanted = sorted(found | {one for one in more if one is not None})
        if not found - {more[0] if more else None}:
            return wanted  # at most the caller's own customer, which the caller locks itself
        await lock_customers(work, *wanted)
        if set((await work.connection.execute(query)).scalars()) <= found:
            return wanted


async def history(work: UnitOfWork, key: str) -> History:
    """Who held a serial number, and what was recorded of it, as far as the caller sees it (R44).

    Raises NotFound.
    """
    licence = await find(work, licences, key, _whole(work))
    rows = _whole(work).where(called(licences, licence.serial_number))
    got_on = func.coalesce(licences.c.held_from, licences.c.purchased_on)
    held = (await work.connection.execute(rows.order_by(got_on, licences.c.id))).all()
    # The licences are in sight, and so is all that was recorded of them.
    holders = {id_ for row in held for id_ in await records(work, row.customer_id)}
    steps = (
        select(events)
        .where(
            events.c.customer_id.in_(holders),
            events.c.subject_id.in_([row.id for row in held]),
            events.c.type.like("licence.%"),
        )
        .order_by(events.c.id)
    )
    return History(licence.serial_number, held, (await work.connection.execute(steps)).all())


async def _undone(work: UnitOfWork, licence: Row[Any]) -> list[Undone]:
    """The cases whose service year a withdrawal has undone, as the event of that says."""
    data = await latest_data(
        work.connection,
        await records(work, licence.customer_id),
        licence.id,
        EventType.LICENCE_WITHDRAWN,
    )
    return [
        Undone(
            UUID(one["case_id"]),
            date.fromisoformat(one["year"]),
            one["paid_by"],
            one["allowance_id"] and UUID(one["allowance_id"]),
            one["bound"],
            one["first"],
            one.get("last_entry", 0),
        )
        for one in data.get("undone", ())
    ]


async def reverse_upgrade(work: UnitOfWork, key: str, upgrade_id: UUID, *, reason: str) -> Row[Any]:
    """Take back an upgrade that never was (R40). Raises NotFound, WrongState, AlreadyReversed.

    The years that it began are undone. The licence has the version of the upgrade before, or that
    with which it was sent.
    """
    licence = await find_locked(work, licences, key, _whole(work))
    query = select(licence_upgrades).where(
        licence_upgrades.c.id == upgrade_id, licence_upgrades.c.licence_id == licence.id
    )
    found = (await work.connection.execute(query)).one_or_none()
    if found is None:
        raise NotFound
    if licence.passed_on:
        raise WrongState(_ended(licence), "corrected")
    if found.reversed_at is not None:
        raise AlreadyReversed
    was = (await facts.load(work.connection, licence.customer_id)).facts().licences
    await work.connection.execute(
        update(licence_upgrades)
        .where(licence_upgrades.c.id == upgrade_id)
        .values(reversed_at=work.now, reversal_reason=reason)
    )
    version = await _version_without(work, licence, found)
    if version != licence.version:
        await _update(work, licence, {"version": version})
    await follow_licences(_ledger(work, licence), work.caller.actor, was, [licence.id])
    data: UpgradeReversed = {
        "serial_number": licence.serial_number,
        "upgrade_id": str(upgrade_id),
        "reason": reason,
        "before": {"upgraded_on": found.upgraded_on.isoformat(), "version": licence.version},
        "after": {"upgraded_on": None, "version": version},
    }
    await _record(work, EventType.LICENCE_UPGRADE_REVERSED, licence, data)
    return await read(work, licence.id)


async def _version_without(work: UnitOfWork, licence: Row[Any], upgrade: Row[Any]) -> str:
    others = [one for one in licence.upgrades if one["id"] != str(upgrade.id)]
    if licence.version != upgrade.version or any(
        date.fromisoformat(one["upgraded_on"]) > upgrade.upgraded_on for one in others
    ):
        return str(licence.version)
    if others:
        return str(others[-1]["version"])
    sent = await work.connection.scalar(select(licences.c.sent).where(licences.c.id == licence.id))
    return str((sent or {}).get("version", licence.version))


async def upgrade(
    work: UnitOfWork,
    key: str,
    *,
    version: str,
    upgraded_on: date | None,
    paid_by: Literal["purchase", "contract"],
) -> Row[Any]:
    """Record an upgrade, by default today's (R25).

    Raises NotFound, InvalidInput, WrongState; AlreadyExists if the version is recorded on that day,
    NotEntitled if no contract pays for it.
    """
    licence = await find_locked(work, licences, key, _whole(work))
    on = upgraded_on or work.today
    if on > work.today:
        raise invalid("/upgraded_on", "in_future")
    if on < _got_on(licence):
        raise invalid("/upgraded_on", "wrong_order")
    if _withdrawn(licence, work.today):
        raise WrongState(_ended(licence), "in_force")
    # The customer's lock makes this sure. There is no unique index: rows of 0.2 and before may
    # repeat each other, and are history.
    if any(
        (one["version"], one["upgraded_on"]) == (version, on.isoformat())
        for one in licence.upgrades
    ):
        raise AlreadyExists("version")
    contract_id = await _paying_contract(work, licence, on) if paid_by == "contract" else None
    await work.connection.execute(
        insert(licence_upgrades),
        {
            "id": new_id(),
            "customer_id": licence.customer_id,
            "licence_id": licence.id,
            "version": version,
            "upgraded_on": on,
            "paid_by": paid_by,
            "contract_id": contract_id,
            "created_at": work.now,
        },
    )
    # An upgrade that is recorded late must not bring back an older version.
    if all(earlier <= on for earlier in _upgrade_dates(licence)):
        await _update(work, licence, {"version": version})
    data: LicenceUpgraded = {
        "serial_number": licence.serial_number,
        "version": version,
        "upgraded_on": on.isoformat(),
        "paid_by": paid_by,
        "contract_id": None if contract_id is None else str(contract_id),
    }
    await _record(work, EventType.LICENCE_UPGRADED, licence, data)
    return await read(work, licence.id)


async def _lock_buyer(work: UnitOfWork, customer_id: str, purchased_on: date) -> UUID:
    owner = await lock_customer(work, customer_id)
    if purchased_on > work.today:
        raise invalid("/purchased_on", "in_future")
    return owner


async def _insert(
    work: UnitOfWork, customer_id: UUID, serial_number: str, fields: Mapping[str, Any]
) -> Row[Any]:
    id_ = new_id()
    own = {"id": id_, "customer_id": customer_id, "serial_number": serial_number}
    values = {**own, **fields, "sent": _texts(fields), "created_at": work.now}
    await work.connection.execute(insert(licences), values)
    licence = await read(work, id_)
    data: LicenceRegistered = {"serial_number": serial_number, "after": _texts(fields)}
    await _record(work, EventType.LICENCE_REGISTERED, licence, data)
    return licence


async def _change(work: UnitOfWork, before: Row[Any], wanted: Mapping[str, Any]) -> Row[Any]:
    """Write the fields that differ, with an event; write nothing if none does."""
    changed = {name: value for name, value in wanted.items() if getattr(before, name) != value}
    if not changed:
        return before
    await _update(work, before, changed)
    data: LicenceRegistered = {
        "serial_number": before.serial_number,
        "before": _texts({name: getattr(before, name) for name in changed}),
        "after": _texts(changed),
    }
    await _record(work, EventType.LICENCE_REGISTERED, before, data)
    return await read(work, before.id)


async def _correct(
    work: UnitOfWork, before: Row[Any], changed: Mapping[str, Any], reason: str
) -> Row[Any]:
    """Correct a licence as if it had been right from the start, whoever held it (R40).

    The caller has locked everybody who held it.
    """
    origin = before.origin_id or before.id
    chain = _whole(work).where(or_(licences.c.id == origin, licences.c.origin_id == origin))
    rows = (await work.connection.execute(chain.order_by(licences.c.id))).all()
    if "kind" in changed:
        _check_kind(rows)
    if "purchased_on" in changed:
        for row in rows:
            _check_order(row, changed["purchased_on"])
    # A customer who held it twice has two rows; the facts take them as one licence with the id of
    # the later row.
    for row in {row.customer_id: row for row in rows}.values():
        was = (await facts.load(work.connection, row.customer_id)).facts().licences
        for own in rows:
            if own.customer_id == row.customer_id:
                await _update(work, own, changed)
        await follow_licences(_ledger(work, row), work.caller.actor, was, [row.id])
        data: LicenceCorrected = {
            "serial_number": before.serial_number,
            "reason": reason,
            "before": _texts({name: getattr(before, name) for name in changed}),
            "after": _texts(changed),
        }
        await _record(work, EventType.LICENCE_CORRECTED, row, data)
    return await read(work, before.id)


def _check_kind(rows: Iterable[Row[Any]]) -> None:
    """Raises CorrectionConflicts: a contract pays for upgrades of an Editor alone (R25)."""
    free = [
        {"kind": "upgrade", "name": one["version"], "on": one["upgraded_on"]}
        for row in rows
        for one in row.upgrades
        if one["paid_by"] == "contract"
    ]
    if free:
        raise CorrectionConflicts(free)


async def _update_and_follow(
    work: UnitOfWork, licence: Row[Any], values: Mapping[str, Any]
) -> list[Undone]:
    """Change a licence, and let its service years and their cases follow.

    Returns the cases whose year was undone.
    """
    was = (await facts.load(work.connection, licence.customer_id)).facts().licences
    await _update(work, licence, values)
    ledger = _ledger(work, licence)
    return await follow_licences(ledger, work.caller.actor, was, [licence.id])


def _ledger(work: UnitOfWork, licence: Row[Any]) -> Ledger:
    return Ledger(work.connection, work.policies, licence.customer_id, work.now)


async def _update(work: UnitOfWork, licence: Row[Any], values: Mapping[str, Any]) -> None:
    await work.connection.execute(
        update(licences).where(licences.c.id == licence.id).values(values)
    )


async def _record(
    work: UnitOfWork, event_type: EventType, licence: Row[Any], data: EventData
) -> None:
    await work.record(event_type, data, customer_id=licence.customer_id, subject_id=licence.id)


def _texts(fields: Mapping[str, Any]) -> dict[str, str]:
    # The only field that is not text is the date of purchase. As in `as_sent`, nulls are left out.
    return {name: str(value) for name, value in fields.items() if value is not None}


def _check_order(licence: Row[Any], purchased_on: date) -> None:
    """Raises InvalidInput for a purchase after an upgrade or the withdrawal."""
    later = [licence.withdrawn_on] if licence.withdrawn_on is not None else []
    passed = licence.passed_on and licence.withdrawn_on <= purchased_on
    if passed or any(day < purchased_on for day in (*_upgrade_dates(licence), *later)):
        raise invalid("/purchased_on", "wrong_order")


def _got_on(licence: Row[Any]) -> date:
    """The first day on which its customer holds it: of the purchase, or of the transfer."""
    day: date = licence.held_from or licence.purchased_on
    return day


def _ended(licence: Row[Any]) -> str:
    """The state of a licence, for a refusal."""
    if licence.withdrawn_on is None:
        return "in_force"
    return "transferred" if licence.passed_on else "withdrawn"


def _withdrawn(licence: Row[Any], on: date) -> bool:
    return licence.withdrawn_on is not None and licence.withdrawn_on <= on


def _upgrade_dates(licence: Row[Any]) -> list[date]:
    return [date.fromisoformat(upgrade["upgraded_on"]) for upgrade in licence.upgrades]


async def _paying_contract(work: UnitOfWork, licence: Row[Any], on: date) -> UUID:
    """The contract that pays for an upgrade on a date (R25, in R18's order). Raises NotEntitled."""
    known = (await facts.load(work.connection, licence.customer_id)).facts()
    decision = decide(work.policies, known, on)
    standing = decision.standing
    (upgrades,) = (one for one in decision.answer.services if one.service == "editor_upgrades")
    granted = any(grant.column == "SA" for grant in upgrades.granted_by)
    if licence.kind != "editor" or not granted:
        raise NotEntitled(upgrades, standing.policy)
    return UUID(standing.contracts[0].id)
