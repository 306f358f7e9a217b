"""Licences: what a customer bought, upgraded and withdrew (R1, R2, R25)."""

from fastapi import APIRouter

from app.routers.licences import calls, steps

router = APIRouter()
router.include_router(calls.router)
router.include_router(steps.router)
