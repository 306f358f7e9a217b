"""The property on which all else rests: what is imported is what the API would have made."""

import json
from datetime import date, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.services.phones import e164
from tests.api.build import made, unique
from tests.importing.conftest import Importer, table

_DAY = date(2026, 1, 1)
_words = st.text(st.sampled_from("aàZ9 ,;\"'|\t\n=ßŁ中😀"), min_size=1, max_size=12).filter(
    lambda text: bool(text.strip())
)
_days = st.integers(0, 800).map(lambda days: str(_DAY - timedelta(days=days)))
_numbers = (
    "+39 059 454224",
    "059 454224",
    "0731/12345",
    "+49 731 12345",
    "+14155550100",
    "031 123456",
)


@st.composite
def _customers(draw: st.DrawFn, country: str) -> dict[str, Any]:
    numbers = [one for one in _numbers if e164(one, country)]
    emails = draw(st.lists(st.sampled_from(["a@example.com", "b@example.com"]), unique=True))
    names = draw(st.lists(_words, max_size=3 - len(emails), unique_by=lambda name: name.casefold()))
    contacts = [
        {
            "name": name,
            "email": email,
            "phones": draw(st.lists(st.sampled_from(numbers), max_size=2, unique=True)),
        }
        for name, email in [(draw(_words), email) for email in emails] + [(n, None) for n in names]
    ]
    return {
        "name": draw(_words),
        "country": country,
        "language": draw(st.sampled_from([None, "it", "en", "de"])),
        "vat_number": draw(st.none() | _words),
        "help_desk": draw(st.sampled_from([None, "it", "abroad"])),
        "external_refs": draw(st.dictionaries(st.sampled_from(["crm", "e.r-p"]), _words)),
        "contacts": draw(st.permutations(contacts)),
    }


_twice = st.sampled_from(["IT", "DE", "US"]).flatmap(
    lambda country: st.tuples(_customers(country), _customers(country))
)
_licences = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["editor", "runtime", "other"]),
        "product": _words,
        "version": _words,
        "purchased_on": _days,
    }
)
_contracts = st.fixed_dictionaries(
    {"starts_on": _days, "included_minutes": st.none() | st.integers(1, 5000)}
)
_packs = st.fixed_dictionaries({"quantity": st.integers(1, 5), "purchased_on": _days})


class Both:
    """The same made twice, by the API and by an import, and compared."""

    def __init__(self, importer: Importer, client: httpx.AsyncClient) -> None:
        self.importer = importer
        self.client = client
        run = unique("x")
        self.api, self.file = f"A{run}", f"F{run}"

    async def bring(self, kind: str, text: str) -> list[str]:
        texts: dict[str, Any] = {kind: text}
        outcome = await self.importer(**texts)
        assert outcome.well or not outcome.said.startswith("the database"), outcome
        return outcome.bad

    async def same(self, path: str) -> None:
        """GETs both and compares them, and what their customers' events say."""
        ours, theirs = [await self._read(path.format(c=c), c) for c in (self.file, self.api)]
        assert ours == theirs

    async def _read(self, path: str, code: str) -> Any:
        body = await self.importer.get(path)
        assert body is not None, path
        return _comparable(body, code)

    async def same_events(self, suffix: str = "") -> None:
        ours, theirs = [await self._events(code, suffix) for code in (self.file, self.api)]
        assert ours == theirs

    async def _events(self, code: str, suffix: str) -> list[Any]:
        service = self.importer.service
        rows = await service.server.run_in(
            service.database_name,
            """SELECT e.type, e.data::text AS data,
                coalesce(l.serial_number, k.number, t.number, c.code) AS subject
            FROM events e JOIN customers c ON c.id = e.customer_id
            LEFT JOIN licences l ON l.id = e.subject_id
            LEFT JOIN contracts k ON k.id = e.subject_id
            LEFT JOIN ticket_packs t ON t.id = e.subject_id
            WHERE c.code = $1 ORDER BY e.id""",
            code,
        )
        return [
            (
                row["type"],
                row["subject"].replace(code, "@"),
                _comparable(json.loads(row["data"]), code),
            )
            for row in rows
        ]


