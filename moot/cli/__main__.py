"""``python -m moot.cli``."""

from moot.cli.main import main

main()
