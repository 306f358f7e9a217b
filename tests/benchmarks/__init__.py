"""Measurements, as commands: `python -m tests.benchmarks.entitlements`."""
