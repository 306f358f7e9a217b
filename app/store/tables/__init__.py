"""All tables with their constraints. Triggers and rights are in the migrations."""

from app.store.tables.allowances import balances, contracts, service_years, ticket_packs
from app.store.tables.bookkeeping import (
    bound_writes,
    events,
    idempotency_keys,
    installation_keys,
    refusals,
    schema_compatibility,
)
from app.store.tables.calls import calls
from app.store.tables.columns import metadata
from app.store.tables.feed import feed, feed_epochs, feed_state, leases, unpublished_events
from app.store.tables.help_desks import help_desk_closures
from app.store.tables.master_data import (
    contacts,
    customers,
    external_refs,
    licence_upgrades,
    licences,
    merged_customers,
    tokens,
)
from app.store.tables.responses import case_responses, response_state
from app.store.tables.standings import (
    allowance_standings,
    standing_kinds,
    standing_state,
    standings,
)
from app.store.tables.usage_days import usage_changes, usage_days, usage_state
from app.store.tables.webhooks import (
    webhook_attempts,
    webhook_deliveries,
    webhook_endpoints,
    webhook_events,
    webhook_lanes,
    webhook_recoveries,
    webhook_state,
)
from app.store.tables.work import cases, ledger, ticket_uses, time_entries

__all__ = [
    "allowance_standings",
    "balances",
    "bound_writes",
    "calls",
    "case_responses",
    "cases",
    "contacts",
    "contracts",
    "customers",
    "events",
    "external_refs",
    "feed",
    "feed_epochs",
    "feed_state",
    "help_desk_closures",
    "idempotency_keys",
    "installation_keys",
    "leases",
    "ledger",
    "licence_upgrades",
    "licences",
    "merged_customers",
    "metadata",
    "refusals",
    "response_state",
    "schema_compatibility",
    "service_years",
    "standing_kinds",
    "standing_state",
    "standings",
    "ticket_packs",
    "ticket_uses",
    "time_entries",
    "tokens",
    "unpublished_events",
    "usage_changes",
    "usage_days",
    "usage_state",
    "webhook_attempts",
    "webhook_deliveries",
    "webhook_endpoints",
    "webhook_events",
    "webhook_lanes",
    "webhook_recoveries",
    "webhook_state",
]
