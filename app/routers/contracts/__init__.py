"""Contracts: twelve months of hours (R4, R15, R24)."""

from fastapi import APIRouter

from app.routers.contracts import calls, steps

router = APIRouter()
router.include_router(calls.router)
router.include_router(steps.router)
