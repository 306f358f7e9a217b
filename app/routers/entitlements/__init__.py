"""Entitlements: asked for one customer or thousands, now, then, or if something were bought."""

from fastapi import APIRouter

from app.http.legacy import Route
from app.routers.entitlements.asking import router as asking
from app.routers.entitlements.batches import router as batches
from app.routers.entitlements.checking import router as checking
from app.routers.entitlements.exporting import router as exporting
from app.routers.entitlements.forecasting import router as forecasting
from app.routers.entitlements.simulating import router as simulating

router = APIRouter(route_class=Route)
for part in (asking, checking, batches, exporting, simulating, forecasting):
    router.routes.extend(part.routes)
