"""A service with files to import into it."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from app.importing import prepare, run
from app.settings import Settings
from tests.conftest import Service


class Outcome(NamedTuple):
    well: bool
    bad: list[str]
    """What is wrong, a line each: `file:line: column: reason`."""
    said: str


class Importer:
    """Runs `assistenza import` as the role that serves, without its process."""

    def __init__(
        self,
        service: Service,
        client: httpx.AsyncClient,
        folder: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self.service = service
        self.client = client
        self.folder = folder
        self._capsys = capsys

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    async def __call__(
        self,
        *,
        mapping: Sequence[str] = (),
        ignore_unknown: bool = False,
        dry_run: bool = False,
        batches: bool = False,
        settings: Mapping[str, Any] | None = None,
        **files: str | bytes,
    ) -> Outcome:
        """Import texts of files, by name; refused ones raise FileRefused."""
        paths = [self.write(f"{name}.csv", text) for name, text in files.items()]
        server = self.service.server
        url = server.url(self.service.database_name, server.login)
        self._capsys.readouterr()
        chosen = Settings(database_url=url, **settings or {})
        sources = prepare(paths, mapping, ignore_unknown, chosen.import_max_bytes)
        well = await run(chosen, sources, dry_run=dry_run, batches=batches)
        out, err = self._capsys.readouterr()
        folder = f"{self.folder}/"
        return Outcome(well, out.replace(folder, "").splitlines(), err.replace(folder, ""))

    async def get(self, path: str) -> Any:
        answer = await self.client.get(f"/v1/{path}")
        return answer.json() if answer.status_code == 200 else None

    async def committed(self, codes: str) -> list[int]:
        """How many customers with such codes (LIKE) each transaction created, the first first."""
        rows = await self.service.server.run_in(
            self.service.database_name,
            """SELECT count(*) AS customers FROM customers WHERE code LIKE $1
            GROUP BY xmin ORDER BY min(id::text)""",
            codes,
        )
        return [row["customers"] for row in rows]

    async def events(self) -> list[tuple[str, str, str]]:
        """Type, actor and data of all, in their order."""
        rows = await self.service.server.run_in(
            self.service.database_name,
            "SELECT type, actor, data::text AS data FROM events ORDER BY id",
        )
        return [(row["type"], row["actor"], row["data"]) for row in rows]


@pytest.fixture
def importer(
    service: Service,
    client: httpx.AsyncClient,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Importer:
    return Importer(service, client, tmp_path, capsys)


def table(header: str, *rows: Sequence[object]) -> str:
    """A CSV file of a header and rows; None is an empty cell."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(header.split(","))
    writer.writerows([["" if cell is None else cell for cell in row] for row in rows])
    return buffer.getvalue()
