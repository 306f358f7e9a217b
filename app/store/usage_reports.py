"""Usage by civil day, over customers, technicians and so on: where each figure stands and its sums.

A figure is one row of `_figures`: its day, its customer, the dimensions that it has, which measure
it belongs to and its value. Every answer is a sum over these rows.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from itertools import combinations
from typing import Any, Literal, NamedTuple, get_args
from uuid import UUID

import orjson
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.database import Database
from app.store.raw_reads import prepare
from app.store.tables.usage_days import SUMMED, WITHIN_CUSTOMERS

Dimension = Literal[
    "customer", "technician", "channel", "category", "priority", "paid_by", "country", "help_desk"
]
Window = Literal["day", "week", "month", "quarter", "year", "all"]
Measure = Literal[
    "cases_opened",
    "cases_closed",
    "cases_cancelled",
    "cases_refused",
    "cases_bug",
    "worked_minutes",
    "charged_minutes",
    "overrun_minutes",
    "tickets_sold",
    "tickets_consumed",
    "tickets_expired",
    "tickets_cancelled",
    "minutes_granted",
    "minutes_lapsed",
]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
MEASURES: tuple[Measure, ...] = get_args(Measure)
MOST_DIMENSIONS = 2
"""There are sums by so many at once, and none by customer."""
# They follow from facts whose day may lie in the future, and have not happened before it.
_NOT_BEFORE = {"tickets_sold", "tickets_expired", "minutes_granted", "minutes_lapsed"}

_M = {measure: number for number, measure in enumerate(MEASURES)}
_ZONE = "CAST(:zone AS text)"
_CASE = ("channel", "category", "priority", "paid_by")
_OF_CASE = "k.technician, k.channel, k.category, k.priority, k.paid_by"
# R35, by the policy in force: a named desk that it has, else that of the country.
_DESK = """coalesce(CAST(:named_desks AS jsonb) ->> c.help_desk,
            CAST(:desks AS jsonb) ->> c.country, :other_desk)"""


def _figures(
    among: Literal["days", "period"],
    customer: str | None = None,
    used: Collection[str] = DIMENSIONS,
) -> str:
    """SQL of every figure of the days in the relation `days`, or of the period [:from, :to).

    `work` and `moves` have the time entries and the ledger's rows of such days. `customer`: SQL of
    the id of the one customer whose figures they are. Dimensions that are not `used` may be null. A
    case that was moved away counts nothing (R47); its time entries are reversed and its ledger
    entries taken back. What lies on a service year that no purchase begins any more (R40) never
    could be used.
    """
    days, start, end = "", "CAST(:from AS date)", "CAST(:to AS date)"
    if among == "days":
        days, start, end = "days CROSS JOIN ", "days.day", "days.day + 1"

    def on(day: str) -> str:
        if among == "days":
            return f"{day} = ANY (ARRAY(SELECT day FROM days))"
        return f"{day} >= {start} AND {day} < {end}"

    def at(instant: str) -> str:
        return f"""{instant} >= CAST({start} AS timestamp) AT TIME ZONE {_ZONE}
            AND {instant} < CAST({end} AS timestamp) AT TIME ZONE {_ZONE}"""

    def day(instant: str) -> str:
        return f"CAST({instant} AT TIME ZONE {_ZONE} AS date)"

    def of(column: str) -> str:
        return "" if customer is None else f" AND {column} = {customer}"

    records = ""
    if customer is not None:
        # Events stay under the record for which they were recorded (R49).
        records = f""" AND e.customer_id = ANY (ARRAY(
                SELECT {customer} UNION ALL
                SELECT m.customer_id FROM merged_customers m WHERE m.survivor_id = {customer}))"""
    # A pack ends with its last ticket (R19).
    ending = f"s.kind = 'ticket_pack' AND s.starts_on < {end} AND s.ends_on >= {start}"
    if among == "days":
        ending = "s.ends ?| ARRAY(SELECT CAST(day AS text) FROM days)"
    nothing = "NULL, NULL, NULL, NULL"

    def look_up(table: str, key: str, column: str) -> str:
        if column not in used:
            return "CAST(NULL AS text)"
        return f"(SELECT o.{column} FROM {table} o WHERE o.id = {key})"

    if among == "days":
        # A join with whole tables makes the planner read them. Nearly all charges of a day are of
        # its work; those of another day's, and tickets, look up their rows by their keys.
        entries, case = "work w", "w"
        charges = "moves l LEFT JOIN work w ON w.id = l.time_entry_id AND w.case_id = l.case_id"
        tickets = "moves l"
        technician = look_up("time_entries", "l.time_entry_id", "technician")
        technician = f"CASE WHEN w.id IS NULL THEN {technician} ELSE w.technician END"
        looked_up = {one: look_up("cases", "l.case_id", one) for one in _CASE[:3]}
        charged = [
            f"CASE WHEN w.id IS NULL THEN {other} ELSE w.{one} END"
            for one, other in looked_up.items()
        ]
        consumed = [look_up("cases", "l.case_id", "technician"), *looked_up.values()]
    else:
        entries, case = "time_entries w LEFT JOIN cases k ON k.id = w.case_id", "k"
        tickets = "ledger l LEFT JOIN cases k ON k.id = l.case_id"
        charges = f"{tickets} LEFT JOIN time_entries w ON w.id = l.time_entry_id"
        technician = "w.technician"
        charged = [f"k.{one}" for one in _CASE[:3]]
        consumed = ["k.technician", *charged]
    allowance = "CAST(NULL AS text)"
    if "paid_by" in used:
        allowance = """coalesce((SELECT b.kind FROM balances b
                WHERE b.allowance_id = l.allowance_id), 'none')"""
    return f"""
        SELECT k.opened_on AS day, k.customer_id, {_OF_CASE}, v.measure, v.value
        FROM cases k CROSS JOIN LATERAL (VALUES ({_M["cases_opened"]}, 1),
            ({_M["cases_bug"]}, CAST(k.category = 'bug' AS int))) v (measure, value)
        WHERE k.moved_to IS NULL AND v.value <> 0 AND {on("k.opened_on")}{of("k.customer_id")}
        UNION ALL
        SELECT {day("k.closed_at")}, k.customer_id, {_OF_CASE}, {_M["cases_closed"]}, 1
        FROM {days}cases k
        WHERE {at("k.closed_at")}{of("k.customer_id")}
        UNION ALL
        SELECT {day("k.cancelled_at")}, k.customer_id, {_OF_CASE}, {_M["cases_cancelled"]}, 1
        FROM {days}cases k
        WHERE k.moved_to IS NULL AND {at("k.cancelled_at")}{of("k.customer_id")}
        UNION ALL
        SELECT {day("e.occurred_at")}, coalesce((SELECT m.survivor_id FROM merged_customers m
                WHERE m.customer_id = e.customer_id), e.customer_id),
            NULL, e.data ->> 'channel', NULL, NULL, NULL, {_M["cases_refused"]},
            coalesce(r.count, 1)
        FROM {days}events e LEFT JOIN refusals r ON r.event_id = e.id
        WHERE e.type = 'case.refused' AND {at("e.occurred_at")}{records}
        UNION ALL
        SELECT w.worked_on, w.customer_id, w.technician,
            {", ".join(f"{case}.{one}" for one in _CASE)}, {_M["worked_minutes"]}, w.minutes
        FROM {entries} WHERE w.reversed_at IS NULL AND {on("w.worked_on")}{of("k.customer_id")}
        UNION ALL
        SELECT l.counts_on, l.customer_id, {", ".join((technician, *charged))},
            {allowance}, v.measure, v.value
        FROM {charges} CROSS JOIN LATERAL (VALUES ({_M["charged_minutes"]}, l.used_minutes),
            ({_M["overrun_minutes"]}, l.overrun_minutes)) v (measure, value)
        WHERE l.time_entry_id IS NOT NULL AND v.value <> 0
            AND {on("l.counts_on")}{of("l.customer_id")}
        UNION ALL
        SELECT l.counts_on, l.customer_id, {", ".join(consumed)}, 'ticket', v.measure, v.value
        FROM {tickets} CROSS JOIN LATERAL (VALUES
            ({_M["tickets_consumed"]}, CAST(l.consumed AS int)),
            ({_M["tickets_cancelled"]}, l.cancelled)) v (measure, value)
        WHERE l.ticket_position IS NOT NULL AND v.value <> 0
            AND {on("l.counts_on")}{of("l.customer_id")}
        UNION ALL
        SELECT p.purchased_on, p.customer_id, {nothing}, 'ticket', {_M["tickets_sold"]}, p.quantity
        FROM ticket_packs p WHERE {on("p.purchased_on")}{of("p.customer_id")}
        UNION ALL
        SELECT s.starts_on, s.customer_id, {nothing}, s.kind, v.measure, v.value
        FROM allowance_standings s
        CROSS JOIN LATERAL (VALUES ({_M["minutes_granted"]}, s.granted),
            ({_M["minutes_lapsed"]}, CASE WHEN s.begun THEN 0 ELSE s.granted - s.used END))
            v (measure, value)
        WHERE s.kind <> 'ticket_pack' AND (s.begun OR s.used > 0 OR s.overrun > 0)
            AND v.value <> 0 AND {on("s.starts_on")}{of("s.customer_id")}
        UNION ALL
        SELECT s.ends_on, s.customer_id, {nothing}, s.kind, {_M["minutes_lapsed"]},
            s.granted - s.used
        FROM allowance_standings s
        WHERE s.kind <> 'ticket_pack' AND s.begun AND s.granted > s.used
            AND {on("s.ends_on")}{of("s.customer_id")}
        UNION ALL
        SELECT CAST(x.day AS date), s.customer_id, {nothing}, 'ticket', {_M["tickets_expired"]},
            CAST(x.tickets AS int)
        FROM allowance_standings s CROSS JOIN LATERAL jsonb_each_text(s.ends) x (day, tickets)
        WHERE {ending} AND {on("CAST(x.day AS date)")}{of("s.customer_id")}"""


def _figures_of_days(used: Collection[str]) -> str:
    """SQL of the relation `figures`, those of `days`, and of what it is made of.

    `work` has the days' time entries with what of their cases is used, `moves` the rows of the
    ledger that count: two kinds of figures are made of each. OFFSET keeps the planner from joining
    all cases: it looks each up by its key, once.
    """
    asked = [one for one in _CASE if one in used]
    columns = [f"k.{one}" if one in asked else f"CAST(NULL AS text) AS {one}" for one in _CASE]
    cases = ""
    if asked:
        cases = f"""LEFT JOIN LATERAL (
                SELECT {", ".join(asked)} FROM cases WHERE id = t.case_id OFFSET 0) k ON true"""
    return f"""work AS MATERIALIZED (
            SELECT t.id, t.case_id, t.worked_on, t.customer_id, t.technician, t.minutes,
                t.reversed_at, {", ".join(columns)}
            FROM time_entries t {cases} WHERE t.worked_on = ANY (ARRAY(SELECT day FROM days))),
        moves AS MATERIALIZED (
            SELECT l.counts_on, l.customer_id, l.case_id, l.allowance_id, l.time_entry_id,
                l.ticket_position, l.used_minutes, l.overrun_minutes, l.consumed, l.cancelled
            FROM ledger l WHERE l.counts_on = ANY (ARRAY(SELECT day FROM days))
                AND (l.used_minutes <> 0 OR l.overrun_minutes <> 0 OR l.consumed <> 0
                    OR l.cancelled <> 0)),
        figures AS ({_figures("days", used=used)})"""


def _with_customers(figures: str, customers: str = "customers") -> str:
    """The figures with the country and the help desk of their customers."""
    return f"""(SELECT a.*, a.customer_id AS customer, c.country, {_DESK} AS help_desk
        FROM {figures} a LEFT JOIN {customers} c ON c.id = a.customer_id)"""


# Their keys find these customers: joined with all, the planner reads them all.
_OF_DAYS = _with_customers(
    "figures",
    """(SELECT id, country, help_desk FROM customers
        WHERE id = ANY (ARRAY(SELECT DISTINCT customer_id FROM figures)))""",
)


def _sums(kind: Literal["int", "bigint"] = "bigint") -> str:
    """SQL of each measure as the sum of figures; those of a day are of the kind of `usage_days`,
    because sums of bigint are made of slow numerics."""
    return ",\n            ".join(
        f"coalesce(CAST(sum(value) FILTER (WHERE measure = {number}{_happened(measure)})"
        f" AS {kind}), 0) AS {measure}"
        for measure, number in _M.items()
    )


def _happened(measure: Measure) -> str:
    return " AND day <= CAST(:today AS date)" if measure in _NOT_BEFORE else ""


def bucket_of(window: Window) -> str:
    """SQL of the first day of the bucket in which a day lies; the period cuts the first one off.

    Weeks begin on Monday (ISO 8601).
    """
    if window == "all":
        return "CAST(:from AS date)"
    return f"""greatest(CAST(date_trunc('{window}', CAST(day AS timestamp)) AS date),
            CAST(:from AS date))"""


def conditions_of(filters: Sequence[Dimension]) -> str:
    """SQL of the filters by their names but the customer's, which an index answers."""
    return " AND ".join(
        "lower(technician) = lower(:technician)" if one == "technician" else f"{one} = :{one}"
        for one in filters
        if one != "customer"
    )


