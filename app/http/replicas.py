"""Reads that a replica answers, and the positions by which a caller reads its own writes."""

from starlette.requests import Request

from app.store import replica
from app.store.database import Database

POSITION = "X-Assistenza-Position"


def database_of(request: Request) -> Database:
    """Where a request reads: the primary, unless `choose` has chosen a replica."""
    chosen: Database | None = request.scope["state"].get("database")
    return chosen or request.app.state.database


def databases_of(request: Request) -> list[Database]:
    """Where an answer is read that begins after the route has answered: in this order."""
    primary: Database = request.app.state.database
    chosen = database_of(request)
    return [primary] if chosen is primary else [chosen, primary]


async def choose(request: Request) -> replica.Replica | None:
    """The replica, if there is one and it may answer; the request reads there from now on."""
    one: replica.Replica | None = request.app.state.replica
    if one is None:
        return None
    sent = request.headers.get(POSITION)
    position = None
    if sent is not None:
        # What we did not give out is answered by the primary, which lacks nothing.
        position = replica.parse(sent)
        if position is None:
            return None
    if not await one.serves(position):
        return None
    request.scope["state"]["database"] = one.database
    return one


def choose_primary(request: Request) -> None:
    """Read on the primary, after the replica could not answer."""
    request.scope["state"].pop("database", None)
