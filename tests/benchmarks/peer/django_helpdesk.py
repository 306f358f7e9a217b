"""django-helpdesk, served by gunicorn with one worker, asked by its REST interface."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.common import free_port, program
from tests.benchmarks.load import HOST
from tests.benchmarks.peer import Tracker, Unavailable, libpq_environment, prepare
from tests.benchmarks.working import Call, Calls

_PROJECT = Path(__file__).parent / "helpdesk_project"
# A follow-up that is not public: no mail is made for the customer.
_REQUESTS = Calls(
    open=Call.of(
        "/api/tickets/",
        {
            "queue": 1,
            "title": "The recipe is not stored",
            "description": "After the update the recipe of line 2 is gone when the panel restarts.",
            "submitter_email": "requester{n}@example.com",
            "priority": 3,
        },
    ),
    log=Call.of(
        "/api/followups/",
        {
            "ticket": "{case}",
            "user": 1,
            "title": "Work",
            "comment": "Found in the project's log.",
            "public": False,
            "time_spent": "00:15:00",
        },
    ),
    close=Call.of(
        "/api/followups/",
        {
            "ticket": "{case}",
            "user": 1,
            "title": "Closed",
            "comment": "Solved by the next version.",
            "public": False,
            "new_status": 4,
        },
    ),
)


@contextmanager
def serve(logs: Path, url: str, environment: Path | None) -> Iterator[Tracker]:
    """On the empty database `url`, from the virtual environment `environment`."""
    if environment is None:
        raise Unavailable("--helpdesk does not name its virtual environment")
    python = (environment / "bin" / "python").absolute()
    if not python.exists():
        raise Unavailable(f"there is no {python}")
    variables = {
        **libpq_environment(url),
        "PYTHONPATH": str(_PROJECT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "DJANGO_SETTINGS_MODULE": "settings",
        "BENCHMARK_SECRET_KEY": secrets.token_hex(25),
    }
    for arguments in (
        ("migrate", "--verbosity=0"),
        ("loaddata", "--verbosity=0", "emailtemplate.json"),
        ("loaddata", "--verbosity=0", str(_PROJECT / "desk.json")),
    ):
        prepare([python, "-m", "django", *arguments], logs, variables)
    port = free_port()
    command = [
        *(str(python), "-m", "gunicorn", "django.core.wsgi:get_wsgi_application()"),
        *("--workers=1", "--preload", f"--bind={HOST}:{port}", "--access-logfile=-"),
        # Unlike the default kind of worker, this one keeps connections.
        *("--worker-class=gthread", "--threads=4"),
    ]
    with program(logs, port, "/login/", command, logs, variables) as pid:
        credentials = "Authorization: Token benchmark"
        yield Tracker("django-helpdesk", port, pid, credentials, _REQUESTS, "/api/tickets/{value}/")