_ANYTHING = f"ROW({', '.join(MEASURES)}) <> ROW({', '.join('0' for _ in MEASURES)})"


def _summed(figures: str, keys: Sequence[str], filters: Sequence[Dimension], window: Window) -> str:
    """SQL of the sums of figures by `keys`, the bucket and dimensions."""
    conditions = conditions_of(filters)
    return f"""SELECT {", ".join(keys)},
            {_sums()}
        FROM (SELECT *, {bucket_of(window)} AS bucket FROM {_with_customers(f"({figures})")} f) b
        {f"WHERE {conditions}" if conditions else ""}
        GROUP BY {", ".join(keys)}"""


# Which days have to be computed: those that differ from their sums, and those after the last one
# with sums. After the last movement of the ledger nothing happens.
_DAYS = """state AS MATERIALIZED (
            SELECT CASE WHEN rules = :rules THEN through END AS through FROM usage_state),
        days AS MATERIALIZED (
            SELECT DISTINCT c.day FROM usage_changes c CROSS JOIN state s
            WHERE c.day >= CAST(:from AS date) AND c.day < CAST(:to AS date)
                AND c.day <= s.through
            UNION ALL
            SELECT p.first + n FROM (
                SELECT greatest(CAST(:from AS date), s.through + 1) AS first,
                    least(CAST(:to AS date) - 1,
                        greatest(CAST(:today AS date), (SELECT max(counts_on) FROM ledger)))
                        AS last
                FROM state s) p
            CROSS JOIN LATERAL generate_series(0, p.last - p.first) n)"""


