"""The statements that a case takes, by PostgreSQL's own load generator.

They are the service's, captured while it opens a case, logs time on it and closes it, with BEGIN
and COMMIT where it sends them. Only ids and instants change: pgbench counts its cases and takes
customers in turn, as the load on the service does.
"""

import re
import subprocess
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from tests.benchmarks.load import Sample, customer_id, sample_of
from tests.benchmarks.seen import Sent, Watched
from tests.benchmarks.working import Step, closing, logging, opening

_COUNTER = """\\set i :i + 1
\\set c :first + (:i * :clients + :client_id) % :customers
"""
_CASE, _ENTRY = (
    f"('{kind}-' || lpad(:client_id::text, 4, '0') || '-7000-8000-' || lpad(:i::text, 12, '0'))"
    "::uuid"
    for kind in ("019c0000", "019d0000")
)
_CUSTOMER, _CONTRACT = (
    f"('019a0000-000{kind}-7000-8000-' || lpad(:c::text, 12, '0'))::uuid" for kind in (0, 2)
)
_PARAMETER = re.compile(r"\$(\d+)")


def contract_id(customer: int) -> str:
    """The id of the contract that `busy` gives to a customer."""
    return customer_id(customer).replace("-0000-", "-0002-", 1)


@dataclass
class Captured:
    """What the three calls send for a case that a contract pays, and the ids in it."""

    customer: int
    sent: dict[Step, list[Sent]] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    def scripts(self) -> dict[Step, str]:
        """For pgbench: one for each call, and the three as one cycle."""
        texts: dict[Step, str] = {
            step: "".join(_line(statement, self.ids) for statement in statements)
            for step, statements in self.sent.items()
        }
        texts["cycle"] = "".join(texts.values())
        return {step: _COUNTER + text for step, text in texts.items()}


async def capture(service: Watched, customer: int) -> Captured:
    # Once before, so that nothing is seen but what every call sends.
    for _ in range(2):
        case, opened = await service.ask("POST", *opening(customer))
        entry, logged = await service.ask("POST", *logging(case["id"]))
        _, closed = await service.ask("POST", *closing(case["id"]))
    return Captured(
        customer,
        {"open": opened, "log": logged, "close": closed},
        {
            customer_id(customer): _CUSTOMER,
            contract_id(customer): _CONTRACT,
            case["id"]: _CASE,
            entry["id"]: _ENTRY,
        },
    )


def _line(statement: Sent, ids: dict[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        return _literal(statement.parameters[int(match[1]) - 1], ids)

    return f"{' '.join(_PARAMETER.sub(value, statement.text).split())};\n"


def _literal(value: Any, ids: dict[str, str]) -> str:
    match value:
        case None:
            return "NULL"
        case bool() | int():
            return str(value)
        case datetime():
            return "now()"
        case date():
            return f"'{value}'"
        case bytes():
            return f"E'\\\\x{value.hex()}'"
    text = str(value)
    if text in ids:
        return ids[text]
    # A colon would begin one of pgbench's variables.
    for character, escape in (("\\", "\\\\"), ("'", "''"), (":", "\\x3A"), (" ", "\\x20")):
        text = text.replace(character, escape)
    return f"E'{text}'"


@dataclass
class Generator:
    """pgbench on one database; `start` counts on, so that no id is used twice."""

    program: str
    directory: Path
    url: str
    scripts: dict[Step, str]
    first: int
    customers: int

    def run(self, step: Step, connections: int, calls: int, start: int, *, shared: bool) -> Sample:
        """`calls` on each connection, prepared."""
        script = self.directory / f"{step}.sql"
        script.write_text(self.scripts[step])
        log = self.directory / "pgbench"
        variables = {
            "i": start,
            "clients": connections,
            "first": self.first,
            "customers": 1 if shared else self.customers,
        }
        done = subprocess.run(
            [
                self.program,
                *("--no-vacuum", "--protocol=prepared", "--log", f"--log-prefix={log}"),
                *(f"--client={connections}", f"--transactions={calls}", f"--file={script}"),
                *(f"--define={name}={number}" for name, number in variables.items()),
                self.url,
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if done.returncode:
            raise RuntimeError(f"pgbench ended with {done.returncode}:\n{done.stderr[-2000:]}")
        times: list[float] = []
        for file in self.directory.glob("pgbench.*"):
            # client, transaction, microseconds, …
            times += [int(line.split()[2]) / 1000 for line in file.read_text().splitlines()]
            file.unlink()
        rate = re.search(r"tps = ([\d.]+)", done.stdout)
        if rate is None or len(times) != calls * connections:
            raise RuntimeError(f"pgbench did not finish:\n{done.stdout}{done.stderr[-2000:]}")
        return sample_of(times, len(times) / float(rate[1]), {})
