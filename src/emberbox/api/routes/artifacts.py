"""Artifacts: the files that jobs left behind."""

import tarfile
from collections.abc import AsyncGenerator, Sequence
from typing import Annotated

from fastapi import APIRouter, Response

from emberbox.api.auth import Reader
from emberbox.api.downloads import BINARY, TAR, attachment
from emberbox.api.parts import ArtifactsPart, JobsPart
from emberbox.api.requests import BYTES, JobId, Responses, identifier, job_of
from emberbox.api.streaming.answers import StreamAnswer
from emberbox.api.views import artifact_view, page
from emberbox.errors import BlobError, NotFound
from emberbox.ids import is_id
from emberbox.schemas.base import Page
from emberbox.schemas.jobs import Artifact
from emberbox.service.jobs.running.artifacts import Artifacts
from emberbox.store.records import ArtifactRecord

router = APIRouter(tags=["artifacts"])

ArtifactId = Annotated[str, identifier("artifact", "art")]

_FILE: Responses = {200: {"content": {BINARY: BYTES}, "description": "The file."}}
_ARCHIVE: Responses = {200: {"content": {TAR: BYTES}, "description": "All files."}}


@router.get("/v1/jobs/{job_id}/artifacts", response_model=Page[Artifact], summary="List artifacts")
async def list_artifacts(job_id: JobId, key: Reader, jobs: JobsPart, artifacts: ArtifactsPart) -> Response:
    """List all files that the job left behind and that it was asked to keep. There is one page only."""
    job = await job_of(jobs, key, job_id)
    return page(Page[Artifact], [artifact_view(artifact) for artifact in await artifacts.list(job.id)])


@router.get(
    "/v1/jobs/{job_id}/artifacts.tar",
    response_class=Response,
    responses=_ARCHIVE,
    summary="Download all artifacts",
)
async def get_all_artifacts(job_id: JobId, key: Reader, jobs: JobsPart, artifacts: ArtifactsPart) -> Response:
    """Download all artifacts of a job as one tar archive."""
    job = await job_of(jobs, key, job_id)
    archive = _archive(artifacts, await artifacts.list(job.id))
    return StreamAnswer(archive, media_type=TAR, headers=attachment(f"{job.id}.tar"))


@router.get(
    "/v1/jobs/{job_id}/artifacts/{artifact_id}",
    response_class=Response,
    responses=_FILE,
    summary="Download an artifact",
)
async def get_artifact(
    job_id: JobId, artifact_id: ArtifactId, key: Reader, jobs: JobsPart, artifacts: ArtifactsPart
) -> Response:
    """Download one file. It is hostile: it is sent so that no browser shows or runs it."""
    job = await job_of(jobs, key, job_id)
    if not is_id(artifact_id, artifact_id.partition("_")[0]):
        raise NotFound("there is no such artifact")
    artifact = await artifacts.get(job.id, artifact_id)
    headers = attachment(artifact.path.rpartition("/")[2], artifact.size)
    return StreamAnswer(_whole(artifacts, artifact), media_type=BINARY, headers=headers)


async def _whole(artifacts: Artifacts, artifact: ArtifactRecord) -> AsyncGenerator[bytes, None]:
    """Yield exactly as many bytes as were promised. Raises `BlobError` when they are not there."""
    left = artifact.size
    async for piece in artifacts.stream(artifact):
        left -= len(piece)
        if left < 0:
            break
        yield piece
    if left:
        raise BlobError(
            "a stored artifact has not the size that it had; run the job again", detail=artifact.id
        )


async def _archive(artifacts: Artifacts, records: Sequence[ArtifactRecord]) -> AsyncGenerator[bytes, None]:
    for artifact in records:
        yield _tar_header(artifact)
        async for piece in _whole(artifacts, artifact):
            yield piece
        yield bytes(-artifact.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _tar_header(artifact: ArtifactRecord) -> bytes:
    info = tarfile.TarInfo(artifact.path)
    info.size = artifact.size
    info.mtime = artifact.created_at // 1_000_000
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