def _mask(dimensions: Iterable[str]) -> int:
    """What `usage_days.dimensions` is for sums by these."""
    return sum(64 >> WITHIN_CUSTOMERS.index(one) for one in dimensions)


def _rolled(group_by: Sequence[Dimension], filters: Sequence[Dimension], window: Window) -> str:
    """SQL of the sums of all customers: of days with sums, and of those that have to be computed.

    In one statement, so that both are of one instant.
    """
    used = [one for one in DIMENSIONS if one in group_by or one in filters]
    keys = ("bucket", *group_by)
    columns = ", ".join(("day", *used))
    conditions = conditions_of(filters)
    sums = ",\n            ".join(
        f"coalesce(sum({one}){_only_happened(one)}, 0) AS {one}" for one in MEASURES
    )
    mask = _mask(used)
    # Rows are compared, because that is what the index by both alone can find. The planner expects
    # few rows of a range with an unknown end, and took the index by day to read those of all masks.
    figures = _OF_DAYS if {"country", "help_desk"}.intersection(used) else "figures"
    return f"""WITH {_DAYS}, {_figures_of_days(used)}, found AS (
            SELECT {columns}, {", ".join(MEASURES)} FROM usage_days
            WHERE (dimensions, day) >= ({mask}, CAST(:from AS date))
                AND (dimensions, day) < ({mask}, CAST(:to AS date))
                AND (dimensions, day) <= ({mask}, (SELECT through FROM state))
                AND day NOT IN (SELECT day FROM days)
            UNION ALL
            SELECT {columns},
            {_sums("int")}
            FROM {figures} f GROUP BY {columns})
        SELECT {", ".join((*keys, *MEASURES))} FROM (
            SELECT {", ".join(keys)},
            {sums}
            FROM (SELECT *, {bucket_of(window)} AS bucket FROM found) b
            {f"WHERE {conditions}" if conditions else ""}
            GROUP BY {", ".join(keys)}) g
        WHERE {_ANYTHING} LIMIT :most"""


