"""Jobs: submit, look at, cancel, run again, delete."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from emberbox.api.auth import Reader, Runner
from emberbox.api.full_jobs import FullJobs
from emberbox.api.parts import FullJobsPart, JobsPart, OrdersPart, SubmissionPart, WaitersPart
from emberbox.api.requests import (
    IdempotencyKey,
    JobId,
    LabelFilter,
    Limit,
    Responses,
    RuntimeFilter,
    ScriptId,
    TeamFilter,
    Wait,
    cursor_of,
    idempotency,
    job_of,
    label_of,
    location,
    script_id_of,
)
from emberbox.api.streaming.ending import end_of
from emberbox.api.streaming.waiters import Waiters
from emberbox.api.views import answer, job_page, job_view
from emberbox.schemas.base import Page
from emberbox.schemas.jobs import Job, JobStatus, RunOptions, SubmitJob
from emberbox.store.records import JobRecord

router = APIRouter(tags=["jobs"])

_REPLAYED = {
    "Idempotency-Replayed": {
        "description": "true when this job is of an earlier request.",
        "schema": {"type": "string"},
    }
}
_LOCATION = location("Where the job is found.")
_STARTED: Responses = {
    200: {
        "model": Job,
        "description": "The job ended within the time waited for.",
        "headers": _REPLAYED | _LOCATION,
    },
    202: {"model": Job, "description": "The job is accepted.", "headers": _REPLAYED | _LOCATION},
}
_ACCEPTED: Responses = {202: {"model": Job, "description": "The job is accepted.", "headers": _LOCATION}}


@router.post("/v1/jobs", status_code=202, response_model=Job, responses=_STARTED, summary="Run code")
async def submit_job(
    body: SubmitJob,
    key: Runner,
    waiters: WaitersPart,
    full_jobs: FullJobsPart,
    orders: OrdersPart,
    submission: SubmissionPart,
    request: Request,
    wait: Wait = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Run inline code, or files given with the request."""
    order = await orders.for_code(body)
    job, created = await submission.submit(key, order, idempotency=idempotency(idempotency_key, "jobs", body))
    return await _started(job, wait, request, waiters, full_jobs, replayed=not created)


@router.post(
    "/v1/scripts/{script_id}/run",
    status_code=202,
    response_model=Job,
    responses=_STARTED,
    summary="Run a script",
)
async def run_script(
    script_id: ScriptId,
    key: Runner,
    waiters: WaitersPart,
    full_jobs: FullJobsPart,
    orders: OrdersPart,
    submission: SubmissionPart,
    request: Request,
    body: RunOptions | None = None,
    wait: Wait = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Run an uploaded script. Without a body it runs with the runtime's defaults."""
    options = body or RunOptions()
    order = await orders.for_script(key, script_id_of(script_id), options)
    named = idempotency(idempotency_key, f"scripts/{script_id}/run", options)
    job, created = await submission.submit(key, order, idempotency=named)
    return await _started(job, wait, request, waiters, full_jobs, replayed=not created)


async def _started(
    job: JobRecord,
    wait_s: float | None,
    request: Request,
    waiters: Waiters,
    full_jobs: FullJobs,
    *,
    replayed: bool,
) -> Response:
    headers = {"Location": f"/v1/jobs/{job.id}"} | ({"Idempotency-Replayed": "true"} if replayed else {})
    if wait_s is None:
        return answer(job_view(job), 202, headers)
    job = await end_of(job, wait_s, request, waiters)
    return answer(await full_jobs.view(job), 200 if job.terminal else 202, headers)


@router.get("/v1/jobs", response_model=Page[Job], summary="List jobs")
async def list_jobs(
    key: Reader,
    jobs: JobsPart,
    team: TeamFilter = None,
    cursor: Annotated[str | None, cursor_of("job")] = None,
    limit: Limit = 50,
    status: JobStatus | None = None,
    runtime: RuntimeFilter = None,
    script_id: Annotated[str | None, Query(max_length=64, pattern=r"^[^\x00]*$")] = None,
    label: LabelFilter = None,
) -> Response:
    """List the team's jobs, newest first."""
    found, next_cursor = await jobs.list(
        key,
        team=team,
        cursor=cursor,
        limit=limit,
        status=status,
        runtime=runtime,
        script_id=script_id,
        label=label_of(label),
    )
    return job_page(found, next_cursor)


@router.get("/v1/jobs/{job_id}", response_model=Job, summary="Look at a job")
async def get_job(
    job_id: JobId,
    key: Reader,
    jobs: JobsPart,
    waiters: WaitersPart,
    full_jobs: FullJobsPart,
    request: Request,
    wait: Wait = None,
) -> Response:
    """Return a job with its attempts, and with its output and artifacts once it has ended."""
    job = await end_of(await job_of(jobs, key, job_id), wait, request, waiters)
    return answer(await full_jobs.view(job))


@router.post("/v1/jobs/{job_id}/cancel", response_model=Job, summary="Cancel a job")
async def cancel_job(job_id: JobId, key: Runner, jobs: JobsPart, full_jobs: FullJobsPart) -> Response:
    """End a job.

    A queued one never starts; a running one is killed, which its status shows a moment later.
    """
    await job_of(jobs, key, job_id)
    return answer(await full_jobs.view(await jobs.cancel(key, job_id)))


@router.post(
    "/v1/jobs/{job_id}/rerun",
    status_code=202,
    response_model=Job,
    responses=_ACCEPTED,
    summary="Run a job again",
)
async def rerun_job(job_id: JobId, key: Runner, jobs: JobsPart, submission: SubmissionPart) -> Response:
    """Start a new job with the same code, files, input and options."""
    job = await submission.rerun(key, await job_of(jobs, key, job_id))
    return answer(job_view(job), 202, {"Location": f"/v1/jobs/{job.id}"})


@router.delete("/v1/jobs/{job_id}", status_code=204, summary="Delete a job")
async def delete_job(job_id: JobId, key: Runner, jobs: JobsPart) -> None:
    """Delete a job that has ended, with its log and artifacts."""
    await job_of(jobs, key, job_id)
    await jobs.delete(key, job_id)
