"""Failures of the database, as errors of the service."""

from collections.abc import Callable, Iterator

import asyncpg
import structlog
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.errors import (
    AlreadyExists,
    AlreadyRenewed,
    ServiceError,
    ServiceUnavailable,
    Shortage,
    invalid,
)
from app.store.tables import cases, metadata

log = structlog.get_logger(__name__)

# The error of each violated constraint. A constraint that is not listed guards against mistakes of
# our own, so its violation is an internal error.
_CONSTRAINTS: dict[str, Callable[[], ServiceError]] = {
    "uq_customers_code": lambda: AlreadyExists("code"),
    "uq_external_refs_system_ref": lambda: AlreadyExists("external_refs"),
    "ex_licences_holder": lambda: AlreadyExists("serial_number"),
    "uq_contracts_number": lambda: AlreadyExists("number"),
    "uq_ticket_packs_number": lambda: AlreadyExists("number"),
    "uq_contracts_renews": AlreadyRenewed,
    "ck_licences_withdrawn_on": lambda: invalid("/withdrawn_on", "wrong_order"),
    # A call that has ended is completed by a later beginning.
    "ck_calls_period": lambda: invalid("/started_at", "wrong_order"),
}

# Keys of rows whose number or id the database draws itself. Their violation means that a sequence
# is behind the data, as after a promotion that lost its last steps.
_DRAWN = {f"uq_{cases.name}_number"} | {
    f"pk_{table.name}"
    for table in metadata.tables.values()
    if any(column.identity is not None for column in table.primary_key)
}
_UNIQUE_VIOLATION, _SEQUENCE_EXHAUSTED, _DISK_FULL = "23505", "2200H", "53100"
_SYSTEM_ERROR = "58"  # the class of input and output that fail

FAILURES = (
    DBAPIError,
    PoolTimeoutError,
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    AsyncAdapt_asyncpg_dbapi.Error,
)
"""Everything that the database can cause. SQLAlchemy does not wrap the last four while it connects.
A TimeoutError is an OSError."""

_UNAVAILABLE = (
    asyncpg.PostgresConnectionError,
    # Starting, stopping, cancelled by a timeout, dropped under our feet.
    asyncpg.OperatorInterventionError,
    # Too many connections, no memory, no disk; input and output that fail.
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    # Deadlocks and serialization failures.
    asyncpg.TransactionRollbackError,
    # Waited too long for a lock; a database that takes no connections.
    asyncpg.ObjectNotInPrerequisiteStateError,
    # A database or a password that was changed while we run.
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,
    # Prepared before a migration: the next try prepares anew.
    asyncpg.InvalidCachedStatementError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    PoolTimeoutError,
    OSError,
)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    # With asyncpg the error that names the constraint is the cause of the driver's wrapper.
    while error is not None:
        yield error
        error = (error.orig if isinstance(error, DBAPIError) else None) or error.__cause__


def is_disconnect(error: BaseException) -> bool:
    """Whether a pooled connection was found to be lost."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


def _shortage(sqlstate: str | None, constraint: str | None) -> Shortage | None:
    if sqlstate == _SEQUENCE_EXHAUSTED:
        return "sequence"
    if sqlstate == _UNIQUE_VIOLATION and constraint in _DRAWN:
        return "sequence"
    if sqlstate is not None and (sqlstate == _DISK_FULL or sqlstate.startswith(_SYSTEM_ERROR)):
        return "disk"
    return None


def error_of(failure: BaseException) -> ServiceError | None:
    """What a failure of the database means to the caller; None for a mistake of our own."""
    for cause in _causes(failure):
        constraint = getattr(cause, "constraint_name", None)
        if (shortage := _shortage(getattr(cause, "sqlstate", None), constraint)) is not None:
            log.error("database_shortage", of=shortage, error=type(cause).__name__, key=constraint)
            return ServiceUnavailable(shortage)
        if constraint in _CONSTRAINTS:
            return _CONSTRAINTS[constraint]()
        if _is_any(cause, _UNAVAILABLE):
            log.warning("unavailable", error=type(cause).__name__)
            return ServiceUnavailable()
    return None


def _is_any(error: BaseException, kinds: tuple[type[BaseException], ...]) -> bool:
    # asyncpg derives DataError from InterfaceError, but it means a parameter that could not be
    # encoded, which is a mistake of our own.
    return isinstance(error, kinds) and not isinstance(error, asyncpg.DataError)


def explained(failure: BaseException) -> str | None:
    """A failure that the operator can mend, in the database's words; None for a mistake of our own.

    Only a command may show them: they name hosts and roles.
    """
    for cause in _causes(failure):
        if _is_any(cause, (*_UNAVAILABLE, asyncpg.InsufficientPrivilegeError)):
            return " ".join(str(cause).split()) or "it did not answer in time"
    return None
