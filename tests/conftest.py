"""Settings of all tests: no deadlines, since a shared machine can stall any example."""

from hypothesis import settings

settings.register_profile("shared_machine", deadline=None)
settings.load_profile("shared_machine")
