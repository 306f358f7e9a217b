"""R38: to a bound token whatever is another customer's is exactly as if it did not exist.

Every operation, with every id, code, number or lookup that its document lets a request carry.
"""

import pytest

from app.services.tokens import BOUND_SCOPES
from tests.matrix.conftest import World
from tests.matrix.document import OPEN, SHARED, Operation, operations
from tests.matrix.requests import Request, build, put, whole
from tests.matrix.world import Holdings, nobody, plain

_ALL = operations()
_REFERRING = [one for one in _ALL if one.references() and not one.is_open]

# Fields that are called like references and are none.
_DATA = {
    "email": "of a contact or requester: kept as it is given",
    "phone": "of a requester: kept as it is given",
    "phones": "of a contact: kept as they are given",
    "vat_number": "kept as it is given",
    "call_id": "of the exchange: kept as it is given",
    "product_version": "kept as it is given",
}
_NAMES_SOMETHING = ("id", "code", "number", "ref", "refs", "email", "phone", "phones", "token")


Pair = tuple[str, Request, Request]


def pairs_of(world: World, operation: Operation, other: Holdings, none: Holdings) -> list[Pair]:
    """Requests of a customer's own with one name of another's in them and with one of nobody's,
    and those with all names exchanged."""
    dates = plain(world.today)
    base = build(operation, world.own.by_id | dates)
    pairs: list[Pair] = []
    for kind in ("by_id", "by_name"):
        theirs, nobodys = getattr(other, kind), getattr(none, kind)
        pairs += [
            (str(one), put(operation, base, one, theirs), put(operation, base, one, nobodys))
            for one in operation.references()
        ]
        ours, others = whole(operation, theirs | dates), whole(operation, nobodys | dates)
        pairs.append((f"all {kind}", ours, others))
    return pairs


async def tell_apart(
    world: World, operation: Operation, other: Holdings, scopes: frozenset[str]
) -> list[Pair]:
    """Asserts that a token bound to `own` cannot; the requests that were compared."""
    none = nobody()
    bound = await world.client_of(*scopes, bound=True)
    pairs = pairs_of(world, operation, other, none)
    for what, theirs, nobodys in pairs:
        seen = await world.outcome(theirs, bound, other)
        expected = await world.outcome(nobodys, bound, none)
        assert seen == expected, what
        assert expected["statements"], what
        needed = operation.scope_of(bound=True)
        assert (seen["status"] == 403) == (needed not in {None, *scopes}), what
    return pairs


@pytest.mark.parametrize("operation", _REFERRING, ids=lambda one: one.name)
async def test_it_is_as_if_it_did_not_exist(
    world: World, any_scope: None, operation: Operation
) -> None:
    other = world.other if operation.is_safe else await world.somebody()
    pairs = await tell_apart(world, operation, other, BOUND_SCOPES)
    if operation.scope not in BOUND_SCOPES:
        # No such token can be made; the walls behind the scope are tried with it all the same.
        await tell_apart(world, operation, other, BOUND_SCOPES | {operation.scope or ""})
    else:
        bound = await world.client_of(*BOUND_SCOPES, bound=True)
        mine = whole(operation, world.own.by_id | plain(world.today))
        answer = await world.outcome(mine, bound, world.own)
        assert answer["status"] in (200, 201), f"{operation.name}: {answer['body']}"

    # Which says nothing unless there was something to be found, and it was asked for well.
    none = nobody()
    everything = [pair for pair in pairs if pair[0].startswith("all")]
    for what, theirs, nobodys in everything if operation.is_safe else everything[:1]:
        found = await world.outcome(theirs, world.client, other)
        missing = await world.outcome(nobodys, world.client, none)
        assert found["status"] in (200, 201, 204, 409), f"{operation.name}: {found['body']}"
        assert found["body"] != missing["body"], what


@pytest.mark.parametrize(
    "operation",
    [one for one in _REFERRING if one.scope in BOUND_SCOPES],
    ids=lambda one: one.name,
)
async def test_our_own_wall_stands_alone(
    world: World, without_row_security: None, operation: Operation
) -> None:
    """The same with the database's row security taken away, as it stands after the tests above."""
    await tell_apart(world, operation, world.other, BOUND_SCOPES)


@pytest.mark.parametrize("operation", _ALL, ids=lambda one: one.name)
def test_nothing_that_names_something_is_left_out(operation: Operation) -> None:
    """By the names of parameters and fields, where the test above goes by their schemas."""
    if operation.is_open:
        assert operation.name in OPEN
        return
    tried = {(one.place, one.path) for one in operation.references()}
    for place, path in operation.leaves():
        name = next(str(step) for step in reversed(path) if isinstance(step, str))
        if place == "path":
            assert name in SHARED or (place, path) in tried
        elif name.rpartition("_")[2] in _NAMES_SOMETHING and name not in _DATA:
            assert (place, path) in tried, f"{operation.name}: {path} is not tried"
