"""Calls by the client that openapi-python-client generates.

PROGRAM URL TOKEN ENTITLED SERIAL NOT_ENTITLED: ENTITLED and NOT_ENTITLED are ids of customers,
SERIAL is of a licence of the former. Exits with an error unless every answer is as expected.
"""

import sys
from http import HTTPStatus

from assistenza_client import AuthenticatedClient
from assistenza_client.api.cases import open_case
from assistenza_client.api.customers import get_customer, list_customers, put_customer
from assistenza_client.api.entitlements import check_entitlement, get_entitlements
from assistenza_client.models import (
    Case,
    CheckBody,
    Country,
    Customer,
    CustomerPage,
    EntitlementsBody,
    KnownContact,
    KnownCustomer,
    NewCase,
    NotEntitledProblem,
    RequesterFields,
    Service,
    Step,
)
from assistenza_client.types import UNSET, Unset

url, token, entitled, serial_number, not_entitled = sys.argv[1:]
client = AuthenticatedClient(base_url=url, token=token)

answer = get_entitlements.sync(client=client, customer_id=entitled)
assert isinstance(answer, EntitlementsBody), answer
assert {one.service for one in answer.services} == set(Service)
allowed: dict[Service, bool] = {one.service: one.allowed for one in answer.services}
assert allowed[Service.EMAIL_SUPPORT]

check = check_entitlement.sync(client=client, customer_id=entitled, service=Service.EMAIL_SUPPORT)
assert isinstance(check, CheckBody), check
assert check.allowed
assert check.say

case = NewCase(
    customer_id=entitled,
    requester=RequesterFields(name="Engineering", email="engineering@example.com"),
    subject="Opened by a generated client",
    description="To see whether it works.",
    serial_number=serial_number,
)
first = open_case.sync_detailed(client=client, body=case, idempotency_key="python-client-1")
again = open_case.sync_detailed(client=client, body=case, idempotency_key="python-client-1")
assert first.status_code == again.status_code == HTTPStatus.CREATED, first
assert isinstance(first.parsed, Case)
assert isinstance(again.parsed, Case)
assert first.parsed.id == again.parsed.id
assert again.headers["Idempotent-Replayed"] == "true"

case.customer_id, case.serial_number = not_entitled, None
refused = open_case.sync(client=client, body=case)
assert isinstance(refused, NotEntitledProblem), refused
reasons: list[str] = [reason.code.value for reason in refused.reasons]
assert "no_editor_licence" in reasons, reasons
steps: list[Step] = refused.unlocked_by
assert steps

found: list[Customer] = []
cursor: str | Unset = UNSET
while True:
    page = list_customers.sync(client=client, limit=2, cursor=cursor)
    assert isinstance(page, CustomerPage), page
    found += page.items
    if page.next_cursor is None:
        break
    cursor = page.next_cursor
assert len({customer.id for customer in found}) == len(found) > 2

body = KnownCustomer(
    name="Generated Client Ltd",
    country=Country.GB,
    contacts=[KnownContact(name="Engineering", phones=["+442079460099"])],
)
created = put_customer.sync_detailed(client=client, code="GEN-PYTHON", body=body)
assert created.status_code == HTTPStatus.CREATED, created
assert isinstance(created.parsed, Customer)
body.name = "Generated Client plc"
replaced = put_customer.sync_detailed(client=client, code="GEN-PYTHON", body=body)
assert replaced.status_code == HTTPStatus.OK, replaced
assert isinstance(replaced.parsed, Customer)
assert replaced.parsed.id == created.parsed.id
assert replaced.parsed.name == "Generated Client plc"

read = get_customer.sync(client=client, customer="GEN-PYTHON")
assert isinstance(read, Customer)
assert read.contacts[0].phones == ["+442079460099"]
print("done")
