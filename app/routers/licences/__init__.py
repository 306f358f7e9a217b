"""Licences: what a customer bought, upgraded and withdrew (R1, R2, R25)."""

from app.routers.licences.endpoints import licences

__all__ = ["licences"]
