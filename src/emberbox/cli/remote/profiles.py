"""`emberbox profiles`: the servers that were saved."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

from emberbox.cli.commands import argument, group, takes
from emberbox.cli.options import JSON

if TYPE_CHECKING:
    import typer

    from emberbox.client.profiles import Profiles

ProfileArgument = Annotated[str, argument("NAME", "The profile's name.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group(app, "profiles", "List, choose, and forget saved servers.", list_, use, forget)


@takes(JSON)
def list_(*, json: bool) -> None:
    """List saved servers. Keys are not shown."""
    from emberbox.cli.tables import print_found

    profiles = _profiles()
    current = profiles.current()
    print_found(
        profiles.all(),
        ("NAME", "SERVER", "CURRENT"),
        lambda one: (one.name, one.server, "yes" if one.name == current else ""),
        json=json,
        plain=lambda one: {"name": one.name, "server": one.server, "current": one.name == current},
        nothing="no server was saved; save one with: emberbox login --server URL",
    )


def use(name: ProfileArgument) -> None:
    """Make a saved server the one that commands go to."""
    _profiles().choose(name)


def forget(name: ProfileArgument) -> None:
    """Forget a saved server and its key."""
    _profiles().delete(name)


def _profiles() -> Profiles:
    from emberbox.client.profiles import Profiles

    return Profiles.of(os.environ)
