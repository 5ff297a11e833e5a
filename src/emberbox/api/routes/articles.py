"""The calls of two earlier services, for programs that know them: script runner and Ignis. The same keys and limits hold.

The script runner: upload to `/scripts`, run by `/scripts/{id}/run`, then ask `/jobs/{id}` and `/jobs/{id}/logs`. Ignis: code in,
output back, by `/api/v1/public/execute`.
"""

import signal
from contextlib import suppress
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import Field, StringConstraints

from emberbox.api.auth import Reader, Runner, ServiceDep
from emberbox.api.logtext import LogText, log_text
from emberbox.api.requests import JobId, ScriptId, job_of, script_id_of, waited
from emberbox.api.streams import StreamAnswer
from emberbox.api.uploads import form_description, upload_script
from emberbox.api.views import answer, encoded, moment
from emberbox.jobs.orders import order_for_code, order_for_script
from emberbox.jobs.service import Service
from emberbox.model import MIB
from emberbox.schemas.base import Answer, Text
from emberbox.schemas.jobs import JobStatus, RunOptions, SubmitJob
from emberbox.store.records import JobRecord

router = APIRouter(tags=["other services' calls"])

_LOG_BYTES = 65_536


class UploadedScript(Answer):
    """An uploaded script."""

    id: str
    script_id: str
    name: str
    runtime: str


class StartedRun(Answer):
    """A run that was accepted."""

    id: str
    job_id: str
    script_id: str
    status: JobStatus


class RunState(Answer):
    """How a run stands. `logs` holds the beginning of its output, `error` why it ended if not by itself with code 0."""

    id: str
    job_id: str
    script_id: str | None = None
    status: JobStatus
    exit_code: int | None = None
    error: str | None = None
    logs: str
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None


class Execute(Answer):
    """Code to be run."""

    language: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00]*$")]
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


@router.post("/scripts", response_model=UploadedScript, openapi_extra=form_description("script"), summary="Upload a script")
async def upload(request: Request, service: ServiceDep, key: Runner) -> Response:
    """Upload a script in the field `script`. One whose name has no extension is one of the shell."""
    script = await upload_script(request, service, key, fallback="bash")
    return answer(UploadedScript(id=script.id, script_id=script.id, name=script.name, runtime=script.runtime))


@router.post("/scripts/{script_id}/run", response_model=StartedRun, summary="Run a script")
async def run_script(script_id: ScriptId, service: ServiceDep, key: Runner) -> Response:
    """Run an uploaded script with the defaults of its runtime."""
    order = await order_for_script(service, key, script_id_of(script_id), RunOptions())
    job, _ = await service.jobs.submit(key, order)
    return answer(StartedRun(id=job.id, job_id=job.id, script_id=script_id, status=JobStatus(job.status)))


@router.get("/jobs/{job_id}", response_model=RunState, summary="Look at a run")
async def get_job(job_id: JobId, service: ServiceDep, key: Reader) -> Response:
    """Return a run's status, and the beginning of what it wrote so far."""
    job = await job_of(service, key, job_id)
    logs = b"".join([piece async for piece in log_text(service, job, LogText(limit=_LOG_BYTES))])
    return answer(
        RunState(
            id=job.id,
            job_id=job.id,
            script_id=job.script_id,
            status=JobStatus(job.status),
            exit_code=job.exit_code,
            error=_error(job),
            logs=encoded(logs, "text"),
            created_at=moment(job.created_at),
            started_at=None if job.started_at is None else moment(job.started_at),
            finished_at=None if job.finished_at is None else moment(job.finished_at),
        )
    )


@router.get(
    "/jobs/{job_id}/logs",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    summary="Read a run's log",
)
async def get_job_logs(job_id: JobId, service: ServiceDep, key: Reader) -> Response:
    """Return what a run wrote so far, as text."""
    job = await job_of(service, key, job_id)
    return StreamAnswer(log_text(service, job, LogText()), media_type="text/plain")


@router.post(
    "/api/v1/public/execute",
    response_model=Executed,
    responses={
        202: {"model": Executed, "description": "The program did not end in time; `/v1/jobs/{job_id}` has its result later."},
        400: {"model": Executed, "description": "The program failed."},
    },
    summary="Run code and wait",
)
async def execute(body: Execute, request: Request, service: ServiceDep, key: Runner) -> Response:
    """Run code and return what it wrote, how long it took and how much memory."""
    order = await order_for_code(service, key, SubmitJob(runtime=body.language, code=body.code))
    job, _ = await service.jobs.submit(key, order)
    job = await waited(request, service, job, service.settings.server.wait_s)
    if not job.terminal:
        return answer(Executed(message="Running", job_id=job.id), 202)
    return answer(await _executed(service, job), 200 if job.status == "succeeded" else 400)


async def _executed(service: Service, job: JobRecord) -> Executed:
    metrics = job.metrics or {}
    error = _error(job)
    return Executed(
        message="Success" if error is None else "Failed to run",
        error=error,
        stdout=await _output(service, job, "stdout"),
        stderr=await _output(service, job, "stderr"),
        exec_duration=round(metrics.get("run_ms", 0)),
        mem_usage=round(metrics.get("peak_memory_mib", 0) * 1024),
        job_id=job.id,
    )


async def _output(service: Service, job: JobRecord, stream: str) -> str:
    return encoded(b"".join([piece async for piece in service.logs.raw(job, stream=stream, limit=MIB)]), "text")


def _error(job: JobRecord) -> str | None:
    """Return why a run failed, in the words of these services where the program ended by itself."""
    if not job.terminal or job.status == "succeeded":
        return None
    if job.reason == "exited" and job.exit_code is not None:
        return f"exit status {job.exit_code}"
    if job.reason == "signalled" and job.signal is not None:
        with suppress(ValueError):
            return f"signal: {(signal.strsignal(job.signal) or str(job.signal)).lower()}"
    return job.message or job.reason or job.status