def _only_happened(measure: Measure) -> str:
    happened = _happened(measure)
    return f" FILTER (WHERE {happened.removeprefix(' AND ')})" if happened else ""


def _direct(group_by: Sequence[Dimension], filters: Sequence[Dimension], window: Window) -> str:
    """SQL of the sums of one customer, or by more dimensions than there are sums by."""
    figures = _figures("period", ":customer" if "customer" in filters else None)
    keys = ("bucket", *group_by)
    return f"""
        SELECT {", ".join((*keys, *MEASURES))} FROM ({_summed(figures, keys, filters, window)}) g
        WHERE {_ANYTHING} LIMIT :most"""


@lru_cache(maxsize=512)
def _sql(group_by: Sequence[Dimension], filters: Sequence[Dimension], window: Window) -> TextClause:
    used = {*group_by, *filters}
    has_sums = len(used) <= MOST_DIMENSIONS and "customer" not in used
    return text((_rolled if has_sums else _direct)(group_by, filters, window))


class Desks(NamedTuple):
    """Which help desk a customer has (R35)."""

    named: Sequence[str]
    of_country: Mapping[str, str]
    of_others: str


class Rules(NamedTuple):
    """What decides on which day a figure counts, and for which help desk."""

    zone: str
    desks: Desks

    def parameters(self) -> dict[str, str]:
        named = {desk: desk for desk in self.desks.named}
        return {
            "zone": self.zone,
            "named_desks": orjson.dumps(named).decode(),
            "desks": orjson.dumps(self.desks.of_country).decode(),
            "other_desk": self.desks.of_others,
        }

    def said(self) -> str:
        """Equal for rules that say the same."""
        return orjson.dumps(self.parameters(), option=orjson.OPT_SORT_KEYS).decode()


