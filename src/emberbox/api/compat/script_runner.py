"""The calls of the script runner.

For example, upload to `/scripts`, run by `/scripts/{id}/run`, then ask `/jobs/{id}` and
`/jobs/{id}/logs`.
"""

from datetime import datetime

from fastapi import APIRouter, Request, Response

from emberbox.api.auth import Reader, Runner
from emberbox.api.compat.failures import failure_of
from emberbox.api.openapi import OTHERS
from emberbox.api.parts import JobsPart, LogsPart, OrdersPart, SubmissionPart, UploadsPart
from emberbox.api.requests import TEXT, JobId, ScriptId, job_of, script_id_of
from emberbox.api.streaming.answers import StreamAnswer
from emberbox.api.streaming.logtext import LogText, log_text
from emberbox.api.uploads import form_description
from emberbox.api.views import answer, encoded, moment, moment_or_none
from emberbox.schemas.base import Answer
from emberbox.schemas.jobs import JobStatus, RunOptions

router = APIRouter(tags=[OTHERS])

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
    """How a run stands.

    `logs` holds the beginning of its output, `error` why it ended if not by itself with code 0.
    """

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


@router.post(
    "/scripts",
    response_model=UploadedScript,
    openapi_extra=form_description("script"),
    summary="Upload a script",
)
async def upload(request: Request, key: Runner, uploads: UploadsPart) -> Response:
    """Upload a script in the field `script`. One whose name has no extension is one of the shell."""
    script = await uploads.store(request, key, fallback="bash")
    return answer(UploadedScript(id=script.id, script_id=script.id, name=script.name, runtime=script.runtime))


@router.post("/scripts/{script_id}/run", response_model=StartedRun, summary="Run a script")
async def run_script(
    script_id: ScriptId, key: Runner, orders: OrdersPart, submission: SubmissionPart
) -> Response:
    """Run an uploaded script with the defaults of its runtime."""
    order = await orders.for_script(key, script_id_of(script_id), RunOptions())
    job, _ = await submission.submit(key, order)
    return answer(StartedRun(id=job.id, job_id=job.id, script_id=script_id, status=JobStatus(job.status)))


@router.get("/jobs/{job_id}", response_model=RunState, summary="Look at a run")
async def get_job(job_id: JobId, key: Reader, jobs: JobsPart, logs: LogsPart) -> Response:
    """Return a run's status, and the beginning of what it wrote so far."""
    job = await job_of(jobs, key, job_id)
    written = b"".join([piece async for piece in log_text(logs, job, LogText(limit=_LOG_BYTES))])
    return answer(
        RunState(
            id=job.id,
            job_id=job.id,
            script_id=job.script_id,
            status=JobStatus(job.status),
            exit_code=job.exit_code,
            error=failure_of(job),
            logs=encoded(written, "text"),
            created_at=moment(job.created_at),
            started_at=moment_or_none(job.started_at),
            finished_at=moment_or_none(job.finished_at),
        )
    )


@router.get(
    "/jobs/{job_id}/logs",
    response_class=Response,
    responses={200: {"content": {"text/plain": TEXT}}},
    summary="Read a run's log",
)
async def get_job_logs(job_id: JobId, key: Reader, jobs: JobsPart, logs: LogsPart) -> Response:
    """Return what a run wrote so far, as text."""
    job = await job_of(jobs, key, job_id)
    return StreamAnswer(log_text(logs, job, LogText()), media_type="text/plain")
