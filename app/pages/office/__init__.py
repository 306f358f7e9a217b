"""The back office: customers whole, what is sold to them, and what was recorded wrongly."""

from app.pages.office import customers, importing, steps

__all__ = ["customers", "importing", "steps"]
