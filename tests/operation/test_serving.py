"""What a process does before it serves."""

import gc

from app.main import create_app
from app.serving import settled
from app.settings import Settings


def test_the_garbage_collector_leaves_the_application_alone() -> None:
    app = create_app(Settings(database_url="postgresql://nobody@localhost/none"))
    try:
        settled(app)
        assert gc.get_freeze_count() > 10_000
        assert not any(each is app for each in gc.get_objects())
    finally:
        gc.unfreeze()
