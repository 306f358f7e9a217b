"""Random customers for properties: facts as the store could find them."""

from datetime import date, timedelta
from typing import Literal

from hypothesis import strategies as st

from app.policy.civil import add_months
from app.policy.document import Channel, Policies, Policy, load
from app.policy.facts import (
    CasePaidBy,
    Contract,
    Facts,
    LengthenedTicket,
    Licence,
    OpenCase,
    Pack,
    ServiceYear,
)

ON = date(2026, 11, 23)
PUBLISHED = load()


def _second_version(first: Policy, **changes: object) -> Policy:
    terms = first.allowances.free_hours.model_copy(update=changes)
    return first.model_copy(
        update={
            "effective_from": date(2026, 3, 1),
            "allowances": first.allowances.model_copy(update={"free_hours": terms}),
        }
    )


ANY_ANCHORS = Policies(
    [
        PUBLISHED.versions[0].model_copy(
            update={
                "allowances": (
                    PUBLISHED.versions[0].allowances.model_copy(
                        update={
                            "free_hours": (
                                PUBLISHED.versions[0].allowances.free_hours.model_copy(
                                    update={"anchor": "any"}
                                )
                            )
                        }
                    )
                )
            }
        )
    ]
)
CHANGED = Policies(
    [
        PUBLISHED.versions[0],
        _second_version(PUBLISHED.versions[0], minutes=120, months=6, anchor="any"),
    ]
)
policies = st.sampled_from([PUBLISHED, ANY_ANCHORS, CHANGED])

# Near each other and near the edges of twelve months, so that boundaries meet.
days = st.one_of(
    st.integers(-800, 420).map(lambda n: ON + timedelta(days=n)),
    st.builds(
        lambda months, n: add_months(ON, months) + timedelta(days=n),
        st.integers(-25, 13),
        st.integers(-1, 1),
    ),
)


@st.composite
def licences(draw: st.DrawFn, index: int = 0) -> Licence:
    bought = draw(days)
    withdrawn = draw(st.none() | st.integers(0, 800).map(lambda n: bought + timedelta(days=n)))
    upgrades = draw(st.lists(st.integers(0, 700), max_size=2))
    return Licence(
        f"licence-{draw(st.uuids())}",
        f"S-{index}",
        draw(st.sampled_from(["editor", "editor", "runtime", "other"])),
        bought,
        withdrawn,
        tuple(sorted(bought + timedelta(days=n) for n in upgrades)),
    )


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    starts = draw(days)
    ends = add_months(starts, 12)
    length = (ends - starts).days
    cancelled = draw(
        st.none() | st.none() | st.integers(0, length).map(lambda n: starts + timedelta(days=n))
    )
    granted = draw(st.sampled_from([60, 1200]))
    used = draw(st.sampled_from([0, granted // 2, granted]))
    identity = str(draw(st.uuids()))
    return Contract(
        identity,
        f"SA-{identity[:8]}",
        starts,
        ends,
        cancelled,
        granted,
        used,
        draw(st.sampled_from([0, 30])) if used == granted else 0,
        draw(st.booleans()),
    )


_ticket_states: st.SearchStrategy[Literal["held", "consumed", "cancelled"] | None] = (
    st.sampled_from((None, "held", "consumed", "cancelled"))
)


@st.composite
def packs(draw: st.DrawFn) -> Pack:
    bought = draw(days)
    expires_on = add_months(bought, 12)
    states = draw(st.lists(_ticket_states, min_size=1, max_size=4))
    lengthened = [
        LengthenedTicket(position, expires_on + timedelta(days=more), state)
        for position, state in enumerate(states, 1)
        if (more := draw(st.sampled_from([0, 0, 0, 1, 30, 200])))
    ]
    identity = str(draw(st.uuids()))
    return Pack(
        identity,
        f"TP-{identity[:8]}",
        bought,
        expires_on,
        len(states),
        states.count("held"),
        states.count("consumed"),
        tuple(lengthened),
        states.count("cancelled"),
    )


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    owned = tuple(draw(st.lists(licences(), max_size=4)))
    bought = {d for lic in owned for d in (lic.purchased_on, *lic.paid_upgrades)} | {ON}
    anniversaries = {add_months(day, 12 * years) for day in bought for years in range(3)}
    years = {}
    for start in draw(st.lists(st.sampled_from(sorted(anniversaries)), max_size=3, unique=True)):
        terms = PUBLISHED.in_force(start).allowances.free_hours
        used = draw(st.sampled_from([0, 100, terms.minutes]))
        years[start] = ServiceYear(start, add_months(start, terms.months), terms.minutes, used)
    channels: st.SearchStrategy[Channel] = st.sampled_from(("email", "phone", "remote"))
    payers: st.SearchStrategy[CasePaidBy] = st.sampled_from(
        ("free_hours", "contract", "ticket", "none")
    )
    cases = draw(st.lists(st.tuples(channels, payers), max_size=2))
    return Facts(
        owned,
        tuple(draw(st.lists(contracts(), max_size=3))),
        tuple(draw(st.lists(packs(), max_size=3))),
        years,
        tuple(OpenCase(f"2026-{i:06}", c, p) for i, (c, p) in enumerate(cases)),
    )
