"""The desk: who is calling, what is waiting, and work on a case."""

from app.pages.desk import caller, cases, queue

__all__ = ["caller", "cases", "queue"]
