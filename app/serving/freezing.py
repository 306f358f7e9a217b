"""Objects that live as long as their process."""

import gc


def pause_collection() -> None:
    """Collect the garbage that there is now, and pause the garbage collector until `freeze`.

    Hardly anything is garbage that is made while the application is loaded: the search for it took
    a seventh of the start.
    """
    gc.collect()
    gc.disable()


_NEW_OBJECTS = 5_000
"""How many are made, beyond those that are gone, until the new ones are visited."""


def freeze() -> None:
    """Let the garbage collector visit only what is made from now on, and more seldom.

    A full collection that visited the application's objects stopped the event loop for 0.1 s. With
    Python's own threshold (700) requests that were under way counted as old objects, and old ones
    were visited every few seconds, for 8 to 17 ms. With this one that happens every few minutes,
    and a visit to the new ones takes 2 to 4 ms.
    """
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)
    gc.enable()
