"""Customers and their contacts."""

from app.routers.customers.endpoints import customers

__all__ = ["customers"]
