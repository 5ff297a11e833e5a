"""Scripts: upload, look at, download, delete."""

from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from emberbox.api.auth import Reader, Runner
from emberbox.api.downloads import BINARY, TAR, attachment
from emberbox.api.parts import ContentsPart, ScriptsPart, UploadsPart
from emberbox.api.requests import (
    BYTES,
    LabelFilter,
    Limit,
    Responses,
    RuntimeFilter,
    ScriptId,
    TeamFilter,
    cursor_of,
    label_of,
    location,
    script_id_of,
)
from emberbox.api.streaming.answers import StreamAnswer
from emberbox.api.uploads import form_description
from emberbox.api.views import answer, page, shown
from emberbox.errors import NotFound
from emberbox.schemas.base import Page
from emberbox.schemas.scripts import Script, ScriptFile
from emberbox.store.records import ContentRecord, ScriptRecord

router = APIRouter(tags=["scripts"])

_LOCATION = location("Where the script is found.")
_MADE: Responses = {201: {"description": "The script is stored.", "headers": _LOCATION}}
_CONTENT: Responses = {
    200: {"content": {BINARY: BYTES, TAR: BYTES}, "description": "The file, or all files in one archive."}
}


@router.post(
    "/v1/scripts",
    status_code=201,
    response_model=Script,
    responses=_MADE,
    openapi_extra=form_description("file"),
    summary="Upload a script",
)
async def create_script(
    request: Request, key: Runner, uploads: UploadsPart, scripts: ScriptsPart
) -> Response:
    """Upload a script: one file, several with their folders in their names, or a .zip, .tar or .tar.gz.

    The same content is stored once, however often it is uploaded.
    """
    script = await uploads.store(request, key)
    _, content = await scripts.content(key, script.id)
    return answer(_script(script, content), 201, {"Location": f"/v1/scripts/{script.id}"})


@router.get("/v1/scripts", response_model=Page[Script], summary="List scripts")
async def list_scripts(
    key: Reader,
    scripts: ScriptsPart,
    team: TeamFilter = None,
    cursor: Annotated[str | None, cursor_of("scr")] = None,
    limit: Limit = 50,
    runtime: RuntimeFilter = None,
    name: Annotated[str | None, Query(max_length=255, pattern=r"^[^\x00]*$")] = None,
    label: LabelFilter = None,
) -> Response:
    """List the team's scripts, newest first."""
    found, following = await scripts.list(
        key, team=team, cursor=cursor, limit=limit, runtime=runtime, name=name, label=label_of(label)
    )
    return page(Page[Script], [_script(script) for script in found], following)


@router.get("/v1/scripts/{script_id}", response_model=Script, summary="Look at a script")
async def get_script(script_id: ScriptId, key: Reader, scripts: ScriptsPart) -> Response:
    """Return a script with the list of its files."""
    return answer(_script(*await scripts.content(key, script_id_of(script_id))))


@router.get(
    "/v1/scripts/{script_id}/content",
    response_class=Response,
    responses=_CONTENT,
    summary="Download a script",
)
async def get_script_content(
    script_id: ScriptId,
    key: Reader,
    scripts: ScriptsPart,
    contents: ContentsPart,
    path: Annotated[str | None, Query(max_length=1024, description="One file of it.")] = None,
) -> Response:
    """Download a script: the file, or a tar archive of all its files, or one of them."""
    script, content = await scripts.content(key, script_id_of(script_id))
    if path is not None:
        size = next((entry["size"] for entry in content.entries if entry["path"] == path), None)
        if size is None:
            raise NotFound("the script has no such file")
        return _download(contents.stream_file(content, path), path.rpartition("/")[2], size)
    stream = contents.stream(content)
    if content.kind == "file":
        return _download(stream, script.entry.rpartition("/")[2], content.size)
    return _download(stream, f"{script.name}.tar", content.size, TAR)


@router.delete("/v1/scripts/{script_id}", status_code=204, summary="Delete a script")
async def delete_script(script_id: ScriptId, key: Runner, scripts: ScriptsPart) -> None:
    """Delete a script. Its jobs stay, those that wait as well."""
    await scripts.delete(key, script_id_of(script_id))


def _download(
    chunks: AsyncGenerator[bytes, None], name: str, size: int, media_type: str = BINARY
) -> Response:
    return StreamAnswer(chunks, media_type=media_type, headers=attachment(name, size))


def _script(script: ScriptRecord, content: ContentRecord | None = None) -> Script:
    files = None if content is None else [_file(entry) for entry in content.entries]
    return shown(Script, script, sha256=script.content_sha, files=files)


def _file(entry: dict[str, Any]) -> ScriptFile:
    return ScriptFile.model_construct(
        path=entry["path"], size=entry["size"], executable=bool(entry["mode"] & 0o100), sha256=entry["sha256"]
    )
