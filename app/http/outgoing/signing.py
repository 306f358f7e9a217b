"""Signatures of webhooks: Standard Webhooks 1.0, symmetric (`v1`)."""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime

PREFIX = "whsec_"


def secret_of(key: bytes) -> str:
    """A key as receivers are given it."""
    return PREFIX + base64.b64encode(key).decode()


def headers(event_id: str, body: bytes, secrets: Iterable[str], now: datetime) -> dict[str, str]:
    """The headers that prove a delivery: signed with each secret, the newest first.

    A receiver accepts it if one signature is right, and if the time is within a few minutes.
    """
    timestamp = str(int(now.timestamp()))
    signed = b".".join((event_id.encode(), timestamp.encode(), body))
    signatures = (
        base64.b64encode(
            hmac.digest(base64.b64decode(secret.removeprefix(PREFIX)), signed, hashlib.sha256)
        ).decode()
        for secret in secrets
    )
    return {
        "webhook-id": event_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{one}" for one in signatures),
    }
