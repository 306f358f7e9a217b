"""What a customer was granted, used and has left, with every movement behind it (R37, R38)."""

from fastapi import APIRouter

from app.routers.usage import allowances, statement

router = APIRouter()
router.include_router(allowances.router)
router.include_router(statement.router)
