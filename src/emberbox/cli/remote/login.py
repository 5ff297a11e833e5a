"""`emberbox login`: saves a server, with its key."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from emberbox.cli.failures import say
from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from emberbox.client import AsyncClient


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("login")(login)


def login(
    ctx: typer.Context,
    server: Annotated[
        str, typer.Option("--server", metavar="URL", help="The server's address.", show_default=False)
    ],
    key_stdin: Annotated[bool, typer.Option("--key-stdin", help="Read the key from standard input.")] = False,
    profile: Annotated[
        str, typer.Option("--profile", metavar="NAME", help="Name to save it under.")
    ] = "default",
    check: Annotated[bool, typer.Option("--check/--no-check", help="Try the key first.")] = True,
) -> int:
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
        code = _check(address, key)
        if code:
            return code
    profiles = Profiles.of(os.environ)
    profiles.save(Profile(profile, address, key))
    say(f"saved {address} as profile {profile!r} in {profiles.path}")
    return 0


def _read_key(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline()
    if not sys.stdin.isatty():
        raise InvalidInput("there is no terminal to ask for the key; pass it with --key-stdin")
    import getpass

    return getpass.getpass("API key (not shown): ")


def _check(address: str, key: str) -> int:
    from emberbox.cli.interrupts import run_interruptible
    from emberbox.client import AsyncClient

    async def work() -> int:
        async with AsyncClient(address, key, retries=0) as client:
            await _try(client)
        return 0

    return run_interruptible(work)


async def _try(client: AsyncClient) -> None:
    """Ask for what every key may see."""
    key = await client.me()
    say(f"the key is {key.name!r}, with the scopes {', '.join(key.scopes)}")
