"""What the product does, one module for each kind of thing.

A function takes a `UnitOfWork` and plain values, locks the customer, decides by `app.policy`,
writes through `app.store`, records the event, and raises from `app.errors`. Services know nothing
of HTTP and nothing of wire shapes. Nothing else writes.
"""
