"""The dashboard: how much is asked, what is waiting, what ends, and how fast answers are."""

from app.pages.dashboard import overview

__all__ = ["overview"]
