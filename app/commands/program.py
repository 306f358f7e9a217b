"""Every command.

The application and the import are loaded by the commands that need them, because that takes longer
than most of the others run.
"""

import asyncio
import gc
import os
import sys
import threading
from contextlib import ExitStack
from importlib.resources import files
from io import TextIOWrapper
from pathlib import Path
from socket import socket
from typing import Annotated, cast

import orjson
import typer

import app as package
from app.commands.after_restore import after_restore
from app.commands.deploy import deploy
from app.commands.events import events
from app.commands.help import HOST, PORT, SETTINGS, WHICH_DATABASE
from app.commands.import_files import import_files
from app.commands.keys import keys
from app.commands.listen import listen
from app.commands.reconcile import reconcile
from app.commands.shared import (
    check_schema,
    embedded,
    failure,
    on_embedded,
    operator_errors,
    quiet_logs,
    screen,
)
from app.http.logs import configure
from app.policy.document import load
from app.services.help_desks import check_default
from app.serving import listening
from app.serving.freezing import pause_collection
from app.settings import Settings
from app.store import addresses, migrations
from app.store.roles import CREATE_DATABASE_IN_PSQL, roles_sql

cli = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Answers what support a customer may use, on what grounds, and how much is left.",
    epilog="Settings are environment variables; `assistenza serve --help` lists them.",
)
cli.add_typer(keys, name="keys")
cli.add_typer(events, name="events")
cli.command("listen", epilog=WHICH_DATABASE)(listen)
cli.command("after-restore", epilog=WHICH_DATABASE)(after_restore)
cli.command("deploy")(deploy)
cli.command("import", epilog=WHICH_DATABASE)(import_files)
cli.command("reconcile", epilog=WHICH_DATABASE)(reconcile)


def run() -> None:
    """Run what the command line names. An error of its output is one line, and none where nobody
    reads it."""
    with ExitStack() as opened:
        # The caller may have closed them.
        sys.stdin = sys.stdin or opened.enter_context(open(os.devnull))
        sys.stdout = sys.stdout or opened.enter_context(open(os.devnull, "w"))
        sys.stderr = sys.stderr or opened.enter_context(open(os.devnull, "w"))
        _run()


def _run() -> None:
    for stream in (sys.stdout, sys.stderr):
        # A terminal that is not UTF-8 cannot show every name.
        cast("TextIOWrapper", stream).reconfigure(errors="backslashreplace")
    try:
        try:
            cli(prog_name="assistenza")
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader has what it wanted, such as `head -1`.
        _discard_output()
        sys.exit(1)
    except OSError as error:
        _discard_output()
        failure(f"{error.filename or 'standard output'}: {error.strerror}")
        sys.exit(1)
    except RuntimeError as error:
        # `--install-completion` writes into the home directory.
        if "--install-completion" not in sys.argv:
            raise
        failure(str(error))
        sys.exit(1)


def _discard_output() -> None:
    """Keep Python from reporting at its end, once more, that standard output takes no more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_version(wanted: bool) -> None:
    if wanted:
        print(package.__version__)
        raise typer.Exit


@cli.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


@cli.command(epilog=SETTINGS)
def serve(
    host: Annotated[
        str, typer.Option(envvar="ASSISTENZA_HOST", help="Address to listen on.")
    ] = HOST,
    port: Annotated[
        int,
        typer.Option(
            envvar="ASSISTENZA_PORT", min=0, max=65535, help="Port to listen on; 0: any free one."
        ),
    ] = PORT,
    demo: Annotated[
        bool, typer.Option("--demo", help="Fill an empty database with examples.")
    ] = False,
) -> None:
    """Serve the API on the database of ASSISTENZA_DATABASE_URL, or on an embedded PostgreSQL.

    On SIGTERM /readyz answers 503; after ASSISTENZA_DRAIN_SECONDS the service accepts no more
    requests, finishes those in progress, stops the embedded database and exits with 0. A second
    signal ends it at once. SIGHUP replaces several workers one by one.
    """
    with operator_errors():
        settings = Settings(host=host, port=port)
        addresses.check(settings)
        configure(settings.log_level, settings.log_format)
        check_default(settings.default_desk, load(settings.policy_dir))
        sockets = listening.passed(os.environ)
        listening.check_ports(settings, sockets)
        if settings.database_url is not None:
            asyncio.run(check_schema(settings))
            _serve(settings, demo, sockets)
            return
        with embedded(settings).serve() as server:
            settings = on_embedded(settings, server)
            asyncio.run(migrations.upgrade_or_accept(settings.migration_database_url))
            threading.Thread(
                target=lambda: asyncio.run(server.watch()), name="database-watch", daemon=True
            ).start()
            _serve(settings, demo, sockets)


def _serve(settings: Settings, demo: bool, sockets: list[socket]) -> None:
    greeting = None
    if demo:
        from app.demo import DemoRefused, prepare

        try:
            greeting = asyncio.run(prepare(settings))
        except DemoRefused as refused:
            raise failure(str(refused)) from refused
        # What the demo left would be frozen with the application.
        gc.collect()
    pause_collection()
    from app.serving.server import serve

    if not serve(settings, greeting, sockets):
        raise typer.Exit(3)


@cli.command(epilog=WHICH_DATABASE)
def migrate() -> None:
    """Migrate the database to this program's schema version.

    On your own PostgreSQL it needs the address of the role that owns the schema,
    ASSISTENZA_MIGRATION_DATABASE_URL. It may run twice at once: the second waits.
    """
    with operator_errors():
        settings = Settings()
        addresses.check(settings)
        quiet_logs(settings)
        url = settings.migration_database_url or settings.database_url
        if url is None:
            with embedded(settings).share() as server:
                url = on_embedded(settings, server).migration_database_url
                asyncio.run(migrations.upgrade(url))
        else:
            asyncio.run(migrations.upgrade(url))
        screen.print(f"The schema is at version {migrations.head()}.")


@cli.command()
def roles() -> None:
    """Print the SQL that creates the service's roles and database on your own PostgreSQL.

    Replace CHANGE-ME-1 and CHANGE-ME-2 by passwords of your own: that of the role that serves, and
    that of the role that owns the schema. Then run the SQL by psql, as a superuser. To run it again
    corrects the roles and sets the passwords anew.
    """
    for statement in roles_sql("CHANGE-ME-1", "CHANGE-ME-2"):
        print(f"{statement};")
    print(CREATE_DATABASE_IN_PSQL)


@cli.command()
def openapi(
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write to this file, which stays as it is if the document cannot be made."
        ),
    ] = None,
) -> None:
    """Print the OpenAPI document."""
    from app.main import create_app

    with operator_errors():
        # Without settings, so that the document is the same on every machine.
        app = create_app(Settings.model_construct(policy_dir=None))
        document = orjson.dumps(
            app.openapi(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        )
    if output is None:
        sys.stdout.buffer.write(document)
    else:
        output.write_bytes(document)


@cli.command()
def agi() -> None:
    """Print a script for Asterisk that asks about callers (AGI)."""
    script = files("app.connectors").joinpath("asterisk.py").read_bytes()
    sys.stdout.buffer.write(script)