class Asked(NamedTuple):
    """What is summed: civil days [start, end) by `window` and `group_by`, where filters hold.

    `filters` has a value for each dimension that is one, the customer's as its id.
    """

    start: date
    end: date
    window: Window
    group_by: tuple[Dimension, ...]
    filters: Mapping[Dimension, Any]
    today: date
    """Days after it have not happened."""
    rules: Rules


class Sums(NamedTuple):
    """The measures of one bucket and one value of each dimension that was grouped by."""

    bucket: date
    values: tuple[Any, ...]
    measures: tuple[int, ...]


async def sums(connection: AsyncConnection, asked: Asked, most: int) -> list[Sums]:
    """At most so many sums, in no order, none of them with zeros alone."""
    query = _sql(asked.group_by, tuple(asked.filters), asked.window)
    rows = await connection.execute(query, {**_parameters(asked), "most": most})
    return _sums_of(rows, asked)


def _sums_of(rows: Iterable[Any], asked: Asked) -> list[Sums]:
    first = 1 + len(asked.group_by)
    return [Sums(row[0], row[1:first], row[first:]) for row in rows]


def _parameters(asked: Asked) -> dict[str, Any]:
    return {
        "from": asked.start,
        "to": asked.end,
        "today": asked.today,
        "rules": asked.rules.said(),
        **asked.rules.parameters(),
        **{str(one): value for one, value in asked.filters.items()},
    }


# --- by customer, page by page -----------------------------------------------------------------

MOST_FIGURES = 100_000
"""So many figures are summed before a page of them is cut."""
MOST_CUSTOMERS = 5_000
"""So many customers are looked at for a page where there are more figures."""

_COUNT = text(f"""
    SELECT count(*) FROM (SELECT FROM ({_figures("period")}) f LIMIT :most) n""")


class Place(NamedTuple):
    """After which row a page begins: its bucket, and the values of its dimensions as texts.

    By customer `first` is the customer's id; None: at the beginning of the bucket. `whole`: after
    every row of the customer.
    """

    bucket: date
    first: str | None = None
    second: str | None = None
    whole: bool = False


