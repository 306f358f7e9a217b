"""What a field takes and what it refuses."""

import re
import sys
from datetime import UTC, date, datetime
from typing import Annotated, Any
from unicodedata import normalize
from uuid import UUID

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from app.http import fields
from app.ids import as_id
from app.services.emails import ascii_form, spellings


def read(kind: Any, value: Any) -> Any:
    return TypeAdapter(kind).validate_python(value)


def refused(kind: Any, value: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        read(kind, value)
    kinds = {error["type"] for error in caught.value.errors()}
    assert len(kinds) == 1
    return kinds.pop().removeprefix("ours.")


@pytest.mark.parametrize("code", ["C-0042", "a", "SA-2026.1_x", "0" * 64, "2026-000042"])
def test_codes(code: str) -> None:
    assert read(fields.Code, code) == code


@pytest.mark.parametrize("code", ["", "-a", "a b", "a" * 65, "è", "a\n", "a\x00"])
def test_no_codes(code: str) -> None:
    assert refused(fields.Code, code) == "string_pattern_mismatch"


def test_a_code_is_never_taken_for_an_id() -> None:
    like = "0199B0F0-5c1e-7d3a-9a51-0c6f0d1b2a3c"
    assert refused(fields.Code, like) == "looks_like_id"
    assert as_id(read(fields.Key, like)) == UUID(like)
    assert as_id("C-0042") is None


@given(st.text(min_size=1, max_size=200))
def test_a_name_is_kept_in_nfc_or_refused(text: str) -> None:
    kept = normalize("NFC", text)
    if text.isspace() or "\x00" in text or len(kept) > 200:
        assert refused(fields.Name, text) in {"blank", "forbidden_characters", "string_too_long"}
    else:
        assert read(fields.Name, text) == kept


@given(st.text(st.sampled_from("a\u0301\u0323\u0327\U000e0100\u0f71ü"), max_size=80))
def test_a_name_of_marks(text: str) -> None:
    """Every run of more than thirty marks is refused, and no shorter one."""
    runs = re.findall("[\u0301\u0323\u0327\u0f71]+", text)
    if any(len(run) > 30 for run in runs):
        assert refused(fields.Name, f"x{text}x") == "forbidden_characters"
    else:
        assert read(fields.Name, f"x{text}x") == normalize("NFC", f"x{text}x")


def test_length_is_that_of_what_is_stored() -> None:
    assert len(read(fields.Name, "u\u0308" * 200)) == 200
    assert refused(fields.Name, "u\u0308" * 201) == "string_too_long"


def test_no_text_becomes_shorter_than_a_quarter() -> None:
    """Otherwise a text could be refused as too long although it fits in NFC."""
    longest = max(range(sys.maxunicode + 1), key=lambda code: len(normalize("NFD", chr(code))))
    composed = chr(longest)
    decomposed = normalize("NFD", composed)
    assert normalize("NFC", decomposed) == composed
    assert len(decomposed) == 4
    assert read(fields.Name, decomposed * 200) == composed * 200


@pytest.mark.parametrize("kind", [fields.Name, fields.Text, fields.Email, fields.HttpUrl])
def test_a_text_that_is_far_too_long_is_not_normalised(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To normalise a megabyte held the event loop for a third of a second."""
    normalised: list[int] = []

    def watched(form: Any, text: str) -> str:
        normalised.append(len(text))
        return normalize(form, text)

    monkeypatch.setattr("app.http.fields.unicodedata.normalize", watched)
    for sign in ("ü", "u\u0308", "\U0001d15e"):
        assert refused(kind, sign * 260_000) == "string_too_long"
    assert normalised == []


def test_a_text_is_sound_only_with_a_length() -> None:
    with pytest.raises(TypeError):
        TypeAdapter(Annotated[str, fields.Sound])


def test_marks_beyond_the_basic_plane_count_too() -> None:
    assert refused(fields.Name, "x" + "\u0301\U0001e944" * 16) == "forbidden_characters"
    assert read(fields.Name, "x" + "\u0301\U0001e944" * 15)


@given(st.text(max_size=60), st.text(max_size=60))
def test_an_address_is_taken_as_it_is_looked_for(local: str, domain: str) -> None:
    """Whatever is taken is looked for under what is stored, and stays as it is."""
    try:
        stored = read(fields.Email, f"{local}@{domain}")
    except ValidationError:
        return
    assert stored.lower() in spellings(stored)
    assert read(fields.Email, stored) == stored
    assert {ascii_form(one) for one in spellings(stored)} == {ascii_form(stored)}


@pytest.mark.parametrize(
    "domain", ["ⅷ.com", "faß.de", "例え。テスト", "İ.tr", "ｅxample.ｃom", "ü.xn--p1ai"]
)
def test_a_domain_is_stored_as_idna_has_it(domain: str) -> None:
    stored = read(fields.Email, f"A@{domain}")
    assert read(fields.Email, stored) == stored
    assert stored.lower() in spellings(stored)
    assert spellings(ascii_form(stored))[-1] == spellings(stored)[-1]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("", "string_too_short"),
        (" \t", "blank"),
        ("a\x00", "forbidden_characters"),
        ("\udfff", "forbidden_characters"),
        ("x" * 201, "string_too_long"),
        (1, "string_type"),
    ],
)
def test_no_names(value: object, code: str) -> None:
    assert refused(fields.Name, value) == code


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("2026-2-1", "bad_format"),
        ("2026-02-30", "bad_format"),
        ("20260201", "bad_format"),
        ("2026-W05-1", "bad_format"),
        ("2026-02-01T00:00:00", "bad_format"),
        ("٢٠٢٦-02-01", "bad_format"),
        ("1989-12-31", "out_of_range"),
        ("2200-01-01", "out_of_range"),
        (1, "wrong_type"),
        (datetime(2026, 2, 1, tzinfo=UTC), "wrong_type"),
    ],
)
def test_no_dates(value: object, code: str) -> None:
    assert refused(fields.CivilDate, value) == code


def test_dates() -> None:
    assert read(fields.CivilDate, "2028-02-29") == date(2028, 2, 29)
    assert read(fields.CivilDate, "1990-01-01") == date(1990, 1, 1)
    assert read(fields.CivilDate, "2199-12-31") == date(2199, 12, 31)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T10:15:00Z",
        "2026-11-22t10:15:00z",
        "2026-11-22T11:15:00+01:00",
        "2026-11-22T05:15:00.000-05:00",
        "2026-11-22T10:15:00.000000000Z",
    ],
)
def test_instants(text: str) -> None:
    read_ = read(fields.Instant, text)
    assert read_ == datetime(2026, 11, 22, 10, 15, tzinfo=UTC)
    assert read_.tzinfo is UTC


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("2026-11-22T10:15:00", "offset_missing"),
        ("2026-11-22", "bad_format"),
        ("2026-11-22 10:15:00Z", "bad_format"),
        ("2026-11-22T10:15Z", "bad_format"),
        ("2026-11-22T10:15:60Z", "bad_format"),
        ("2026-11-22T24:00:00Z", "bad_format"),
        ("2026-11-22T10:15:00+24:00", "bad_format"),
        ("2026-11-22T10:15:00 01:00", "bad_format"),
        ("0001-01-01T00:00:00+23:59", "out_of_range"),
        ("9999-12-31T23:59:59-23:59", "out_of_range"),
        ("1990-01-01T00:59:59+01:00", "out_of_range"),
        ("2199-12-31T23:00:00-01:00", "out_of_range"),
        (1_763_800_000, "wrong_type"),
    ],
)
def test_no_instants(value: object, code: str) -> None:
    assert refused(fields.Instant, value) == code


def test_the_ends_of_the_calendar_are_in_utc() -> None:
    assert read(fields.Instant, "1990-01-01T01:00:00+01:00").year == 1990
    assert read(fields.Instant, "1989-12-31T23:00:00-01:00").year == 1990
    assert read(fields.Instant, "2200-01-01T00:59:59+01:00").year == 2199


@pytest.mark.parametrize(
    "address", ["a@b.it", "first.last+tag@sub.example.com", "o'neil@example.com"]
)
def test_addresses(address: str) -> None:
    assert read(fields.Email, address) == address


@pytest.mark.parametrize(
    "address",
    ["", "a", "a@b", "a@b.1", "@b.it", "a@", "a b@c.it", "a..b@c.it", ".a@c.it", "a@-b.it",
     "a@b.it\n", "a@b.it\x00", "a@b@c.it", "x" * 65 + "@b.it", "\ud800@b.it"],
)  # fmt: skip
def test_no_addresses(address: str) -> None:
    refused(fields.Email, address)


@given(st.emails())
def test_ordinary_addresses_are_taken(address: str) -> None:
    assert read(fields.Email, address) == address


@pytest.mark.parametrize(
    "url", ["https://example.com/a?b=c", "http://[::1]:8000/", "HTTPS://example.com/perché"]
)
def test_links(url: str) -> None:
    assert read(fields.HttpUrl, url) == url


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "https://", "https:///a", "https://[", "https://a:99999/", "//a/b",
     "https://a b/", "https://a/\n", "ftp://a/", "https://a/\x00", "https://a/\ud800"],
)  # fmt: skip
def test_no_links(url: str) -> None:
    refused(fields.HttpUrl, url)


@pytest.mark.parametrize("country", ["it", "ITA", "EU", "ZZ", "XX", ""])
def test_no_countries(country: str) -> None:
    refused(fields.Country, country)


def test_countries() -> None:
    assert {"IT", "CH", "DE", "SM", "VA", "US", "XK"} <= fields.COUNTRIES
    assert len(fields.COUNTRIES) == 250


@pytest.mark.parametrize("value", [True, 1.5, "1", "1.0", None, 0, 1_441, 1_441.0])
async def test_no_minutes(client: httpx.AsyncClient, value: object) -> None:
    answer = await client.post("/v1/things", json={"name": "a", "minutes": value})
    assert answer.status_code == 422


async def test_minutes_with_a_zero_fraction(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/things", json={"name": "a", "minutes": 15.0})
    assert answer.json()["minutes"] == 15


async def test_strict_bodies_take_dates_instants_and_ids(client: httpx.AsyncClient) -> None:
    sent = {
        "name": " a ",
        "on": "2026-11-22",
        "at": "2026-11-22T11:15:00.5+01:00",
        "owner": "0199b0f0-5c1e-7d3a-9a51-0c6f0d1b2a3c",
    }
    answer = await client.post("/v1/things", json=sent)
    body = answer.json()
    assert answer.status_code == 200
    assert body["name"] == " a "
    assert (body["on"], body["owner"]) == (sent["on"], sent["owner"])
    assert body["at"] == "2026-11-22T10:15:00.500000Z"


async def test_merge_patch_tells_absent_from_null(client: httpx.AsyncClient) -> None:
    async def patch(body: object) -> httpx.Response:
        return await client.patch("/v1/things/a", json=body)

    assert (await patch({})).json() == {}
    assert (await patch({"vat_number": None})).json() == {"vat_number": None}
    assert (await patch({"name": "b"})).json() == {"name": "b"}
    refused_ = await patch({"name": None})
    assert refused_.status_code == 422
    (error,) = refused_.json()["errors"]
    assert (error["pointer"], error["code"]) == ("/name", "null_not_allowed")


def test_a_patch_has_no_defaults_in_its_schema() -> None:
    class Patch(fields.MergePatch):
        name: fields.Name = fields.absent()

    schema = Patch.model_json_schema()
    assert "required" not in schema
    assert "default" not in schema["properties"]["name"]
    assert schema["properties"]["name"]["type"] == "string"
