"""Every state × step × payer over HTTP, made from the tables in `app/policy/README.md`."""

from typing import Any, NamedTuple

import pytest
from sqlalchemy import func, select

from app.policy.cases import LEADS_TO
from app.store.tables import ledger
from tests.api.build import Customer
from tests.case_states import PAYERS, effects, leads
from tests.conftest import Service

# A contract of 100 minutes and 110 worked: 100 are charged, 10 are overrun.
INCLUDED, WORKED = 100, 110


class Stand(NamedTuple):
    ticket: str
    charged: int
    overrun: int


class Story:
    """One case on its way, and what pays for it."""

    def __init__(self, service: Service, customer: Customer, payer: str, step: str) -> None:
        self.service, self.customer, self.payer, self.step = service, customer, payer, step
        self.case: dict[str, Any] = {}
        self.contract: dict[str, Any] | None = None
        self.pack: dict[str, Any] | None = None
        self.entry: dict[str, Any] | None = None

    async def open(self) -> None:
        customer = self.customer
        if self.payer in ("hours", "bug"):
            await customer.licence(days=-800)
            self.contract = await customer.contract(included_minutes=INCLUDED)
        else:
            self.pack = await customer.pack()
        if self.payer == "none":
            # A held ticket lets staff open a bug (R23); proven none, nothing is left to pay (R22).
            await customer.open(channel="phone")
            self.case = await customer.open(channel="phone", category="bug")
            if self.step != "from_bug":
                self.case = await customer.patch(self.case, category="problem")
        elif self.payer == "bug":
            self.case = await customer.open(channel="phone", category="bug")
        else:
            self.case = await customer.open(channel="phone")
        if self.step not in ("work", "cancel"):
            self.entry = await customer.work(self.case, WORKED)

    async def reach(self, state: str) -> None:
        customer = self.customer
        if state in ("in_progress", "waiting_for_customer"):
            await customer.step(self.case, "transition", to="in_progress")
        if state == "waiting_for_customer":
            await customer.step(self.case, "transition", to="waiting_for_customer")
        if state == "closed":
            await customer.close(self.case)
        if state == "cancelled":
            if self.entry is not None:
                await customer.reverse(self.entry)
            await customer.cancel(self.case)
        if self.step == "from_bug" and state != "cancelled":
            await customer.patch(self.case, category="bug")

    async def take(self, step: str, *, refused: bool = False) -> dict[str, Any]:
        """The step; what it answers."""
        customer, case = self.customer, self.case
        status = 409 if refused else 200
        match step:
            case "take":
                return await customer.step(case, "transition", status, to="in_progress")
            case "wait":
                return await customer.step(case, "transition", status, to="waiting_for_customer")
            case "work":
                path, body = f"cases/{case['id']}/time-entries", {"technician": "Help desk"}
                return await customer.post(path, 409 if refused else 201, minutes=WORKED, **body)
            case "reverse":
                assert self.entry is not None
                return await customer.reverse(self.entry, status)
            case "to_bug":
                return await customer.patch(case, status, category="bug")
            case "from_bug":
                return await customer.patch(case, status, category="question")
            case "close":
                return await customer.close(case, status)
            case "reopen":
                return await customer.reopen(case, status)
            case "move":
                other = await Customer.new(customer.client, customer.today)
                to = {"customer_id": other.id, "reason": "Wrong customer."}
                return await customer.step(case, "move", status, **to, as_overrun=True)
            case _:
                return await customer.cancel(case, status)

    async def stand(self) -> Stand:
        """Ticket and minutes: as the case, its allowance and the ledger show them, all alike."""
        case = await self.customer.case(self.case["number"])
        minutes = (case["charged_minutes"], case["overrun_minutes"])
        async with self.service.database.reading.connect() as connection:
            sums = (func.sum(ledger.c.used_minutes), func.sum(ledger.c.overrun_minutes))
            moved = select(*(func.coalesce(s, 0) for s in sums))
            rows = await connection.execute(moved.where(ledger.c.case_id == case["id"]))
            assert tuple(rows.one()) == minutes
        if self.contract is not None:
            shown = next(
                one
                for one in (await self.customer.entitlements())["allowances"]
                if one["kind"] == "contract"
            )
            assert (shown["used_minutes"], shown["overrun_minutes"]) == minutes
        ticket = "–"
        if self.pack is not None and self.payer == "ticket":
            pack = await self.customer.get(f"ticket-packs/{self.pack['id']}")
            ticket = {"available": "free"}.get(pack["tickets"][0]["state"], "")
            ticket = ticket or pack["tickets"][0]["state"]
            assert (pack["tickets"][0]["case_number"] is None) == (ticket == "free")
            assert [pack["held"], pack["consumed"], pack["available"]] == [
                int(ticket == word) for word in ("held", "consumed", "free")
            ]
        return Stand(ticket, *minutes)


def expected(before: Stand, state: str, step: str, payer: str) -> Stand:
    effect = effects()[step, payer]
    # "held; of a closed case consumed"
    word = effect.ticket.split("; of a closed case ")[-1 if state == "closed" else 0]
    ticket = word if payer == "ticket" and word != "as before" else before.ticket
    charged = {"as before": before.charged, "nothing": 0, "as far as something is left": INCLUDED}
    overrun = {
        "as before": before.overrun,
        "nothing": 0,
        "the rest": WORKED - INCLUDED,
        "all": WORKED,
    }
    return Stand(ticket, charged[effect.charged], overrun[effect.overrun])


ALLOWED = [cell for cell, follows in leads().items() if follows is not None]
STATES = dict.fromkeys(state for _, state in leads())


@pytest.mark.parametrize("payer", PAYERS)
@pytest.mark.parametrize(("step", "state"), ALLOWED)
async def test_a_step_does_what_the_table_says(
    service: Service, customer: Customer, step: str, state: str, payer: str
) -> None:
    """R19, R22, R29, R30."""
    story = Story(service, customer, payer, step)
    await story.open()
    await story.reach(state)
    before = await story.stand()
    await story.take(step)
    after = await customer.case(story.case["number"])
    assert after["state"] == leads()[step, state]
    assert await story.stand() == expected(before, state, step, payer)


@pytest.mark.parametrize("payer", PAYERS)
@pytest.mark.parametrize("state", STATES)
async def test_a_refused_step_names_both_states_and_changes_nothing(
    service: Service, customer: Customer, state: str, payer: str
) -> None:
    """R29, R30."""
    story = Story(service, customer, payer, "")
    await story.open()
    await story.reach(state)
    before = await story.stand(), await customer.case(story.case["number"])
    wanted = {str(step): leads_to for step, leads_to in LEADS_TO.items()}
    for step in (step for (step, of), follows in leads().items() if of == state and not follows):
        answer = await story.take(step, refused=True)
        assert answer["code"] == "wrong_state", step
        assert (answer["state"], answer["wanted_state"]) == (state, wanted[step]), step
    assert (await story.stand(), await customer.case(story.case["number"])) == before


@pytest.mark.parametrize("payer", PAYERS)
async def test_a_case_with_standing_minutes_is_not_cancelled(
    service: Service, customer: Customer, payer: str
) -> None:
    """R29: until they are reversed."""
    story = Story(service, customer, payer, "cancel")
    await story.open()
    entry = await customer.work(story.case, 5)
    before = await story.stand()
    assert (await customer.cancel(story.case, 409))["code"] == "case_has_work"
    assert await story.stand() == before
    await customer.reverse(entry)
    assert (await customer.cancel(story.case))["state"] == "cancelled"
