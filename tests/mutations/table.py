"""The clauses, each with the code that keeps it and what that code would be without it.

`old` stands exactly once in its file; `test_table.py` sees to that, so that a table which no
longer fits the code is noticed at once and not when nobody looks.
"""

from typing import NamedTuple

_POLICY = (
    "tests/policy/test_scenarios.py",
    "tests/policy/test_case_states.py",
    "tests/policy/test_reasons.py",
)
_CASES = ("tests/api/cases", "tests/policy/test_allocate.py")
_CONTRACTS = ("tests/api/test_contracts.py", "tests/api/test_renewal.py", "tests/api/cases")
_LICENCES = ("tests/api/test_licences.py", "tests/api/cases")
_PACKS = ("tests/api/test_ticket_packs.py", "tests/api/cases")
_RACES = ("tests/races",)
_FORMS = ("tests/api/test_answers_agree.py",)
_STATES = ("tests/store/test_states.py", "tests/api/test_contracts.py")


class Mutation(NamedTuple):
    clause: str
    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


# Where the clause's own tests are: they are run first, and most mutations end there.
_OWN = {
    "R14": "service_years",
    "R16": "binding",
    "R17": "terms",
    "R18": "binding",
    "R19": "closing",
    "R20": "time",
    "R21": "time",
    "R22": "bugs",
    "R23": "bugs",
    "R26": "records",
    "R27": "opening",
    "R28": "opening",
    "R29": "closing",
    "R30": "time",
    "R31": "records",
    "R32": "closing",
    "R33": "records",
}


def _m(clause: str, what: str, file: str, old: str, new: str, tests: tuple[str, ...]) -> Mutation:
    if tests[-2:] == _CASES and clause in _OWN:
        tests = (f"tests/api/cases/test_{_OWN[clause]}.py", *tests)
    return Mutation(clause, what, f"app/{file}", old, new, tests)