def _comparable(value: Any, code: str) -> Any:
    """Without ids and instants, which differ; they are counted all the same."""
    if isinstance(value, dict):
        return {
            key: "…"
            if key in {"id", "customer_id", "created_at", "updated_at"}
            else _comparable(one, code)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [_comparable(one, code) for one in value]
    if isinstance(value, str):
        return "…" if len(value) == 36 and value.count("-") == 4 else value.replace(code, "@")
    return value


_HEADER = (
    "code,name,country,language,vat_number,help_desk,external_ref:crm,external_ref:e.r-p"
    ",contact_name,contact_email,contact_phone"
)


def _rows(code: str, body: dict[str, Any]) -> list[list[Any]]:
    own = [code, *(body[name] for name in _HEADER.split(",")[1:6])]
    own += [body["external_refs"].get(system) for system in ("crm", "e.r-p")]
    return [
        [*own, one["name"], one["email"], " ; ".join(one["phones"])] for one in body["contacts"]
    ] or [[*own, None, None, None]]


def _values(header: str, record: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(record[name] for name in header.split(",")[2:] if name in record)


_few = settings(
    # Each is a run of the whole command several times over: what fails is shown as it was found.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def anew(importer: Importer, client: httpx.AsyncClient) -> Any:
    return lambda: Both(importer, client)


@_few
@given(customers=st.lists(_twice, min_size=3, max_size=5))
async def test_customers_made_and_changed(
    anew: Any, customers: list[tuple[dict[str, Any], dict[str, Any]]]
) -> None:
    both: Both = anew()
    for step in (0, 1):
        rows: list[tuple[int, list[Any]]] = []
        for number, bodies in enumerate(customers):
            for code in (f"{both.api}-{number}", f"{both.file}-{number}"):
                body = bodies[step]
                refs = {system: f"{code}{ref}" for system, ref in body["external_refs"].items()}
                mine = body | {"external_refs": refs}
                if code.startswith(both.file):
                    rows += enumerate(_rows(code, mine))
                    continue
                answer = await both.client.put(f"/v1/customers/by-code/{code}", json=mine)
                assert answer.is_success, answer.text
        # A customer's rows need not stand together.
        rows.sort(key=lambda row: row[0])
        text = table(_HEADER, *(row for _, row in rows))
        assert await both.bring("customers", text) == []
        for number in range(len(customers)):
            await both.same(f"customers/{{c}}-{number}")
    for number in range(len(customers)):
        await both.same_events(f"-{number}")


@_few
@given(
    licences=st.lists(st.tuples(_licences, _licences, st.none() | _words), min_size=1, max_size=3),
    contracts=st.lists(_contracts, max_size=3),
    packs=st.lists(_packs, max_size=2),
)
async def test_what_customers_own(
    anew: Any,
    licences: list[tuple[Any, ...]],
    contracts: list[dict[str, Any]],
    packs: list[dict[str, Any]],
) -> None:
    both: Both = anew()
    c, client = both.file, both.client
    body = {"name": "Esempio", "country": "IT", "code": both.api}
    owner = {"customer_id": (await made(await client.post("/v1/customers", json=body)))["id"]}
    await both.bring("customers", table("code,name,country", (c, "Esempio", "IT")))

    header = "customer_code,serial_number,kind,product,version,purchased_on"
    withdrawn_on = str(_DAY + timedelta(days=5000))
    for step in (0, 1):
        for number, licence in enumerate(licences):
            path = f"/v1/licences/by-serial/{both.api}-{number}"
            assert (await client.put(path, json=licence[step] | owner)).is_success
            if step == 1 and licence[2] is not None:
                path = f"/v1/licences/{both.api}-{number}/withdrawal"
                withdrawal = {"withdrawn_on": withdrawn_on, "reason": licence[2]}
                await made(await client.post(path, json=withdrawal), 200)
        rows = [
            (c, f"{c}-{number}", *_values(header, licence[step]))
            + ((withdrawn_on if licence[2] else None, licence[2]) if step == 1 else ())
            for number, licence in enumerate(licences)
        ]
        more = ",withdrawn_on,withdrawal_reason" if step == 1 else ""
        assert await both.bring("licences", table(header + more, *rows)) == []
        for number in range(len(licences)):
            await both.same(f"licences/{{c}}-{number}")

    good, header = [], "customer_code,number,starts_on,included_minutes"
    for number, contract in enumerate(contracts):
        row = (c, f"{c}-{number}", *_values(header, contract))
        answer = await client.post(
            "/v1/contracts", json={**contract, **owner, "number": f"{both.api}-{number}"}
        )
        if answer.status_code == 201:
            good.append(row)
        else:
            # Refused here, refused there (R15).
            assert answer.json()["code"] == "editor_licence_required"
            (bad,) = await both.bring("contracts", table(header, row))
            assert "Editor" in bad
    assert await both.bring("contracts", table(header, *good)) == []
    for row in good:
        await both.same(f"contracts/{row[1].replace(c, '{c}')}")

    for number, pack in enumerate(packs):
        body = {**pack, **owner, "number": f"{both.api}-{number}"}
        await made(await client.post("/v1/ticket-packs", json=body))
    header = "customer_code,number,quantity,purchased_on"
    rows = [(c, f"{c}-{number}", *_values(header, pack)) for number, pack in enumerate(packs)]
    assert await both.bring("packs", table(header, *rows)) == []
    for number in range(len(packs)):
        await both.same(f"ticket-packs/{{c}}-{number}")
    await both.same_events()
