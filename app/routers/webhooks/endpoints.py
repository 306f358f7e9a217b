"""Calls about webhooks."""

from typing import Annotated, Any

from fastapi import Query as FromQuery
from starlette.responses import Response

from app.errors import CustomerNotFound, SecretAlreadyIssued, invalid
from app.http.context import Context, Ctx
from app.http.encoding import json_bytes
from app.http.etags import CACHING
from app.http.fields import Id
from app.http.openapi.examples import event_example
from app.http.outgoing.addresses import Allowed, Refused
from app.http.paging import PageQuery, paginate
from app.http.resource import Resource
from app.http.responses import SecretResponse, created, if_match, json_response, ok
from app.routers.webhooks.schemas import (
    DeliveriesQuery,
    NewRecovery,
    NewWebhook,
    SecretRotation,
    TestEvent,
    Webhook,
    WebhookDelivery,
    WebhookPatch,
    WebhookRecovery,
    WebhookWithSecret,
)
from app.services import webhooks as service

webhooks = Resource("Webhooks")


def _check_url(context: Context, url: str) -> None:
    """Raises InvalidInput for a URL that the service never calls. Asks nobody."""
    allowed = Allowed.of(context.request.app.state.settings.webhook_allow)
    try:
        allowed.target(url)
    except Refused:
        raise invalid("/url", "not_public") from None


def _with_secret(row: Any, secret: str) -> WebhookWithSecret:
    return WebhookWithSecret(**Webhook.of(row).model_dump(), secret=secret)


@webhooks.creates(
    "/webhooks",
    WebhookWithSecret,
    "webhooks:manage",
    CustomerNotFound,
    SecretAlreadyIssued,
    etag=False,
)
async def create_webhook(context: Ctx, body: NewWebhook) -> Response:
    """Have events sent to a URL.

    What is published from now on, each event as the body of a POST that is signed as Standard
    Webhooks says. The events of one customer come in order, one at a time; those of others do not
    wait for them. What is not answered with 2xx within 15 s is sent again, for 75 hours. There may
    be 50 webhooks.
    """
    _check_url(context, body.url)
    row, secret = await service.create(context, **body.model_dump())
    return created(context, _with_secret(row, secret), f"/v1/webhooks/{row.id}", secret=True)


@webhooks.lists("/webhooks", Webhook, "webhooks:manage")
async def list_webhooks(context: Ctx, query: Annotated[PageQuery, FromQuery()]) -> Response:
    """List webhooks.

    In the order in which they were made.
    """
    return await paginate(context, query, service.search(context), Webhook.of)


@webhooks.reads("/webhooks/{webhook}", Webhook, "webhooks:manage")
async def get_webhook(context: Ctx, webhook: Id) -> Response:
    """Read a webhook.

    Its secret and the values of its headers are never shown.
    """
    return ok(context, Webhook.of(await service.read(context, webhook)))


@webhooks.patches("/webhooks/{webhook}", Webhook, "webhooks:manage")
async def update_webhook(context: Ctx, webhook: Id, body: WebhookPatch) -> Response:
    """Change, pause or resume a webhook.

    What is left out stays as it is (JSON Merge Patch). While it is paused, events wait for up to 30
    days. One that was disabled is enabled by `"paused": false`, and hears what is published from
    then on; a recovery sends what it missed.
    """
    changes = body.changes()
    if "url" in changes:
        _check_url(context, changes["url"])
    if "headers" in changes:
        changes["headers"] = changes["headers"] or {}
    row = await service.change(context, webhook, if_match(context, Webhook.of), changes)
    return ok(context, Webhook.of(row))


@webhooks.deletes("/webhooks/{webhook}", "webhooks:manage")
async def delete_webhook(context: Ctx, webhook: Id) -> Response:
    """Delete a webhook.

    With what waits for it, and its deliveries.
    """
    await service.remove(context, webhook, if_match(context, Webhook.of))
    return Response(status_code=204)


@webhooks.acts(
    "/webhooks/{webhook}/secret-rotation",
    WebhookWithSecret,
    "webhooks:manage",
    SecretAlreadyIssued,
    etag=False,
)
async def rotate_webhook_secret(context: Ctx, webhook: Id, body: SecretRotation) -> Response:
    """Give a webhook another secret.

    Until the old one ends, every delivery is signed with both, so that the receiver may change over
    in between.
    """
    row, secret = await service.rotate(context, webhook, body.old_valid_for_seconds)
    shown = json_bytes(_with_secret(row, secret))
    return SecretResponse(shown, 200, CACHING, "application/json")


@webhooks.creates("/webhooks/{webhook}/test", WebhookDelivery, "webhooks:manage")
async def send_test_event(context: Ctx, webhook: Id, body: TestEvent) -> Response:
    """Send an example of an event to a webhook.

    Signed and tried again as any other, beside those that wait. Its `id` begins with `test-`, and
    its `data` is that of the example in this document. The answer is the delivery, which tells
    later what came of it.
    """
    row = await service.send_test(context, webhook, event_example(body.type))
    location = f"/v1/webhooks/{webhook}/deliveries/{row.id}"
    return created(context, WebhookDelivery.of(row), location)


@webhooks.lists("/webhooks/{webhook}/deliveries", WebhookDelivery, "webhooks:manage")
async def list_webhook_deliveries(
    context: Ctx, webhook: Id, query: Annotated[DeliveriesQuery, FromQuery()]
) -> Response:
    """List what was sent to a webhook, and what waits.

    The latest events come first. Deliveries and their attempts are kept for 30 days.
    """
    listing = await service.deliveries(context, webhook, query.state, query.event)
    return await paginate(context, query, listing, WebhookDelivery.of)


@webhooks.reads("/webhooks/{webhook}/deliveries/{delivery}", WebhookDelivery, "webhooks:manage")
async def get_webhook_delivery(context: Ctx, webhook: Id, delivery: Id) -> Response:
    """Read a delivery with its attempts."""
    row = await service.delivery(context, webhook, delivery)
    return ok(context, WebhookDelivery.of(row))


@webhooks.acts(
    "/webhooks/{webhook}/deliveries/{delivery}/retry", WebhookDelivery, "webhooks:manage"
)
async def retry_webhook_delivery(context: Ctx, webhook: Id, delivery: Id) -> Response:
    """Send an event again.

    Whether it was delivered, given up, or waits for its next attempt: its schedule begins anew.
    """
    row = await service.send_again(context, webhook, delivery)
    return ok(context, WebhookDelivery.of(row))


@webhooks.begins("/webhooks/{webhook}/recovery", WebhookRecovery, "webhooks:manage")
async def recover_webhook(context: Ctx, webhook: Id, body: NewRecovery) -> Response:
    """Send again what a webhook missed.

    All that was given up since an instant, or all events since then, in order.
    """
    row = await service.recover(context, webhook, body.since, only_failed=body.only_failed)
    location = {"Location": f"/v1/webhooks/{webhook}/recoveries/{row.id}"}
    shown = WebhookRecovery.of(row)
    return json_response(context.request, shown, 202, location, etag=False)


@webhooks.reads("/webhooks/{webhook}/recoveries/{recovery}", WebhookRecovery, "webhooks:manage")
async def get_webhook_recovery(context: Ctx, webhook: Id, recovery: Id) -> Response:
    """Read how far a recovery is."""
    row = await service.recovery(context, webhook, recovery)
    return ok(context, WebhookRecovery.of(row))
