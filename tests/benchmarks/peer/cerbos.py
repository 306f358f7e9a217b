"""Cerbos, a server of policies: it answers what a customer may use from facts in the question.

It has no database. Its defaults, with its policies on disk and its statistics not sent home.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import orjson

from tests.benchmarks.common import free_port, program
from tests.benchmarks.load import HOST, customer_id
from tests.benchmarks.peer import Unavailable

_POLICIES = Path(__file__).parent / "cerbos_policies"
_ACTIONS = (
    "web_forum",
    "web_support_portal",
    "support_downloads",
    "email_support",
    "phone_support",
    "remote_access",
    "priority_support",
    "editor_upgrades",
)


@contextmanager
def serve(logs: Path, binary: Path | None) -> Iterator[tuple[int, int]]:
    """Its port and process."""
    if binary is None:
        raise Unavailable("--cerbos does not name its program")
    port = free_port()
    settings = {
        "server.httpListenAddr": f"{HOST}:{port}",
        "server.grpcListenAddr": f"{HOST}:{free_port()}",
        "storage.driver": "disk",
        "storage.disk.directory": str(_POLICIES),
        "telemetry.disabled": "true",
    }
    command = [str(binary), "server", *(f"--set={name}={to}" for name, to in settings.items())]
    try:
        with program(logs, port, "/_cerbos/health", command, None, {}) as pid:
            yield port, pid
    except OSError as error:
        raise Unavailable(str(error)) from error


def questions(today: date, count: int) -> list[str]:
    """Requests from their `Content-Length` on: customers with an Editor, contracts and tickets as
    `fill` gives them, each asked about every service."""
    rest = []
    for number in range(1, count + 1):
        body = orjson.dumps(
            {
                "principal": {"id": "benchmark", "roles": ["desk"]},
                "resources": [
                    {
                        "actions": _ACTIONS,
                        "resource": {
                            "kind": "customer",
                            "id": customer_id(number),
                            "attr": _facts(today, random.Random(number)),
                        },
                    }
                ],
            }
        ).decode()
        rest.append(f"Content-Length: {len(body)}\r\n\r\n{body}")
    return rest


def head(port: int) -> str:
    return (
        f"POST /api/check/resources HTTP/1.1\r\nHost: {HOST}:{port}\r\n"
        "Content-Type: application/json\r\n{value}"
    )


def _facts(today: date, chance: random.Random) -> dict[str, Any]:
    def ago(days: int) -> str:
        return str(today - timedelta(days=chance.randrange(days)))

    def ahead(days: int) -> str:
        return str(today + timedelta(days=chance.randrange(-days // 4, days)))

    contracts = [
        {"starts_on": ago(330), "ends_on": ahead(365), "minutes_left": chance.randrange(1200)}
        for _ in range(2 if chance.random() < 0.6 else 0)
    ]
    packs = [
        {"purchased_on": ago(400), "expires_on": ahead(365), "left": chance.randrange(5)}
        for _ in range(chance.random() < 0.5)
    ]
    return {
        "today": str(today),
        "editor_purchased_on": ago(700) if chance.random() < 0.9 else "",
        "development_ends_on": ahead(365),
        "free_hours_end_on": ahead(365),
        "free_minutes_left": chance.randrange(300),
        "contracts": contracts,
        "packs": packs,
    }
