"""Licences: what a customer bought, upgraded and withdrew (R1, R2, R25)."""
