"""The published rules over HTTP (R8, R34-R36, R39)."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date
from pathlib import Path

import httpx
import pytest

import app.policy
from app.policy.document import Policies, load
from tests.conftest import Service

MATRIX, DESKS = "/v1/service-matrix", "/v1/help-desks"


async def test_open_to_any_token_and_to_no_other(service: Service) -> None:
    for url in (MATRIX, DESKS):
        async with await service.client_with() as nobody:
            assert (await nobody.get(url)).status_code == 200
        async with service.client(None) as stranger:
            assert (await stranger.get(url)).status_code == 401


async def test_the_matrix_is_the_policy_document(
    client: httpx.AsyncClient, policies: Policies
) -> None:
    (policy,) = policies.versions
    answer = await client.get(MATRIX)
    matrix = answer.json()
    assert (matrix["policy"], matrix["effective_from"]) == ("progea/2020-01-01", "2020-01-01")
    assert matrix["columns"] == ["NO_DEV", "DEV", "SA", "TCK"]
    assert [row["service"] for row in matrix["services"]] == [row.id for row in policy.services]
    for row, known in zip(matrix["services"], policy.services, strict=True):
        assert row["names"] == known.names.model_dump()
        assert row["channel"] == known.channel
        assert row["cells"] == known.cells.model_dump()
    assert matrix["development"] == {"months": 12, "transfer_counts_as_purchase": False}
    assert matrix["allowances"] == {
        "free_hours": {"minutes": 300, "months": 12, "anchor": "editor"},
        "contract": {"minutes": 1200, "months": 12},
        "ticket": {"months": 12},
    }
    assert [advice["id"] for advice in matrix["advice"]] == [one.id for one in policy.advice]
    for texts in [*(a["texts"] for a in matrix["advice"]), matrix["sales_contact"]["names"]]:
        assert set(texts) == {"it", "en", "de"}
        assert all(texts.values())
    again = await client.get(MATRIX, headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize(
    ("at", "opened", "changes_at"),
    [
        # A Monday in winter, around lunch: from 12:00 to 14:00 in Italy, 12:30 to 13:30 abroad,
        # 12:00 to 13:00 in Germany.
        ("2026-11-23T11:15:00Z", ["abroad"], ["13:00", "11:30", "12:00"]),
        ("2026-11-23T12:15:00Z", ["de"], ["13:00", "12:30", "16:00"]),
        ("2026-11-23T13:30:00+01:00", ["abroad", "de"], ["13:00", "16:30", "16:00"]),
        # The Immaculate Conception is a holiday in Italy and Ticino, not in Germany.
        ("2026-12-08T09:00:00Z", ["de"], ["07:30", "07:30", "11:00"]),
    ],
)
async def test_the_desks_and_their_hours(
    client: httpx.AsyncClient, at: str, opened: list[str], changes_at: list[str]
) -> None:
    items = (await client.get(DESKS, params={"at": at})).json()["items"]
    assert [desk["id"] for desk in items] == ["it", "abroad", "de"]
    assert [desk["id"] for desk in items if desk["open"]] == opened
    assert [desk["changes_at"][11:16] for desk in items] == changes_at


async def test_a_desk_says_all_that_a_caller_needs(client: httpx.AsyncClient) -> None:
    answer = await client.get(DESKS, params={"at": "2026-11-23T10:00:00Z"})
    italian, _, german = answer.json()["items"]
    assert italian == {
        "id": "it",
        "names": {"it": "Supporto Italia", "en": "Support Italy", "de": "Support Italien"},
        "phone": "+39059454224",
        "language": "it",
        "time_zone": "Europe/Rome",
        "weekdays": ["monday", "tuesday", "wednesday", "thursday", "friday"],
        "hours": [
            {"opens": "08:30", "closes": "12:00"},
            {"opens": "14:00", "closes": "17:30"},
        ],
        "calendar": {"country": "IT", "subdivision": None},
        "tariff": None,
        "open": True,
        "changes_at": "2026-11-23T11:00:00Z",
        "closure": None,
    }
    tariff = german["tariff"]
    assert (tariff["amount"], tariff["currency"], tariff["per_minutes"]) == ("1.49", "EUR", 1)
    kept = {"If-None-Match": answer.headers["ETag"]}
    later = {"at": "2026-11-23T10:59:59Z"}
    assert (await client.get(DESKS, params=later, headers=kept)).status_code == 304


@pytest.mark.parametrize("at", ["2026-11-23", "2026-11-23T10:00:00", "1989-12-31T00:00:00Z", "now"])
async def test_an_instant_is_one(client: httpx.AsyncClient, at: str) -> None:
    for url in (MATRIX, DESKS):
        answer = await client.get(url, params={"at": at})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "query/at"


async def test_at_both_ends_of_the_calendar(client: httpx.AsyncClient) -> None:
    for at in ("1990-01-01T00:00:00Z", "2199-12-31T23:59:59Z"):
        for url in (MATRIX, DESKS):
            assert (await client.get(url, params={"at": at})).status_code == 200


@pytest.fixture
async def two_versions(
    tmp_path: Path, new_service: Callable[..., Awaitable[Service]]
) -> AsyncIterator[httpx.AsyncClient]:
    text = (Path(app.policy.__file__).parent / "progea.toml").read_text("utf-8")
    (tmp_path / "a.toml").write_text(text, "utf-8")
    newer = text.replace("effective_from = 2020-01-01", "effective_from = 2027-01-01")
    (tmp_path / "b.toml").write_text(newer.replace("minutes = 300", "minutes = 240"), "utf-8")
    service = await new_service()
    service.app.state.policies = load(tmp_path)
    async with await service.client_with() as client:
        yield client


async def test_the_version_in_force_by_the_calendar_of_rome(
    two_versions: httpx.AsyncClient,
) -> None:
    first_day = date(2027, 1, 1)
    for at, minutes, since in [
        ("2026-12-31T22:59:59Z", 300, "2020-01-01"),
        ("2026-12-31T23:00:00Z", 240, str(first_day)),
        ("2019-06-01T00:00:00Z", 300, "2020-01-01"),
    ]:
        matrix = (await two_versions.get(MATRIX, params={"at": at})).json()
        assert matrix["allowances"]["free_hours"]["minutes"] == minutes
        assert matrix["effective_from"] == since