_CLAUSES = (
    _m(
        "R11",
        "an open case is served on its own channel alone",
        "policy/decide.py",
        'channels = {case.channel} if kind == "none" else policy.covers[kind] | {case.channel}',
        "channels = {case.channel}",
        (*_POLICY, *_CASES),
    ),
    _m(
        "R14",
        "a purchase leaves the old service year open",
        "policy/allocate.py",
        "return restarted is None or restarted <= allowance.starts_on",
        "return True",
        _CASES,
    ),
    _m(
        "R14",
        "free hours without an Editor",
        "policy/standing.py",
        "_year_of_holder(policies, facts, on) if editor else None",
        "_year_of_holder(policies, facts, on)",
        (*_POLICY, *_CASES),
    ),
    _m(
        "R14",
        "only an Editor's purchase restarts the hours",
        "policy/standing.py",
        'if policies.in_force(on).allowances.free_hours.restart == "any":',
        'if policies.in_force(on).allowances.free_hours.restart == "editor":',
        (*_POLICY, *_CASES),
    ),
    _m(
        "R14",
        "free hours pay for the phone",
        "policy/allocate.py",
        'if year is not None and channel in covers["free_hours"]:',
        "if year is not None:",
        _CASES,
    ),
    _m(
        "R16",
        "a ticket's time counts as overrun",
        "policy/allocate.py",
        'if bound.kind == "ticket":\n        return Drawn((), 0)',
        'if bound.kind == "ticket":\n        return Drawn((), minutes)',
        _CASES,
    ),
    _m(
        "R17",
        "a service year's terms are the last policy's",
        "policy/standing.py",
        "terms = policies.in_force(starts_on).allowances.free_hours",
        "terms = policies.in_force(date.max).allowances.free_hours",
        (*_POLICY, *_CASES),
    ),
    _m(
        "R18",
        "what starts first pays first",
        "policy/standing.py",
        "return contract.closes_on, contract.starts_on, contract.id",
        "return contract.starts_on, contract.closes_on, contract.id",
        (*_POLICY, *_CASES),
    ),
    _m(
        "R18",
        "the pack that expires last pays first",
        "policy/standing.py",
        "return pack.expires_on, pack.purchased_on, pack.id",
        "return date.min + (date.max - pack.expires_on), pack.purchased_on, pack.id",
        (*_POLICY, *_CASES),
    ),
    _m(
        "R18",
        "the last ticket of a pack pays first",
        "store/ledger.py",
        "SELECT min(position) FROM generate_series(1, (",
        "SELECT max(position) FROM generate_series(1, (",
        _CASES,
    ),
    _m(
        "R18",
        "the kind that was asked for is ignored",
        "policy/allocate.py",
        "if grant.paid_by is None or pay_with not in (None, grant.paid_by):",
        "if grant.paid_by is None:",
        _CASES,
    ),
    _m(
        "R19",
        "nobody waits for the customer's lock",
        "store/lock.py",
        "    locked = locked.with_for_update(key_share=True)\n",
        "",
        _RACES,
    ),
    _m(
        "R20",
        "an allowance pays outside its period",
        "policy/allocate.py",
        "    if pays_on(policies, facts, own, day):\n        yield own",
        "    if True:\n        yield own",
        _CASES,
    ),
    _m(
        "R20",
        "a cancelled contract pays until its end",
        "policy/facts.py",
        "self.ends_on if self.cancelled_on is None else min(self.ends_on, self.cancelled_on)",
        "self.ends_on",
        (*_POLICY, *_CASES),
    ),
    _m(
        "R21",
        "what nothing covers is lost",
        "store/ledger.py",
        "        if drawn.overrun_minutes:\n",
        "        if False:\n",
        _CASES,
    ),
    _m(
        "R21",
        "no other contract is drawn on",
        "policy/allocate.py",
        'if channel in covers["contract"] and standing.holds_editor:',
        "if False:",
        _CASES,
    ),
    _m(
        "R21",
        "other contracts are drawn on without an Editor",
        "policy/allocate.py",
        'if channel in covers["contract"] and standing.holds_editor:',
        'if channel in covers["contract"]:',
        _CASES,
    ),
    _m(
        "R22",
        "minutes given back cover nothing",
        "store/ledger.py",
        "            moved += await self._cover(allowance_id, case_id)\n",
        "            pass\n",
        _CASES,
    ),
    _m(
        "R22",
        "the newest work is covered first",
        "store/ledger.py",
        "ORDER BY t.worked_at, l.id",
        "ORDER BY t.worked_at DESC, l.id DESC",
        _CASES,
    ),
    _m(
        "R22",
        "work outside the period is covered",
        "store/ledger.py",
        "if pays_on(self._policies, facts, source, row.worked_on)]",
        "if facts]",
        _CASES,
    ),
    _m(
        "R22",
        "who gave the minutes back is not said",
        "store/ledger.py",
        '"cause_case_id": cause,\n                }\n            )',
        '"cause_case_id": None,\n                }\n            )',
        _CASES,
    ),
    _m(
        "R24",
        "what is taken over is dated by the work",
        "store/ledger.py",
        '"counts_on": dated or row.worked_on,',
        '"counts_on": row.worked_on,',
        _CONTRACTS,
    ),
    _m(
        "R25",
        "an upgrade that a contract paid is a purchase",
        "store/facts.py",
        "WHERE u.licence_id = a.id AND u.paid_by = 'purchase'",
        "WHERE u.licence_id = a.id",
        _LICENCES,
    ),
    _m(
        "R29",
        "a waiting case is not taken up again",
        "policy/cases.py",
        '"take": {"open": "in_progress", "waiting_for_customer": "in_progress"},',
        '"take": {"open": "in_progress"},',
        (*_POLICY, *_CASES),
    ),
    _m(
        "R29",
        "a cancelled case is reopened",
        "policy/cases.py",
        '"reopen": {"closed": "in_progress"},',
        '"reopen": {"closed": "in_progress", "cancelled": "in_progress"},',
        (*_POLICY, *_CASES),
    ),
    _m(
        "R30",
        "time is taken on a closed case",
        "policy/cases.py",
        '"work": _STAYS,',
        '"work": _STAYS_CLOSED_TOO,',
        (*_POLICY, *_CASES),
    ),
    _m(
        "R30",
        "a closed case's time cannot be reversed",
        "policy/cases.py",
        '"reverse": _STAYS_CLOSED_TOO,',
        '"reverse": _STAYS,',
        (*_POLICY, *_CASES),
    ),
)