async def are_few(connection: AsyncConnection, asked: Asked) -> bool:
    """Whether a period has at most `MOST_FIGURES` figures, of all customers and dimensions."""
    parameters = {**_parameters(asked), "most": MOST_FIGURES + 1}
    return bool(await connection.scalar(_COUNT, parameters) <= MOST_FIGURES)


# Null comes last, so that it is greater than every text.
_AFTER = """(customer > CAST(:after AS uuid) OR customer = CAST(:after AS uuid)
            AND NOT :whole AND coalesce({value} > :value, {value} IS NULL AND NOT :last))"""


# Customers from a place on. One that is done is left out: a walk of one customer would stay there.
_REST = """id >= coalesce(CAST(:after AS uuid), CAST(:first AS uuid))
            AND NOT (CAST(:whole AS boolean) AND id = CAST(:after AS uuid))"""


@lru_cache(maxsize=512)
def _page_sql(
    group_by: Sequence[Dimension], filters: Sequence[Dimension], window: Window, *, walk: bool
) -> TextClause:
    """Rows in the order of bucket, customer and the other dimension.

    `walk` takes one bucket alone and goes from one customer to the next, each by its own indexes.
    """
    others = group_by[1:]
    value = f'{others[0]} COLLATE "C"' if others else "CAST(NULL AS text)"
    after = f"""CAST(:after AS uuid) IS NULL OR bucket > :bucket
            OR {_AFTER.format(value=value)}"""
    order = ["customer", *([value] if others else [])]
    if walk:
        own = _summed(_figures("period", "one.id"), ("bucket", *others), filters, window)
        # In the order of the customers, so that the walk ends with the page.
        rows = f"""(SELECT one.id AS customer, s.* FROM (
                SELECT id FROM customers WHERE {_REST} ORDER BY id LIMIT :customers) one
            CROSS JOIN LATERAL ({own}) s)"""
    else:
        rows = f"({_summed(_figures('period'), ('bucket', *group_by), filters, window)})"
        order.insert(0, "bucket")
    return text(f"""
        SELECT {", ".join(("bucket", *group_by, *MEASURES))} FROM {rows} g
        WHERE {_ANYTHING} AND ({after}) ORDER BY {", ".join(order)} LIMIT :most""")


_FIRST_ID = UUID(int=0)
_WALKED = text(f"SELECT id FROM customers WHERE {_REST} ORDER BY id OFFSET :others LIMIT 1")


async def page(
    connection: AsyncConnection, asked: Asked, after: Place, most: int, *, walk: bool
) -> list[Sums]:
    """The next rows by customer, at most so many, none of them with zeros alone.

    `walk`: of the one bucket that `asked` is, and of the next `MOST_CUSTOMERS` customers.
    """
    query = _page_sql(asked.group_by, tuple(asked.filters), asked.window, walk=walk)
    parameters = {
        **_parameters(asked),
        "bucket": after.bucket,
        "after": after.first and UUID(after.first),
        "whole": after.whole,
        "value": after.second,
        "last": after.second is None,
        "first": _FIRST_ID,
        "customers": MOST_CUSTOMERS,
        "most": most,
    }
    rows = await connection.execute(query, parameters)
    return _sums_of(rows, asked)


async def walked_through(connection: AsyncConnection, after: Place) -> str | None:
    """The last customer that such a walk looks at; None if it reaches the last of all."""
    parameters = {
        "after": after.first and UUID(after.first),
        "whole": after.whole,
        "first": _FIRST_ID,
        "others": MOST_CUSTOMERS - 1,
    }
    found = await connection.scalar(_WALKED, parameters)
    return None if found is None else str(found)


_NAMES = text("SELECT id, code, name FROM customers WHERE id = ANY (CAST(:ids AS uuid[]))")


async def names(
    connection: AsyncConnection, customers: Sequence[UUID]
) -> dict[UUID, tuple[str, str]]:
    """Code and name of each customer."""
    rows = await connection.execute(_NAMES, {"ids": list(customers)})
    return {row.id: (row.code, row.name) for row in rows}


# --- sums by day ------------------------------------------------------------------------------

