"""The metadata with its naming convention, and columns and constraints that tables share."""

from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    Uuid,
    func,
    literal_column,
)
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.types import UserDefinedType

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

Instant = DateTime(timezone=True)


class XID8(UserDefinedType[int]):
    """A transaction's 64-bit id, which never wraps around."""

    cache_ok = True

    def get_col_spec(self, **kw: object) -> str:
        return "xid8"


ischema_names.setdefault("xid8", XID8)


def identifier() -> Column[UUID]:
    return Column("id", Uuid, primary_key=True)


def customer_reference(nullable: bool = False) -> Column[UUID]:
    return Column("customer_id", Uuid, ForeignKey("customers.id"), nullable=nullable)


def unique_ignoring_case(table: str, column: str) -> Index:
    # With the collation "C", lower() does not depend on the server's locale (in Turkish the lower
    # case of I is not i).
    return Index(
        f"uq_{table}_{column}",
        func.lower(literal_column(f'{column} COLLATE "C"')),
        unique=True,
    )


def words_index(table: str, words: str) -> Index:
    """The index for a search of the words (`tables.text_search.searched`)."""
    return Index(
        f"ix_{table}_words",
        literal_column(words).label("words"),
        postgresql_using="gin",
        postgresql_ops={"words": "gin_trgm_ops"},
    )


def within_customer(table: str, key: str, column: str | None = None) -> ForeignKeyConstraint:
    """A foreign key that includes customer_id: the row it refers to has the same customer.

    A merge of two customers defers it until all their rows have moved (R49).
    """
    return ForeignKeyConstraint(
        [column or key, "customer_id"],
        [f"{table}.{key}", f"{table}.customer_id"],
        deferrable=True,
    )


def one_of(column: str, *values: str) -> CheckConstraint:
    allowed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({allowed})", name=column)
