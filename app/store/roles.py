"""The database roles of the service: the same on the embedded server and on any other.

| role                 | what it is                                                              |
|----------------------|-------------------------------------------------------------------------|
| `assistenza_owner`   | logs in to migrate; owns the database; may grant the two group roles    |
| `assistenza`         | logs in to serve; has the rights of `assistenza_app`, may step down to  |
|                      | `assistenza_bound`                                                      |
| `assistenza_app`     | group: what serving needs                                               |
| `assistenza_bound`   | group: one customer's rows only (R38); taken by SET ROLE, never inherited |
| `assistenza_switch`  | between `assistenza` and `assistenza_bound`: because it is NOINHERIT,   |
|                      | `assistenza` may SET ROLE but does not inherit the row filters          |

From PostgreSQL 16 on, `GRANT … WITH INHERIT FALSE` could replace `assistenza_switch`. PostgreSQL 15
has inheritance only as an attribute of the member role, so a separate role works on 15 to 18.
"""

DATABASE = "assistenza"
OWNER = "assistenza_owner"
CREATE_DATABASE_IN_PSQL = (
    f"SELECT 'CREATE DATABASE {DATABASE} OWNER {OWNER}'"
    f" WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{DATABASE}') \\gexec"
)
"""Creates the database unless it exists. CREATE DATABASE has no IF NOT EXISTS, and runs in no
block of PL/pgSQL, so psql must run it."""
LOGIN = "assistenza"
APP = "assistenza_app"
BOUND = "assistenza_bound"
SWITCH = "assistenza_switch"


def roles_sql(app_password: str, owner_password: str) -> list[str]:
    """Statements that create the roles, or correct existing ones, for PostgreSQL 15 to 18.

    Run them in order in one transaction, as a superuser or another role that may create roles. They
    do not create the database: `CREATE DATABASE assistenza OWNER assistenza_owner` does. Raises
    ValueError if a password contains a backslash or a NUL.
    """
    return [
        *(_create(role) for role in (OWNER, LOGIN, APP, BOUND, SWITCH)),
        f"ALTER ROLE {OWNER} LOGIN CREATEROLE INHERIT PASSWORD {_literal(owner_password)}",
        f"ALTER ROLE {LOGIN} LOGIN NOCREATEROLE INHERIT PASSWORD {_literal(app_password)}",
        # The owner may grant the groups but must not inherit their row filters. On 15 it needs no
        # membership, because CREATEROLE suffices to grant them; a membership would be inherited.
        (
            "DO $$ BEGIN IF current_setting('server_version_num')::int >= 160000 THEN"
            f" EXECUTE 'GRANT {APP}, {BOUND} TO {OWNER} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE';"
            " END IF; END $$"
        ),
        f"GRANT {BOUND} TO {SWITCH}",
        f"GRANT {APP}, {SWITCH} TO {LOGIN}",
    ]


def _create(role: str) -> str:
    # From 16 on a grant copies the member's INHERIT when it is made: so NOINHERIT from the start.
    inherit = "NOINHERIT" if role == SWITCH else "INHERIT"
    return (
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN"
        f" CREATE ROLE {role} NOLOGIN {inherit}; END IF; END $$"
    )


def _literal(text: str) -> str:
    if "\\" in text or "\0" in text:
        raise ValueError("a password must not contain a backslash or a NUL")
    return "'" + text.replace("'", "''") + "'"
