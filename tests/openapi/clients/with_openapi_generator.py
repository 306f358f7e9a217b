"""Calls by the client that OpenAPI Generator makes for Python.

PROGRAM URL TOKEN ENTITLED SERIAL NOT_ENTITLED: ENTITLED and NOT_ENTITLED are ids of customers,
SERIAL is of a licence of the former. Exits with an error unless every answer is as expected.
"""

import sys

from assistenza_client import ApiClient, Configuration
from assistenza_client.api.cases_api import CasesApi
from assistenza_client.api.customers_api import CustomersApi
from assistenza_client.api.entitlements_api import EntitlementsApi
from assistenza_client.exceptions import ConflictException
from assistenza_client.models.country import Country
from assistenza_client.models.customer import Customer
from assistenza_client.models.known_contact import KnownContact
from assistenza_client.models.known_customer import KnownCustomer
from assistenza_client.models.new_case import NewCase
from assistenza_client.models.not_entitled_problem import NotEntitledProblem
from assistenza_client.models.reason_code import ReasonCode
from assistenza_client.models.requester_fields import RequesterFields
from assistenza_client.models.service import Service
from assistenza_client.models.step import Step

url, token, entitled, serial_number, not_entitled = sys.argv[1:]
client = ApiClient(Configuration(host=url, access_token=token))
entitlements, cases, customers = EntitlementsApi(client), CasesApi(client), CustomersApi(client)

answer = entitlements.get_entitlements(customer_id=entitled)
allowed: dict[Service, bool] = {one.service: one.allowed for one in answer.services}
assert allowed.keys() == set(Service)
assert allowed[Service.EMAIL_SUPPORT]

check = entitlements.check_entitlement(customer_id=entitled, service=Service.EMAIL_SUPPORT)
assert check.allowed
assert check.say

case = NewCase(
    customer_id=entitled,
    requester=RequesterFields(name="Engineering", email="engineering@example.com"),
    subject="Opened by a generated client",
    description="To see whether it works.",
    serial_number=serial_number,
)
first = cases.open_case_with_http_info(case, idempotency_key="generator-1")
again = cases.open_case_with_http_info(case, idempotency_key="generator-1")
assert first.status_code == again.status_code == 201
assert first.data.id == again.data.id
assert again.headers is not None
assert again.headers["idempotent-replayed"] == "true"

case.customer_id, case.serial_number = not_entitled, None
try:
    cases.open_case(case)
except ConflictException as conflict:
    refused = conflict
else:
    raise AssertionError("nothing pays for this case")
assert refused.data is not None
problem = refused.data.actual_instance
assert isinstance(problem, NotEntitledProblem), problem
reasons: list[ReasonCode] = [reason.code for reason in problem.reasons]
assert ReasonCode.NO_EDITOR_LICENCE in reasons, reasons
steps: list[Step] = problem.unlocked_by
assert steps

found: list[Customer] = []
cursor: str | None = None
while True:
    page = customers.list_customers(limit=2, cursor=cursor)
    found += page.items
    cursor = page.next_cursor
    if cursor is None:
        break
assert len({customer.id for customer in found}) == len(found) > 2

body = KnownCustomer(
    name="Generated Client Ltd",
    country=Country.GB,
    contacts=[KnownContact(name="Engineering", phones=["+442079460099"])],
)
created = customers.put_customer_with_http_info("GEN-GENERATOR", body)
assert created.status_code == 201
body.name = "Generated Client plc"
replaced = customers.put_customer_with_http_info("GEN-GENERATOR", body)
assert replaced.status_code == 200
assert replaced.data.id == created.data.id
assert replaced.data.name == "Generated Client plc"

read = customers.get_customer("GEN-GENERATOR")
assert read.contacts[0].phones == ["+442079460099"]
print("done")
