"""Contracts: twelve months of hours (R4, R15, R24)."""
