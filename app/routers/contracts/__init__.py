"""Contracts: twelve months of hours (R4, R15, R24)."""

from app.routers.contracts.endpoints import contracts

__all__ = ["contracts"]
