"""Ticket packs: prepaid tickets, each of which pays for one case (R16, R19)."""
