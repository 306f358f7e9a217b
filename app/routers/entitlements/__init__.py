"""Entitlements: for one customer or thousands, now, then, or if something were bought."""
