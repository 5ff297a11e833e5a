"""Fixtures for the whole suite: a test that sends Firecracker what its description does not allow fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from emberbox.vmm.firecracker.requests.api import FirecrackerApi
from tests.peers.description import Auditor, Description, find

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", autouse=True)
def requests_auditor() -> Iterator[Auditor | None]:
    """What looks at every request of the run; None where the description is not at hand."""
    file = find()
    if file is None:
        yield None
        return
    auditor = Auditor(Description.load(file))
    with auditor.listening(FirecrackerApi):
        yield auditor
    # What fixtures of the session sent while they were closed.
    assert not auditor.take()


@pytest.fixture(autouse=True)
def validated_requests(requests_auditor: Auditor | None) -> Iterator[None]:
    """Fail the test when a request was wrong that it sent, or a fixture that was made for it."""
    yield
    if requests_auditor is not None and (wrong := requests_auditor.take()):
        pytest.fail("sent to Firecracker against its API description:\n" + "\n".join(wrong), pytrace=False)
