"""The back office: customers whole, what is sold to them, and what was recorded wrongly."""

from app.pages.office import closures, customers, importing, removing, steps

__all__ = ["closures", "customers", "importing", "removing", "steps"]
