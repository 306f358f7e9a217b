"""The database roles of the service, created the same way on its own server and on another's.

| role                 | what it is                                                              |
|----------------------|-------------------------------------------------------------------------|
| `assistenza_owner`   | logs in to migrate; owns the database; may grant the two group roles    |
| `assistenza`         | logs in to serve; has the rights of `assistenza_app`, may step down to  |
|                      | `assistenza_bound`                                                      |
| `assistenza_app`     | group: what serving needs                                               |
| `assistenza_bound`   | group: one customer's rows only (R38); taken by SET ROLE, never inherited |
| `assistenza_switch`  | stands between `assistenza` and `assistenza_bound`: being NOINHERIT, it |
|                      | lets SET ROLE through and the row filters not                           |

PostgreSQL 16 could say the last with `GRANT … WITH INHERIT FALSE`; 15 knows inheritance only as
an attribute of the member, and a member role says it alike on all of 15 to 18.
"""

DATABASE = "assistenza"
OWNER = "assistenza_owner"
LOGIN = "assistenza"
APP = "assistenza_app"
BOUND = "assistenza_bound"
SWITCH = "assistenza_switch"


def roles_sql(app_password: str, owner_password: str) -> list[str]:
    """Statements that create the roles, or mend them where they exist; for PostgreSQL 15 to 18.

    To be run in order, in one transaction, as a superuser (or another role that may create roles).
    The database is not created: that is `CREATE DATABASE assistenza OWNER assistenza_owner`.
    """
    return [
        *(_create(role) for role in (OWNER, LOGIN, APP, BOUND, SWITCH)),
        f"ALTER ROLE {OWNER} LOGIN CREATEROLE INHERIT PASSWORD {_literal(owner_password)}",
        f"ALTER ROLE {LOGIN} LOGIN NOCREATEROLE INHERIT PASSWORD {_literal(app_password)}",
        _let_owner_grant(),
        f"GRANT {BOUND} TO {SWITCH}",
        f"GRANT {APP}, {SWITCH} TO {LOGIN}",
    ]


def _create(role: str) -> str:
    # From 16 on a grant remembers what the member was when it was made: NOINHERIT from the start.
    inherit = "NOINHERIT" if role == SWITCH else "INHERIT"
    return (
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN"
        f" CREATE ROLE {role} NOLOGIN {inherit}; END IF; END $$"
    )


def _let_owner_grant() -> str:
    # Without being under the groups' filters itself. In 15 CREATEROLE is enough to grant them, and
    # any membership would be inherited.
    return (
        "DO $$ BEGIN IF current_setting('server_version_num')::int >= 160000 THEN"
        f" EXECUTE 'GRANT {APP}, {BOUND} TO {OWNER} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE';"
        " END IF; END $$"
    )


def _literal(text: str) -> str:
    if "\\" in text or "\0" in text:
        raise ValueError("a password may hold neither a backslash nor a NUL")
    return "'" + text.replace("'", "''") + "'"
