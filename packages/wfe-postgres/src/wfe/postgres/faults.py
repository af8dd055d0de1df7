"""What the driver's errors mean."""

from __future__ import annotations

from typing import Final

import psycopg
from psycopg import errors

from wfe.core.errors import (
    ProviderError,
    StoreCorruptError,
    StoreFullError,
    StoreUnavailableError,
    StoreVersionError,
)

__all__ = [
    "denied",
    "is_bad_data",
    "is_demoted",
    "is_rival",
    "is_unique",
    "lost",
    "newer",
    "translate",
]

_PROVIDER: Final = "postgres"
# serialization failure, deadlock, lock not available: the same again may succeed.
_RIVALS: Final = (errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable)
_FULL: Final = (errors.DiskFull, errors.OutOfMemory, errors.InsufficientResources)
_CORRUPT: Final = (errors.DataCorrupted, errors.IndexCorrupted)
_READ_ONLY: Final = (errors.ReadOnlySqlTransaction, errors.CannotConnectNow)
# Statements that another client prepared on the same connection, or that were prepared on another.
_SHARED: Final = (errors.DuplicatePreparedStatement, errors.InvalidSqlStatementName)
_OPTIONS: Final = "unsupported startup parameter"
_PROXY: Final = (
    "behind a proxy that shares connections between transactions, as PgBouncer does, add"
    " ?prepare=off&notify=off, and have it ignore what it does not know"
    " (ignore_startup_parameters = options)"
)
_DENIED: Final = (
    errors.InvalidPassword,
    errors.InvalidAuthorizationSpecification,
    errors.InvalidCatalogName,
    errors.InsufficientPrivilege,
)


def is_rival(error: BaseException) -> bool:
    """Whether another transaction was in the way, so that the same again may succeed."""
    return isinstance(error, _RIVALS)


def is_demoted(error: BaseException) -> bool:
    """Whether the server takes no writes, so that a new connection may lead to one that does."""
    return isinstance(error, _READ_ONLY)


def is_unique(error: BaseException) -> bool:
    """Whether something exists already."""
    return isinstance(error, errors.UniqueViolation)


def is_bad_data(error: BaseException) -> bool:
    """Whether a value cannot be stored, whatever is done."""
    return isinstance(
        error, (psycopg.DataError, errors.ProgramLimitExceeded, errors.IntegrityError)
    ) and not is_unique(error)


def lost(error: BaseException) -> bool:
    """Whether the connection is gone, so that nobody knows what the server has done."""
    if isinstance(error, (errors.AdminShutdown, errors.CrashShutdown, errors.IdleSessionTimeout)):
        return True
    if isinstance(error, psycopg.OperationalError):
        return error.sqlstate is None or error.sqlstate.startswith("08")
    return isinstance(error, psycopg.InterfaceError)


def newer(where: str, *, needs: int, ours: int) -> StoreVersionError:
    """Return the error about tables that only a later version can read."""
    problem = (
        f"the tables in {where} need schema {needs} or later, this version knows {ours};"
        " install a later wfe-postgres"
    )
    return StoreVersionError(_PROVIDER, problem)


def denied(place: str, error: psycopg.Error) -> StoreUnavailableError:
    """Return the error about a role that may not use the tables, or make them."""
    said = error.diag.message_primary or str(error).strip()
    problem = (
        f"the role may not make or use the tables in {place}: {said}; grant it CREATE on the"
        " schema, or make them as another role and grant it all on these tables and sequences"
    )
    return StoreUnavailableError(_PROVIDER, problem, transient=False)


def translate(error: Exception, where: str, *, sent: bool = True) -> ProviderError:
    """Return our error for the driver's *error*.

    Args:
        error: What the driver raised.
        where: The database, without its password.
        sent: Whether a statement that changes something may have reached the server.
    """
    said = str(error).strip().partition("\n")[0]
    if isinstance(error, _SHARED) or _OPTIONS in said:
        problem = f"{where}: {said}; {_PROXY}"
        return ProviderError(_PROVIDER, problem, transient=False)
    if isinstance(error, _FULL):
        problem = f"the server of {where} has no room ({said}); what was acknowledged is safe"
        return StoreFullError(_PROVIDER, problem)
    if isinstance(error, _CORRUPT):
        return StoreCorruptError(_PROVIDER, f"{where} is damaged: {said}; restore a backup")
    if isinstance(error, _READ_ONLY):
        problem = f"{where} takes no writes now ({said}); is it a standby, or just starting?"
        return StoreUnavailableError(_PROVIDER, problem)
    if isinstance(error, _DENIED):
        problem = f"{where} does not let us in: {said}"
        return StoreUnavailableError(_PROVIDER, problem, transient=False)
    if lost(error) or isinstance(error, OSError):
        problem = f"no connection to {where}: {said or type(error).__name__}"
        return StoreUnavailableError(_PROVIDER, problem, unknown=sent)
    if isinstance(error, psycopg.OperationalError) or is_rival(error):
        return StoreUnavailableError(_PROVIDER, f"{where} refuses now: {said}")
    return ProviderError(_PROVIDER, f"{where}: {said}", transient=False)
