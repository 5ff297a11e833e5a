"""`emberbox login`: saves a server, with its key."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer  # noqa: TC002  Typer looks at it when it runs

from emberbox.cli.commands import option
from emberbox.cli.failures import say
from emberbox.cli.interrupts import run_interruptible
from emberbox.errors import InvalidInput


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("login")(login)


def login(
    ctx: typer.Context,
    server: Annotated[str, option("--server", "The server's address.", "URL", show_default=False)],
    key_stdin: Annotated[bool, option("--key-stdin", "Read the key from standard input.")] = False,
    profile: Annotated[str, option("--profile", "Name to save it under.", "NAME")] = "default",
    check: Annotated[bool, option("--check/--no-check", "Try the key first.")] = True,
) -> None:
    """Save a server and its key for the commands that follow.

    They are kept in ~/.config/emberbox/profiles.toml, for you alone. The key is asked for, or read
    from standard input; never give it as an argument, where others see it.
    """
    from emberbox.client.places import Place, check_key, check_server
    from emberbox.client.profiles import Profile, Profiles

    address, key = check_server(server), check_key(_read_key(key_stdin))
    if address.startswith("http://") and not Place(address).local:
        say("careful: over http:// everybody on the way can read the key; use https://")
    if check:
        run_interruptible(lambda: _try(address, key))
    profiles = Profiles.of(os.environ)
    profiles.save(Profile(profile, address, key))
    say(f"saved {address} as profile {profile!r} in {profiles.path}")


def _read_key(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline()
    if not sys.stdin.isatty():
        raise InvalidInput("there is no terminal to ask for the key; pass it with --key-stdin")
    import getpass

    return getpass.getpass("API key (not shown): ")


async def _try(address: str, key: str) -> None:
    """Ask for what every key may see."""
    from emberbox.client import AsyncClient

    async with AsyncClient(address, key, retries=0) as client:
        told = await client.me()
    say(f"the key is {told.name!r}, with the scopes {', '.join(told.scopes)}")
