"""What a mutation tool for lines of Python cannot find: services without a check, a lock or an
entry in the ledger, and SQL with another meaning.

`mutmut` mutates the rules themselves (`app/policy`), see CONTRIBUTING.md, and
`tests/policy/test_scenarios.py` every value of the policy document. Here an edit names a function
or a constant and what to look for in it (`tests.mutations.edits`); `test_table.py` applies every
edit, so that a table which no longer fits the code is noticed at once.
"""

from typing import NamedTuple

from tests.mutations.edits import Edit, condition, drop, expression, text

_CASES = ("tests/api/cases",)
_CONTRACTS = ("tests/api/test_contracts.py", "tests/api/test_renewal.py", "tests/api/cases")
_LICENCES = ("tests/api/test_licences.py", "tests/api/cases")
_PACKS = ("tests/api/test_ticket_packs.py", "tests/api/cases")
_RACES = ("tests/races",)
_MERGES = ("tests/api/test_merge.py", "tests/races/test_merges.py")
_FORMS = ("tests/api/test_answers_agree.py",)
_TOKENS = ("tests/matrix/test_tokens.py",)
_STATES = ("tests/store/test_states.py", "tests/api/test_contracts.py")


class Mutation(NamedTuple):
    clause: str
    what: str
    file: str
    edit: Edit
    tests: tuple[str, ...]


def _m(clause: str, what: str, file: str, edit: Edit, tests: tuple[str, ...]) -> Mutation:
    return Mutation(clause, what, f"app/{file}.py", edit, tests)


_OPENING = "services/case_opening"
_MOVES = "services/case_moves"
_MERGE = "services/customer_merges"
_STEPS = "services/case_steps"
_CHANGES = "services/case_changes"
_BINDING = "services/case_binding"
_TIME = "services/time_entries"
_CONTRACT = "services/contracts"
_LEDGER = "store/ledger"
_ENTRIES = "store/entries"
_LOOKUPS = "services/lookups"

