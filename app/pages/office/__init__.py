"""The back office: customers whole, what is sold to them, and what was recorded wrongly."""

from app.pages.office import customers, steps

__all__ = ["customers", "steps"]
