"""Ticket packs: prepaid tickets, each of which pays for one case (R16, R19)."""

from app.routers.ticket_packs.endpoints import ticket_packs

__all__ = ["ticket_packs"]
