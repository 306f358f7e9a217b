"""What the database's refusals and failures mean to a caller."""

from collections.abc import Callable, Iterator

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.http.problems import (
    AlreadyExists,
    AlreadyRenewed,
    Problem,
    ServiceUnavailable,
    invalid,
)

# A violated constraint's own error. Those not here are guards against our own mistakes: they
# come out as internal errors, and are meant to.
_CONSTRAINTS: dict[str, Callable[[], Problem]] = {
    "uq_customers_code": lambda: AlreadyExists("code"),
    "uq_external_refs_system_ref": lambda: AlreadyExists("external_refs"),
    "uq_licences_serial_number": lambda: AlreadyExists("serial_number"),
    "uq_contracts_number": lambda: AlreadyExists("number"),
    "uq_ticket_packs_number": lambda: AlreadyExists("number"),
    "uq_contracts_renews": AlreadyRenewed,
    "ck_licences_withdrawn_on": lambda: invalid("/withdrawn_on", "out_of_range"),
    "ck_contracts_cancelled_on": lambda: invalid("/cancelled_on", "out_of_range"),
}

_UNAVAILABLE = (
    asyncpg.PostgresConnectionError,
    asyncpg.TooManyConnectionsError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.InsufficientResourcesError,
    PoolTimeoutError,
    TimeoutError,
    OSError,
)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    # With asyncpg the error that names the constraint is the cause of the driver's wrapper.
    while error is not None:
        yield error
        error = (error.orig if isinstance(error, DBAPIError) else None) or error.__cause__


def is_disconnect(error: DBAPIError) -> bool:
    return error.connection_invalidated


def problem_of(error: BaseException) -> Problem | None:
    """The problem that a failure of the database is to the caller; None for our own mistakes."""
    for cause in _causes(error):
        constraint = getattr(cause, "constraint_name", None)
        if constraint in _CONSTRAINTS:
            return _CONSTRAINTS[constraint]()
        if isinstance(cause, _UNAVAILABLE):
            return ServiceUnavailable()
    return None