_SETS = [
    ("day", "measure", *one)
    for size in range(MOST_DIMENSIONS + 1)
    for one in combinations(WITHIN_CUSTOMERS, size)
]
_BY_DAY = f"""
    SELECT day, CAST(127 - g AS smallint) AS dimensions, {", ".join(WITHIN_CUSTOMERS)},
        {
    ", ".join(
        f"CAST(coalesce(sum(value) FILTER (WHERE measure = {_M[one]}), 0) AS int) AS {one}"
        for one in MEASURES
    )
}
    FROM (SELECT day, measure, {", ".join(WITHIN_CUSTOMERS)},
            GROUPING({", ".join(WITHIN_CUSTOMERS)}) AS g, sum(value) AS value
        FROM {_OF_DAYS} f
        GROUP BY GROUPING SETS ({", ".join(f"({', '.join(one)})" for one in _SETS)})) s
    WHERE value <> 0
    GROUP BY day, g, {", ".join(WITHIN_CUSTOMERS)}"""
_COLUMNS = ", ".join(("day", "dimensions", *WITHIN_CUSTOMERS, *SUMMED))
# One statement, so that the sums have what was committed before it, and the changes of exactly that
# are taken away.
SUM_DAYS = text(f"""
    WITH days AS MATERIALIZED (SELECT unnest(CAST(:days AS date[])) AS day),
        {_figures_of_days(WITHIN_CUSTOMERS)},
        taken AS (DELETE FROM usage_changes WHERE day = ANY (CAST(:days AS date[]))),
        old AS (DELETE FROM usage_days WHERE day = ANY (CAST(:days AS date[])))
    INSERT INTO usage_days ({_COLUMNS}) {_BY_DAY}""")
# "days" in ASCII.
_LOCK = text("SELECT pg_try_advisory_xact_lock(1684109683)")
_STATE = text("SELECT through, rules FROM usage_state")
_ADVANCE = text("UPDATE usage_state SET through = :through")
_BEGIN_AGAIN = text("UPDATE usage_state SET through = NULL, rules = :rules, zone = :zone")
_FORGET = text("DELETE FROM usage_days")
# Whatever has changed on these days is read when they are summed for the first time.
_IGNORE = text(
    "DELETE FROM usage_changes WHERE day > coalesce(CAST(:through AS date), '-infinity')"
)
_CHANGED = text("""
    SELECT DISTINCT day FROM usage_changes WHERE day <= :through ORDER BY day DESC LIMIT :most""")
_FIRST = text("""
    SELECT least((SELECT min(opened_on) FROM cases), (SELECT min(worked_on) FROM time_entries),
        (SELECT min(counts_on) FROM ledger), (SELECT min(purchased_on) FROM ticket_packs),
        (SELECT min(starts_on) FROM allowance_standings),
        (SELECT CAST(min(occurred_at) AS date) - 1 FROM events WHERE type = 'case.refused'))""")


_DUE = prepare(
    text("""
    SELECT through IS NULL OR through < CAST(:last AS date) OR rules <> :rules
        OR EXISTS (SELECT FROM usage_changes) AS due
    FROM usage_state""")
)


class State(NamedTuple):
    """How far days are summed, and by which rules."""

    through: date | None
    """The last day with sums; None: no day has."""
    rules: str


async def are_days_due(database: Database, rules: Rules, last: date) -> bool:
    """Whether a day up to the last one has to be summed."""
    parameters = {"last": last, "rules": rules.said()}
    (row,) = await database.raw.fetch(_DUE, parameters)
    return bool(row.due)


async def lock(connection: AsyncConnection) -> bool:
    """Become the one transaction that sums days; False if another one does. It never waits."""
    return bool(await connection.scalar(_LOCK))


async def state(connection: AsyncConnection) -> State:
    return State(*(await connection.execute(_STATE)).one())


async def begin_again(connection: AsyncConnection, rules: Rules) -> None:
    """Forget all sums: those that follow are made by these rules."""
    await connection.execute(_FORGET)
    await connection.execute(_BEGIN_AGAIN, {"rules": rules.said(), "zone": rules.zone})


async def ignore_later(connection: AsyncConnection, through: date | None) -> None:
    """Forget the changes of days that have no sums yet."""
    await connection.execute(_IGNORE, {"through": through})


async def changed_days(connection: AsyncConnection, through: date, most: int) -> list[date]:
    """Days with sums that differ from what is recorded, at most so many, the latest first."""
    found = await connection.execute(_CHANGED, {"through": through, "most": most})
    return list(found.scalars())


