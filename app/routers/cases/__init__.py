"""Cases: opened, worked on and closed (R11, R18-R33)."""

from app.routers.cases.endpoints import cases

__all__ = ["cases"]
