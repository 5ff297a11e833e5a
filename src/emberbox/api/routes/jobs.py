"""Jobs: submit, look at, cancel, run again, delete."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from emberbox.api.auth import Reader, Runner, ServiceDep
from emberbox.api.requests import IdempotencyKey, JobId, ScriptId, Wait, cursor_of, job_of, request_hash, script_id_of, waited
from emberbox.api.views import answer, job_in_full, job_page, job_view
from emberbox.jobs.orders import order_for_code, order_for_script
from emberbox.jobs.service import Service
from emberbox.schemas.base import Page
from emberbox.schemas.jobs import Job, JobStatus, RunOptions, SubmitJob
from emberbox.store.records import JobRecord

router = APIRouter(tags=["jobs"])

_REPLAYED = {
    "Idempotency-Replayed": {"description": "true when this job is of an earlier request.", "schema": {"type": "string"}}
}
_LOCATION = {"Location": {"description": "Where the job is found.", "schema": {"type": "string"}}}
_STARTED: dict[int | str, dict[str, Any]] = {
    200: {"model": Job, "description": "The job ended within the time waited for.", "headers": _REPLAYED | _LOCATION},
    202: {"model": Job, "description": "The job is accepted.", "headers": _REPLAYED | _LOCATION},
}
_ACCEPTED: dict[int | str, dict[str, Any]] = {202: {"model": Job, "description": "The job is accepted.", "headers": _LOCATION}}


@router.post("/v1/jobs", status_code=202, response_model=Job, responses=_STARTED, summary="Run code")
async def submit_job(
    body: SubmitJob,
    request: Request,
    service: ServiceDep,
    key: Runner,
    wait: Wait = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Run inline code, or files given with the request."""
    order = await order_for_code(service, key, body)
    named = None if idempotency_key is None else (idempotency_key, request_hash("jobs", body))
    job, created = await service.jobs.submit(key, order, idempotency=named)
    return await _started(request, service, job, wait, replayed=not created)


@router.post("/v1/scripts/{script_id}/run", status_code=202, response_model=Job, responses=_STARTED, summary="Run a script")
async def run_script(
    script_id: ScriptId,
    request: Request,
    service: ServiceDep,
    key: Runner,
    body: RunOptions | None = None,
    wait: Wait = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Run an uploaded script. Without a body it runs with the runtime's defaults."""
    options = body or RunOptions()
    order = await order_for_script(service, key, script_id_of(script_id), options)
    named = None if idempotency_key is None else (idempotency_key, request_hash(f"scripts/{script_id}/run", options))
    job, created = await service.jobs.submit(key, order, idempotency=named)
    return await _started(request, service, job, wait, replayed=not created)


async def _started(request: Request, service: Service, job: JobRecord, wait_s: float | None, *, replayed: bool) -> Response:
    headers = {"Location": f"/v1/jobs/{job.id}"} | ({"Idempotency-Replayed": "true"} if replayed else {})
    if wait_s is None:
        return answer(job_view(job), 202, headers)
    job = await waited(request, service, job, wait_s)
    return answer(await job_in_full(service, job), 200 if job.terminal else 202, headers)


@router.get("/v1/jobs", response_model=Page[Job], summary="List jobs")
async def list_jobs(
    service: ServiceDep,
    key: Reader,
    cursor: Annotated[str | None, cursor_of("job")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    status: JobStatus | None = None,
    runtime: Annotated[str | None, Query(max_length=64, pattern=r"^[^\x00]*$")] = None,
    script_id: Annotated[str | None, Query(max_length=64, pattern=r"^[^\x00]*$")] = None,
    label: Annotated[
        str | None,
        Query(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-/]{0,62}:[^\x00]{0,200}$", description="`name:value`", examples=["team:data"]),
    ] = None,
) -> Response:
    """List this key's jobs, newest first."""
    name, _, value = (label or "").partition(":")
    jobs, next_cursor = await service.jobs.list(
        key,
        cursor=cursor,
        limit=limit,
        status=None if status is None else status.value,
        runtime=runtime,
        script_id=script_id,
        label=(name, value) if label else None,
    )
    return job_page(jobs, next_cursor)


@router.get("/v1/jobs/{job_id}", response_model=Job, summary="Look at a job")
async def get_job(job_id: JobId, request: Request, service: ServiceDep, key: Reader, wait: Wait = None) -> Response:
    """Return a job with its attempts, and with its output and artifacts once it has ended."""
    job = await waited(request, service, await job_of(service, key, job_id), wait)
    return answer(await job_in_full(service, job))


@router.post("/v1/jobs/{job_id}/cancel", response_model=Job, summary="Cancel a job")
async def cancel_job(job_id: JobId, service: ServiceDep, key: Runner) -> Response:
    """End a job. A queued one never starts; a running one is killed, which its status shows a moment later."""
    await job_of(service, key, job_id)
    return answer(await job_in_full(service, await service.jobs.cancel(key, job_id)))


@router.post("/v1/jobs/{job_id}/rerun", status_code=202, response_model=Job, responses=_ACCEPTED, summary="Run a job again")
async def rerun_job(job_id: JobId, service: ServiceDep, key: Runner) -> Response:
    """Start a new job with the same code, files, input and options."""
    await job_of(service, key, job_id)
    job = await service.jobs.rerun(key, job_id)
    return answer(job_view(job), 202, {"Location": f"/v1/jobs/{job.id}"})


@router.delete("/v1/jobs/{job_id}", status_code=204, summary="Delete a job")
async def delete_job(job_id: JobId, service: ServiceDep, key: Runner) -> None:
    """Delete a job that has ended, with its log and artifacts."""
    await job_of(service, key, job_id)
    await service.jobs.delete(key, job_id)