async def first_day(connection: AsyncConnection) -> date | None:
    """The first day with any figure, or an earlier one."""
    found: date | None = await connection.scalar(_FIRST)
    return found


async def sum_days(connection: AsyncConnection, days: Sequence[date], rules: Rules) -> None:
    """Sum days anew. The caller holds the lock, in a transaction in which each statement sees what
    was committed before it."""
    await connection.execute(SUM_DAYS, {"days": list(days), **rules.parameters()})


async def advance(connection: AsyncConnection, through: date) -> None:
    """Say that every day up to one has sums. The caller holds the lock of `store.feed` too, whose
    writers leave out the changes of later days."""
    await connection.execute(_ADVANCE, {"through": through})


_KEYS = ", ".join(("day", "dimensions", *WITHIN_CUSTOMERS))
_DIFFERENCES = text(f"""
    WITH days AS MATERIALIZED (
        SELECT CAST(d AS date) AS day
        FROM usage_state s, generate_series(CAST(:first AS timestamp), s.through, '1 day') d
        WHERE NOT EXISTS (SELECT FROM usage_changes c WHERE c.day = CAST(d AS date))),
    {_figures_of_days(WITHIN_CUSTOMERS)},
    kept AS (SELECT {_COLUMNS} FROM usage_days WHERE day IN (SELECT day FROM days)),
    right_ones AS ({_BY_DAY}),
    compared AS (SELECT 0 AS side, * FROM kept UNION ALL SELECT 1, {_COLUMNS} FROM right_ones)
    SELECT day, concat_ws(', ', {", ".join(WITHIN_CUSTOMERS)}) AS of,
        {
    ", ".join(
        f"coalesce(sum({one}) FILTER (WHERE side = {side}), 0) AS {one}_{side}"
        for one in SUMMED
        for side in (0, 1)
    )
}
    FROM compared GROUP BY {_KEYS}
    HAVING {" OR ".join(f"sum(CASE side WHEN 0 THEN {one} ELSE -{one} END) <> 0" for one in SUMMED)}
    ORDER BY day LIMIT 1000""")


async def differences(
    connection: AsyncConnection, rules: Rules, first: date
) -> AsyncIterator[tuple[str, str, str, str]]:
    """Day and dimensions, measure, stored and right value of each sum that is wrong.

    Of days whose changes are on their way nothing.
    """
    parameters = {"first": first, **rules.parameters()}
    for row in await connection.execute(_DIFFERENCES, parameters):
        for one in SUMMED:
            kept, right = (row._mapping[f"{one}_{side}"] for side in (0, 1))
            if kept != right:
                yield f"{row.day} {row.of}".rstrip(), one, str(kept), str(right)


# --- what is new -------------------------------------------------------------------------------

_NEWS = text("""
    SELECT f.position, u.number, u.newest, u.sum, CAST(s.xmin AS text) AS followed, s.walking,
        least((SELECT e.occurred_at FROM events e WHERE e.id = u.oldest),
            (SELECT to_timestamp(n.position / 1000000.0) FROM feed n
                WHERE n.position > s.followed ORDER BY n.position LIMIT 1),
            (SELECT min(valid_until) FROM standings WHERE valid_until <= :now)) AS behind_since
    FROM feed_state f CROSS JOIN standing_state s
    CROSS JOIN (SELECT count(*) AS number, min(event_id) AS oldest, max(event_id) AS newest,
        CAST(sum(event_id) AS text) AS sum FROM unpublished_events) u""")


class News(NamedTuple):
    """What tells whether anything has happened, and since when allowances are behind."""

    marks: tuple[Any, ...]
    """Equal as long as no event was committed, published or followed.

    Numbers of events do not come in the order of their commits; hence their count and sum.
    """
    walking: bool
    """The allowances of all customers are being looked at."""
    behind_since: datetime | None


async def news(connection: AsyncConnection, now: datetime) -> News:
    """Where the feed and those that follow it are. Read it before the figures."""
    *marks, walking, behind_since = (await connection.execute(_NEWS, {"now": now})).one()
    return News(tuple(marks), walking, behind_since)
