"""The call of Ignis: code in, output back, by `/api/v1/public/execute`."""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import Field

from emberbox.api.auth import Runner
from emberbox.api.compat.failures import failure_of
from emberbox.api.openapi import OTHERS
from emberbox.api.parts import LogsPart, OrdersPart, ServerPart, SubmissionPart, WaitersPart
from emberbox.api.streaming.ending import end_of
from emberbox.api.views import answer, encoded
from emberbox.model import MIB
from emberbox.schemas.base import Answer, Text, bounded
from emberbox.schemas.jobs import SubmitJob
from emberbox.service.jobs.logs.reading import Logs
from emberbox.store.records import JobRecord

router = APIRouter(tags=[OTHERS])


class Execute(Answer):
    """Code to be run."""

    language: Annotated[str, bounded(64, 1)]
    code: Text


class Executed(Answer):
    """What became of it. `exec_duration` in ms, `mem_usage` in KiB."""

    message: str
    error: str | None = None
    stdout: str = ""
    stderr: str = ""
    exec_duration: int = Field(default=0, description="Milliseconds.")
    mem_usage: int = Field(default=0, description="KiB at most.")
    job_id: str


@router.post(
    "/api/v1/public/execute",
    response_model=Executed,
    responses={
        202: {
            "model": Executed,
            "description": "The program did not end in time; `/v1/jobs/{job_id}` has its result later.",
        },
        400: {"model": Executed, "description": "The program failed."},
    },
    summary="Run code and wait",
)
async def execute(
    body: Execute,
    key: Runner,
    waiters: WaitersPart,
    server: ServerPart,
    orders: OrdersPart,
    submission: SubmissionPart,
    logs: LogsPart,
    request: Request,
) -> Response:
    """Run code and return what it wrote, how long it took and how much memory."""
    order = await orders.for_code(SubmitJob(runtime=body.language, code=body.code))
    job, _ = await submission.submit(key, order)
    job = await end_of(job, server.wait_s, request, waiters)
    if not job.terminal:
        return answer(Executed(message="Running", job_id=job.id), 202)
    return answer(await _executed(logs, job), 200 if job.status == "succeeded" else 400)


async def _executed(logs: Logs, job: JobRecord) -> Executed:
    metrics = job.metrics or {}
    error = failure_of(job)
    return Executed(
        message="Success" if error is None else "Failed to run",
        error=error,
        stdout=await _output(logs, job, "stdout"),
        stderr=await _output(logs, job, "stderr"),
        exec_duration=round(metrics.get("run_ms", 0)),
        mem_usage=round(metrics.get("peak_memory_mib", 0) * 1024),
        job_id=job.id,
    )


async def _output(logs: Logs, job: JobRecord, stream: str) -> str:
    return encoded(b"".join([piece async for piece in logs.raw(job, stream=stream, limit=MIB)]), "text")
