"""Doing it wrong and putting it right gives what doing it right at once gives (R40, R43-R47).

Each mistake is made and put right at a random point of a random history, which then goes on; beside
it the same history is played without the mistake. Where a step that puts it right is refused,
nothing has changed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from .answers import Answer
from .generate import SPANS, generate
from .player import Player, Step
from .policy import civil_date

HISTORIES = 60
IDLE: Step = ("rev", "", ("nothing",), {})  # a step that comes to nothing but takes its second
EXTRA = "extra"  # what the mistake made, where doing it right makes nothing


@dataclass(frozen=True)
class Twins:
    """What is done wrong and put right, and what is done right at once."""

    wrong: list[Step]
    right: list[Step]


def _licence_of(player: Player, random: Random) -> str | None:
    held = [label for label, each in player.licences.items() if each.last.end is None]
    return random.choice(held) if held else None


def _past(random: Random) -> int:
    return random.choice((0, 0, -1, -10, -100, -364, -365, -366, -500))


def withdrawn(random: Random, player: Player) -> Twins | None:
    label = _licence_of(player, random)
    if label is None:
        return None
    licence = player.licences[label]
    days = [licence.last.start, player.today, *(each.day for each in licence.upgrades())]
    off = (random.choice(days) - player.today).days + random.choice((0, 0, 0, 1, 30))
    return Twins([("wd", "", [label], {"off": off}), ("rwd", "", [label], {})], [IDLE, IDLE])


def upgraded(random: Random, player: Player) -> Twins | None:
    label = _licence_of(player, random)
    if label is None:
        return None
    body = {"off": _past(random), "paid_by": random.choice(("purchase", "contract"))}
    return Twins([("up", EXTRA, [label], body), ("rup", "", [EXTRA], {})], [IDLE, IDLE])


def cancelled(random: Random, player: Player) -> Twins | None:
    if not player.contracts:
        return None
    label = random.choice(list(player.contracts))
    end = {"rel": random.choice(("start", "today")), "off": random.choice((0, 0, 1, 40))}
    return Twins([("ccon", "", [label], end), ("rcon", "", [label], {})], [IDLE, IDLE])


def signed(random: Random, player: Player) -> Twins:
    who = random.choice((0, 1))
    wrong, right = (
        {"off": _past(random), "included": random.choice((10, 60, 300)), "who": who, "take": False}
        for _ in range(2)
    )
    fix = {"off": right["off"], "included": right["included"]}
    return Twins(
        [("con", EXTRA, [], wrong), ("xcon", "", [EXTRA], fix)],
        [("con", EXTRA, [], right), IDLE],
    )


def packed(random: Random, player: Player) -> Twins:
    who, quantity = random.choice((0, 1)), random.choice((1, 2))
    wrong, right = ({"off": _past(random), "quantity": quantity, "who": who} for _ in range(2))
    return Twins(
        [("pack", EXTRA, [], wrong), ("xpack", "", [EXTRA], {"off": right["off"]})],
        [("pack", EXTRA, [], right), IDLE],
    )


def too_many(random: Random, player: Player) -> Twins:
    body = {"off": _past(random), "who": random.choice((0, 1))}
    more = random.choice((1, 2))
    return Twins(
        [
            ("pack", EXTRA, [], {**body, "quantity": 1 + more}),
            ("ctk", "", [EXTRA], {"off": body["off"], "quantity": more}),
        ],
        [("pack", EXTRA, [], {**body, "quantity": 1}), IDLE],
    )


def bought(random: Random, player: Player) -> Twins | None:
    kinds, who = ("editor", "editor", "runtime"), random.choice((0, 1))
    wrong, right = ((random.choice(kinds), _past(random)) for _ in range(2))
    licences = player.customers[who].licences
    days = {(day.month, day.day) for each in licences for day in each.purchases()}
    wrong_day = player.day(wrong[1])
    if (wrong_day.month, wrong_day.day) in days:
        return None  # R40: years that are one move together
    done, fix = ({"what": what, "off": off, "who": who} for what, off in (wrong, right))
    return Twins(
        [("lic", EXTRA, [], done), ("xlic", "", [EXTRA], fix)],
        [("lic", EXTRA, [], fix), IDLE],
    )


def doubled(random: Random, player: Player) -> Twins | None:
    """Bought under a second record, which has nothing else."""
    if any((c.licences, c.packs, c.cases) != ([], [], []) for c in player.customers[1:]):
        return None
    step, body = random.choice(
        (
            ("lic", {"what": random.choice(("editor", "runtime")), "off": _past(random)}),
            ("pack", {"quantity": 2, "off": _past(random)}),
        )
    )
    return Twins(
        [(step, EXTRA, [], {**body, "who": 1}), ("mg", "", [], {"who": random.choice((0, 1))})],
        [(step, EXTRA, [], {**body, "who": 0}), IDLE],
    )


def _case(random: Random, who: int, ago: int = 0) -> dict[str, Any]:
    return {
        "channel": random.choice(("email", "phone")),
        "category": random.choice(("problem", "problem", "bug")),
        "pay_with": "auto",
        "serial": "own",
        "who": who,
        "ago": ago,
    }


def _work(random: Random) -> list[Step]:
    """What happens to a case while it is with the wrong customer, or with the right one."""
    kinds = random.choices(("time", "time", "take", "wait", "close", "reopen", "adv"), k=4)
    return [
        (kind, f"{EXTRA}{n}", ["K"], {"minutes": random.choice(SPANS), "when": "now"})
        if kind != "adv"
        else (kind, "", (), {"hours": random.choice((1, 24, 24 * 20))})
        for n, kind in enumerate(kinds)
    ]


def _on(steps: list[Step], case: str) -> list[Step]:
    return [(k, label, [case] if refs else refs, a) for k, label, refs, a in steps]


def of_the_wrong_customer(random: Random, player: Player) -> Twins:
    who, work = random.choice((0, 1)), _work(random)
    body = _case(random, 1 - who)
    move: Step = ("mv", EXTRA, ["wrong"], {"as_overrun": False, "serial": "own"})
    return Twins(
        [("case", "wrong", [], body), *_on(work, "wrong"), move],
        [("case", EXTRA, [], {**body, "who": who}), *_on(work, EXTRA), IDLE],
    )


def opened_late(random: Random, player: Player) -> Twins:
    hours = random.choice((1, 24, 24 * 30, 24 * 366))
    body = _case(random, random.choice((0, 1)))
    wait: Step = ("adv", "", (), {"hours": hours})
    return Twins(
        [wait, ("case", EXTRA, [], {**body, "ago": hours})],
        [("case", EXTRA, [], body), wait],
    )


Make = Callable[[Random, Player], Twins | None]
MISTAKES: dict[str, tuple[Make, int]] = {  # with in how many histories it is put right at least
    "a withdrawal": (withdrawn, 40),
    "an upgrade": (upgraded, 12),
    "a cancellation": (cancelled, 15),
    "a contract's day and minutes": (signed, 15),
    "a pack's day": (packed, 40),
    "too many tickets": (too_many, 40),
    "a licence's day and kind": (bought, 40),
    "the customer of a case": (of_the_wrong_customer, 20),
    "a second record": (doubled, 3),
    "the opening of a case": (opened_late, 25),
}


def _seen(player: Player) -> Iterator[Any]:
    """Answers and records, but for what the mistake leaves on record for ever."""
    moved = {label for label, each in player.cases.items() if each.moved}
    for who in (0, 1):
        if who and player.customers[0] is player.customers[1]:
            return
        yield _left(player.ask(who=who))
        state = player.state(who)
        state["licences"].sort(key=str)
        state["cases"] = {k: each for k, each in state["cases"].items() if k not in moved}
        state["entries"] = {k: each for k, each in state["entries"].items() if EXTRA not in k}
        for case in state["cases"].values():
            case.pop("serial")  # R47: one that the right customer does not have is kept
        for pack in state["packs"].values():
            pack.pop("cancelled")
            pack["tickets"] = [each for each in pack["tickets"] if each["state"] != "cancelled"]
        yield state


def _left(answer: Answer | None) -> Answer | None:
    """An answer without the tickets that were cancelled."""
    if answer is None:
        return None
    packs = tuple(
        replace(each, quantity=each.quantity - each.cancelled, cancelled=0)
        for each in answer.body.packs
    )
    return replace(answer, body=replace(answer.body, packs=packs))


def _compare(seed: int, make: Make) -> bool:
    """Whether the mistake could be made and put right."""
    history, random = generate(seed), Random(seed)
    cut = random.randrange(4, len(history.steps))
    wrong, right = Player(history.base), Player(history.base)
    for step in history.steps[:cut]:
        wrong.play(step)
        right.play(step)
    twins = make(random, wrong)
    if twins is None or civil_date(wrong.now + timedelta(minutes=1)) != wrong.today:
        return False  # days are counted from that of the step
    *done, put_right = twins.wrong
    made = [wrong.play(step) for step in done]
    if made[0].result != "done":
        return False
    ends = [each.now.ends for customer in wrong.customers for each in customer.tickets()]
    before = list(_seen(wrong))
    outcome = wrong.play(put_right)
    if outcome.result != "done":
        assert list(_seen(wrong)) == before
        return False
    if twins.wrong[-1][0] == "mv" and ends != [
        each.now.ends for customer in wrong.customers for each in customer.tickets()
    ]:
        return False  # R47: a ticket that had lapsed is the better for it
    for step in twins.right:
        right.play(step)
    one_record = wrong.customers[0] is wrong.customers[1]
    assert all(one == other for one, other in zip(_seen(wrong), _seen(right), strict=False)), seed
    for step in history.steps[cut:]:
        if one_record and (step[3].get("who") or step[0] in ("tr", "mv", "mg")):
            continue  # the two customers were merged
        one, other = wrong.play(step), right.play(step)
        assert one.codes == other.codes, (step, seed)
        assert _left(one.answer) == _left(other.answer), (step, seed)
    assert all(one == other for one, other in zip(_seen(wrong), _seen(right), strict=False)), seed
    return True


@pytest.mark.parametrize("mistake", MISTAKES)
def test_wrong_and_put_right_is_right_at_once(mistake: str) -> None:
    make, least = MISTAKES[mistake]
    assert sum(_compare(seed, make) for seed in range(HISTORIES)) >= least
