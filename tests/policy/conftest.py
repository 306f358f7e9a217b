"""Caches of the rules are emptied before each test where mutmut runs them.

It tries each mutant in a fork of a process that has run all tests. What a cache kept there would
answer in place of the mutant, and would hide from the count of which test runs which function.
"""

import os
import sys


def pytest_runtest_setup() -> None:
    if "MUTANT_UNDER_TEST" not in os.environ:
        return
    for name, module in list(sys.modules.items()):
        if name.startswith("app.policy"):
            for value in vars(module).values():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()
