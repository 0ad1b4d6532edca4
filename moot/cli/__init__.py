"""The ``moot`` command."""
