"""What lies in a sandbox, as a digest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.guest import GuestClient
from emberbox.sandbox.files import SandboxFiles, SourceLog
from emberbox.testing.agent import FakeAgent
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


class Files(SandboxFiles):
    """File operations on a fake agent."""

    def __init__(self, client: GuestClient, *, kept: bool = True) -> None:
        self.client = client
        self.sources = SourceLog(kept=kept)

    @property
    def guest(self) -> GuestClient:
        return self.client


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


async def digest_after(*changes: Callable[[Files], Awaitable[object]], kept: bool = True) -> str | None:
    async with FakeAgent() as agent:
        client = GuestClient(*await agent.connect())
        await client.hello(timeout_s=PATIENCE_S)
        files = Files(client, kept=kept)
        try:
            for change in changes:
                await change(files)
        finally:
            await client.close()
        return files.sources.digest()


async def test_the_same_changes_have_the_same_digest() -> None:
    whole = await digest_after(lambda files: files.write_file("a", b"one two"))
    assert whole is not None
    assert await digest_after(lambda files: files.write_file("a", pieces(b"one ", b"two"))) == whole
    noted = SourceLog(kept=True)
    noted.content(b"one two", "file", "a", 0o644, False)
    assert noted.digest() == whole


async def test_each_difference_makes_another_digest() -> None:
    digests = [
        await digest_after(),
        await digest_after(lambda files: files.write_file("a", b"x")),
        await digest_after(lambda files: files.write_file("b", b"x")),
        await digest_after(lambda files: files.write_file("a", b"y")),
        await digest_after(lambda files: files.write_file("a", b"x", mode=0o755)),
        await digest_after(lambda files: files.write_file("a", b"x", append=True)),
        await digest_after(
            lambda files: files.write_file("a", b"x"), lambda files: files.write_file("b", b"x")
        ),
        await digest_after(
            lambda files: files.write_file("b", b"x"), lambda files: files.write_file("a", b"x")
        ),
        await digest_after(lambda files: files.make_folder("a")),
        await digest_after(lambda files: files.write_file("a", b"x"), lambda files: files.delete_file("a")),
    ]
    assert None not in digests
    assert len(set(digests)) == len(digests)


async def test_a_change_that_fails_loses_the_digest() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise OSError("gone")

    async def change(files: Files) -> None:
        try:
            await files.write_file("a", broken())
        except OSError:
            return

    assert await digest_after(change) is None


async def test_without_a_cache_nothing_is_noted() -> None:
    assert await digest_after(lambda files: files.write_file("a", pieces(b"x")), kept=False) is None
