"""Customers and their contacts."""

from fastapi import APIRouter

from app.routers.customers import calls, contacts

router = APIRouter()
router.include_router(calls.router)
router.include_router(contacts.router)
