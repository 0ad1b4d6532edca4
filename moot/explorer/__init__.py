"""The pages a person looks at. They read only what a node's REST API gives.

There is no build step: one jinja2 shell, style sheets by hand, and small ES modules that fetch JSON
and fill the shell. Nothing of ours is imported here, so the pages can know no more than any other
client of the API.
"""

from moot.explorer.pages import add_pages

__all__ = ["add_pages"]