_SERVICES = (
    _m("R15", "an Editor is not asked for", _CONTRACT, drop("sign", "_require_editor"), _CONTRACTS),
    _m(
        "R15",
        "the Editor is asked for on another day",
        _CONTRACT,
        expression(
            "sign",
            "_require_editor(work, owner, starts_on)",
            "_require_editor(work, owner, work.today)",
        ),
        _CONTRACTS,
    ),
    _m(
        "R17",
        "a contract's own minutes are ignored",
        _CONTRACT,
        expression("terms", "included_minutes or agreed.minutes", "agreed.minutes"),
        _CONTRACTS,
    ),
    _m(
        "R17",
        "a contract's terms are those of the last policy",
        _CONTRACT,
        expression("terms", "policies.in_force(starts_on)", "policies.in_force(date.max)"),
        _CONTRACTS,
    ),
    _m(
        "R17",
        "a pack lasts as long as the last policy says",
        "services/ticket_packs",
        expression("expiry", "policies.in_force(purchased_on)", "policies.in_force(date.max)"),
        _PACKS,
    ),
    _m("R19", "an opened case takes no ticket", _OPENING, drop("open_case", "relive"), _CASES),
    _m("R19", "closing consumes no ticket", _STEPS, drop("close", "consume"), _CASES),
    _m("R19", "a cancelled case keeps its ticket", _STEPS, drop("cancel", "release"), _CASES),
    _m(
        "R19",
        "the customer's lock makes nobody wait",
        "store/lock",
        expression("_locking", "locked.with_for_update(key_share=True)", "locked"),
        _RACES,
    ),
    _m(
        "R20",
        "work from before the opening is taken",
        _TIME,
        drop("record", "WorkedBeforeOpening"),
        _CASES,
    ),
    _m(
        "R20",
        "work counts on the day on which it is recorded",
        _TIME,
        expression(
            "record",
            "civil_date(worked_at, work.policies.zone)",
            "civil_date(work.now, work.policies.zone)",
        ),
        _CASES,
    ),
    _m("R22", "a bug goes on counting", _CHANGES, drop("_give_back", "reverse"), _CASES),
    _m("R22", "a bug keeps its ticket", _CHANGES, drop("_give_back", "release"), _CASES),
    _m("R22", "new work on a bug counts", _TIME, condition("record", "charge", "True"), _CASES),
    _m(
        "R22",
        "a case that proves no bug is bound anew",
        _BINDING,
        condition("bind_again", "stand", "True"),
        _CASES,
    ),
    _m(
        "R22",
        "a case that proves no bug is not charged",
        _BINDING,
        drop("bind_again", "charge"),
        _CASES,
    ),
    _m(
        "R22",
        "a closed case that proves no bug only holds its ticket",
        _BINDING,
        drop("_take", "consume"),
        _CASES,
    ),
    _m(
        "R23",
        "anybody may open a bug",
        _OPENING,
        expression(
            "open_case", 'category == "bug" and work.caller.may("cases:work")', 'category == "bug"'
        ),
        _CASES,
    ),
    _m(
        "R24",
        "a contract is renewed before its first day",
        _CONTRACT,
        expression("renew", "work.today < old.starts_on", "False"),
        _CONTRACTS,
    ),
    _m(
        "R24", "a contract is renewed twice", _CONTRACT, drop("renew", "AlreadyRenewed"), _CONTRACTS
    ),
    _m(
        "R24",
        "a contract is renewed without an Editor",
        _CONTRACT,
        drop("renew", "_require_editor"),
        _CONTRACTS,
    ),
    _m("R24", "nothing is taken over", _CONTRACT, drop("renew", "_take_over"), _CONTRACTS),
    _m("R24", "a new contract takes nothing over", _CONTRACT, drop("sign", "_take_over"), _CASES),
    _m(
        "R24",
        "overrun is taken over although nobody asked",
        _CONTRACT,
        condition("renew", "_take_over", "True"),
        _CONTRACTS,
    ),
    _m(
        "R24",
        "a cancelled successor gives nothing back",
        _CONTRACT,
        drop("cancel", "give_back"),
        _CONTRACTS,
    ),
    _m(
        "R24",
        "a successor cancelled later gives back as well",
        _CONTRACT,
        condition("cancel", "give_back", "True"),
        _CONTRACTS,
    ),
    _m("R24", "a term that is over is signed", _CONTRACT, drop("renew", "TermOver"), _CONTRACTS),
    _m(
        "R4",
        "a contract with later charges is cancelled",
        _CONTRACT,
        drop("cancel", "ContractHasLaterCharges"),
        _CONTRACTS,
    ),
    _m(
        "R25",
        "a free upgrade without a contract",
        "services/licences",
        drop("_paying_contract", "NotEntitled"),
        _LICENCES,
    ),
    _m(
        "R27",
        "a serial number is not asked for",
        _OPENING,
        expression(
            "verify_serial",
            'not verified and any(licence.kind == "editor" for licence in held.values())',
            "False",
        ),
        _CASES,
    ),
    _m(
        "R27",
        "the serial number of a withdrawn licence is accepted",
        _OPENING,
        expression("verify_serial", "lic.held(today)", "True"),
        _CASES,
    ),
    _m("R47", "a moved case keeps its ticket", _MOVES, drop("_take_back", "undo_tickets"), _CASES),
    _m(
        "R47",
        "anybody opens a case in the past",
        _OPENING,
        drop("open_case", "InsufficientScope"),
        _CASES,
    ),
    _m(
        "R47",
        "a moved case is judged as of today",
        _MOVES,
        expression(
            "_begin",
            "decide(work.policies, facts, day)",
            "decide(work.policies, facts, work.today)",
        ),
        _CASES,
    ),
    _m(
        "R49",
        "a record that was merged during the wait is written to",
        "store/lock",
        drop("_lock", "RecordMerged"),
        _MERGES,
    ),
    _m("R49", "a merge locks nobody", _MERGE, drop("_lock_both", "lock_customers"), _MERGES),
    _m("R49", "the old record's tokens live on", _MERGE, drop("merge", "revoke_bound"), _MERGES),
    _m(
        "R49",
        "hours of two years that became one are granted twice",
        _MERGE,
        drop("merge", "join_years"),
        _MERGES,
    ),
    _m(
        "R49",
        "who merged with the old record leads nowhere",
        _MERGE,
        expression("_forward", "merged_customers.c.survivor_id == merged", "kept == merged"),
        _MERGES,
    ),
    _m("R28", "training is covered", _OPENING, drop("open_case", "TrainingNotCovered"), _CASES),
    _m("R29", "a case is reopened for ever", _STEPS, drop("reopen", "ReopeningTooLate"), _CASES),
    _m("R29", "work binds no unpaid case", _BINDING, drop("charge", "_bind_unpaid"), _CASES),
    _m(
        "R29",
        "a bound case is bound again",
        _BINDING,
        expression(
            "bind_case",
            'row.category == "bug" or row.paid_by != "none"',
            'row.category == "bug"',
        ),
        _CASES,
    ),
    _m(
        "R29",
        "an unpaid case leaves its overrun behind",
        _BINDING,
        expression("_bind_unpaid", "[*overrun, *new]", "list(new)"),
        _CASES,
    ),
    _m(
        "R29",
        "a ticket leaves the overrun of an unpaid case",
        _BINDING,
        drop("_bind_unpaid", "reverse"),
        _CASES,
    ),
    _m(
        "R19",
        "a bug costs a ticket its days",
        _CHANGES,
        expression("_give_back", "True", "False"),
        _CASES,
    ),
    _m(
        "R22",
        "a longer period covers nothing",
        "store/corrections",
        drop("follow", "settle"),
        _CASES,
    ),
    _m(
        "R22",
        "what a contract gives back is not covered",
        _LEDGER,
        drop("Ledger.give_back", "settle"),
        _CASES,
    ),
    _m(
        "R40",
        "a correction moves no service year",
        "services/licences",
        drop("_update_and_follow", "follow_licences"),
        _CASES,
    ),
    _m(
        "R40",
        "what was sent last undoes what staff corrected",
        "services/licences",
        expression("put", "_texts(wanted) | kept == known.sent", "False"),
        _LICENCES,
    ),
    _m("R29", "a case with work is cancelled", _STEPS, drop("cancel", "CaseHasWork"), _CASES),
    _m(
        "R29",
        "the ticket of a reopened case stays consumed",
        _STEPS,
        drop("reopen", "take_back"),
        _CASES,
    ),
    _m("R30", "an entry is reversed twice", _TIME, drop("reverse", "AlreadyReversed"), _CASES),
    _m(
        "R33",
        "a refusal leaves no record",
        "http/routes",
        drop("WriteRoute._transact", "record"),
        _CASES,
    ),
    _m(
        "R13",
        "a batch reads today's facts for a past instant",
        _LOOKUPS,
        expression("find_many", "_BATCH[_when(at, work.now)]", '_BATCH["now"]'),
        _FORMS,
    ),
    _m(
        "R13",
        "an export reads today's facts for a past instant",
        _LOOKUPS,
        expression("every_customer", "_EXPORT[_when(at, now)]", '_EXPORT["now"]'),
        _FORMS,
    ),
    _m(
        "R13",
        "a forecast misses a change of services alone",
        "services/forecasts",
        expression(
            "forecast",
            "(answer.policy, answer.columns, answer.services)",
            "(answer.policy, answer.columns)",
        ),
        _FORMS,
    ),
    _m(
        "scope",
        "a lookup is answered for a token without the scope",
        _LOOKUPS,
        expression(
            "find",
            "admitted(rows[0] if rows else None, scope)",
            "admitted(rows[0] if rows else None, None)",
        ),
        _TOKENS,
    ),
    _m(
        "scope",
        "a wrong lookup is told without a check of the token",
        "http/lookups",
        expression(
            "LookupRoute.answer",
            "(RequestValidationError, InvalidInput, NotAcceptable, HTTPException)",
            "HTTPException",
        ),
        _TOKENS,
    ),
    _m(
        "Idempotency-Key",
        "two requests with one key run at once",
        "http/idempotency",
        drop("once", "RequestInProgress"),
        _RACES,
    ),
)

_SQL = (
    _m(
        "R18",
        "the last ticket of a pack pays first",
        _ENTRIES,
        text("FREE_POSITION", r"min\(position\)", "max(position)"),
        _CASES,
    ),
    _m(
        "R22",
        "the newest work is covered first",
        _ENTRIES,
        text("_STANDING", r"ORDER BY t\.worked_at,", "ORDER BY t.worked_at DESC,"),
        _CASES,
    ),
    _m(
        "R26",
        "the numbers of cases are shorter",
        _OPENING,
        text("_RUNNING_NUMBER", r"greatest\(6,", "greatest(5,"),
        _CASES,
    ),
    _m(
        "R29",
        "a reversed entry is still work",
        _STEPS,
        text("_WORK", r"time_entries\.c\.reversed_at\.is_\(None\)", "true()"),
        _CASES,
    ),
)
MUTATIONS = (*_SERVICES, *_SQL)
