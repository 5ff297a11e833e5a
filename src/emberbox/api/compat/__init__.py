"""The calls of other systems, for programs that know them.

Each system has a module with a `router` here. The same keys and limits hold as for the API's own
calls. A further system takes one file, `compat/NAME.py`, and its line in `ROUTERS`.
"""

from emberbox.api.compat import ignis, script_runner

ROUTERS = (
    script_runner.router,
    ignis.router,
)
"""Of all systems, in the order of the API's description."""
