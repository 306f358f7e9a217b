"""Signing in with an API key, whose scopes decide the pages; and what these pages share."""
