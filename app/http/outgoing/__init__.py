"""Calls that the service makes: where they may go, how they are signed, and how they are made."""
