"""`emberbox profiles`: the servers that were saved."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from emberbox.cli import remote
from emberbox.cli.failures import say

if TYPE_CHECKING:
    from emberbox.client.profiles import Profiles

ProfileArgument = Annotated[str, typer.Argument(metavar="NAME", help="The profile's name.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    commands = (("list", show), ("use", use), ("forget", forget))
    remote.group(app, "profiles", "List, choose, and forget saved servers.", *commands)


def show(ctx: typer.Context, json: remote.Json = False) -> None:
    """List saved servers. Keys are not shown."""
    from emberbox.cli.tables import print_json, print_table

    profiles = _profiles()
    current, found = profiles.current(), profiles.all()
    if json:
        print_json([{"name": one.name, "server": one.server, "current": one.name == current} for one in found])
    elif found:
        print_table(
            ("NAME", "SERVER", "CURRENT"), [(one.name, one.server, "yes" if one.name == current else "") for one in found]
        )
    else:
        say("no server was saved; save one with: emberbox login --server URL")


def use(ctx: typer.Context, name: ProfileArgument) -> None:
    """Make a saved server the one that commands go to."""
    _profiles().choose(name)


def forget(ctx: typer.Context, name: ProfileArgument) -> None:
    """Forget a saved server and its key."""
    _profiles().delete(name)


def _profiles() -> Profiles:
    from emberbox.client.profiles import Profiles

    return Profiles.of(os.environ)
