"""Webhooks: endpoints that are called with events, and their deliveries."""
