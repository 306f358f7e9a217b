"""Entitlements: for one customer or thousands, now, then, or if something were bought."""

from app.routers.entitlements.endpoints import entitlements

__all__ = ["entitlements"]
