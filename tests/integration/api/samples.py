"""One of everything that the service keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

CODE = "print('out')\nopen('left.txt', 'w').write('x')"


async def make_some_of_each(client: httpx.AsyncClient, count: int) -> dict[str, list[str]]:
    """Make `count` of everything, and return their identifiers by the names of path parameters."""
    ids: dict[str, list[str]] = {}

    async def make(name: str, path: str, **options: Any) -> str:
        answer = await client.post(path, **options)
        assert answer.status_code < 300, answer.text
        ids.setdefault(name, []).append(answer.json()["id"])
        return ids[name][-1]

    for number in range(count):
        await make("key_id", "/v1/keys", json={"name": "k"})
        await make(
            "webhook_id", "/v1/webhooks", json={"url": "http://127.0.0.1:9/", "events": ["job.finished"]}
        )
        await make("script_id", "/v1/scripts", files=[("file", ("a.py", f"print({number})".encode()))])
        job = await make(
            "job_id", "/v1/jobs", json={"runtime": "python", "code": CODE, "artifacts": ["*.txt"]}
        )
    for _ in range(100):
        ended = (await client.get(f"/v1/jobs/{job}", params={"wait": 1})).json()
        if ended["status"] == "succeeded":
            break
    ids["artifact_id"] = [artifact["id"] for artifact in ended["artifacts"]]
    ids["delivery_id"] = [one["id"] for one in (await client.get("/v1/deliveries")).json()["items"]]
    assert all(ids.values()), ids
    return ids