# Issue 2: at the end of any period, `<` become `<=`.
_ENDS = (
    (
        "licence's withdrawal",
        "policy/facts.py",
        "on < self.withdrawn_on",
        "on <= self.withdrawn_on",
    ),
    ("contract's end", "policy/facts.py", "<= on < self.ends_on", "<= on <= self.ends_on"),
    ("cancellation", "policy/facts.py", "on < self.cancelled_on)", "on <= self.cancelled_on)"),
    ("ticket's year", "policy/facts.py", "<= on < self.expires_on", "<= on <= self.expires_on"),
    ("service year", "policy/standing.py", "on < year.ends_on", "on <= year.ends_on"),
    ("DEV", "policy/standing.py", "and on < development_ends", "and on <= development_ends"),
    (
        "service year's charges",
        "policy/allocate.py",
        "<= day < allowance.ends_on",
        "<= day <= allowance.ends_on",
    ),
    (
        "contract that ended, in a reason",
        "policy/decide.py",
        "if c.starts_on < c.closes_on <= on]",
        "if c.starts_on < c.closes_on < on]",
    ),
)
_SQL_ENDS = (
    ("licence's withdrawal", "licences.c.withdrawn_on > day", "licences.c.withdrawn_on >= day"),
    ("cancellation", "contracts.c.cancelled_on <= day", "contracts.c.cancelled_on < day"),
    ("contract's end", "contracts.c.ends_on <= day", "contracts.c.ends_on < day"),
    ("ticket's year", "ticket_packs.c.expires_on > day", "ticket_packs.c.expires_on >= day"),
    (
        "ticket's year, as expired",
        "ticket_packs.c.expires_on <= _day(on)",
        "ticket_packs.c.expires_on < _day(on)",
    ),
)
_STARTS = (
    (
        "licence's purchase",
        "policy/facts.py",
        "self.purchased_on <= on and",
        "self.purchased_on < on and",
    ),
    ("contract's start", "policy/facts.py", "self.starts_on <= on <", "self.starts_on < on <"),
    (
        "ticket's purchase",
        "policy/facts.py",
        "self.purchased_on <= on <",
        "self.purchased_on < on <",
    ),
)
_OTHER_FORMS = (
    (
        "forecast leaves out a step",
        "routers/entitlements/forecasting.py",
        "(today, *changing_days(policies, facts, today))",
        "(today, *changing_days(policies, facts, today)[1:])",
    ),
    (
        "forecast knows of no service that changes",
        "routers/entitlements/forecasting.py",
        "(answer.policy, answer.columns, answer.services)",
        "(answer.policy, answer.columns)",
    ),
    (
        "simulated ticket is not spent",
        "policy/simulate.py",
        "consumed=pack.consumed + 1",
        "consumed=pack.consumed",
    ),
    (
        "simulated work is paid for with whatever comes first",
        "policy/simulate.py",
        "bind(decision, assumed.channel, assumed.pay_with)",
        "bind(decision, assumed.channel, None)",
    ),
    (
        "simulated contract needs no Editor",
        "policy/simulate.py",
        "if not holds_editor(facts.licences, starts):",
        "if False:",
    ),
    (
        "batch takes today's facts for a past instant",
        "routers/entitlements/batches.py",
        'BATCH["past" if at < now else "now"]',
        'BATCH["now"]',
    ),
    (
        "export takes today's facts for a past instant",
        "routers/entitlements/exporting.py",
        'EVERYBODY["past" if at < now else "now"]',
        'EVERYBODY["now"]',
    ),
    (
        "batch speaks English",
        "routers/entitlements/batches.py",
        "entitlements_body(customer, facts, decision, policies, at, language)",
        'entitlements_body(customer, facts, decision, policies, at, "en")',
    ),
)

MUTATIONS = (
    *_CLAUSES,
    *(
        _m("issue 2", f"a day too long: {what}", file, old, new, (*_POLICY, *_CASES))
        for what, file, old, new in _ENDS
    ),
    *(
        _m("issue 2", f"a day too long in SQL: {what}", "store/states.py", old, new, _STATES)
        for what, old, new in _SQL_ENDS
    ),
    *(
        _m("issue 2", f"a day too late: {what}", file, old, new, (*_POLICY, *_CASES))
        for what, file, old, new in _STARTS
    ),
    *(_m("issue 5", what, file, old, new, _FORMS) for what, file, old, new in _OTHER_FORMS),
)
