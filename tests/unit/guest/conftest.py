from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from emberbox.guest import GuestClient
from emberbox.testing import FakeAgent
from tests.patience import PATIENCE_S

Connect = Callable[..., Any]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Makes a client of a fake agent that was greeted unless it is a clone.

    It checks that the host kept the protocol.
    """
    async with AsyncExitStack() as stack:

        async def make(*, greet: bool = True, **arguments: Any) -> tuple[GuestClient, FakeAgent]:
            agent = FakeAgent(**arguments)
            stack.push_async_callback(agent.close)
            client = GuestClient(*await agent.connect(), name="test")
            stack.push_async_callback(client.close)
            if greet and not agent.clone:
                await client.hello(timeout_s=PATIENCE_S)
            agents.append(agent)
            return client, agent

        agents: list[FakeAgent] = []
        yield make
    assert [complaint for agent in agents for complaint in agent.complaints] == []
