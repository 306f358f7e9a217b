"""Cases: opened, worked on, closed; who may do which, and what each step costs (R11, R18-R33)."""

from fastapi import APIRouter

from app.http.legacy import Route
from app.routers.cases.changing import router as changing
from app.routers.cases.opening import router as opening
from app.routers.cases.reading import router as reading
from app.routers.cases.steps import router as steps
from app.routers.cases.working import router as working

router = APIRouter(route_class=Route, tags=["Cases"])
for part in (opening, reading, changing, working, steps):
    router.include_router(part)
