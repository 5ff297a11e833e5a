"""Uploads of scripts: from a form to a stored script, for every route that takes one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationError, field_validator

from emberbox.api.multipart import read_form
from emberbox.api.streaming.ending import while_good
from emberbox.errors import InvalidInput, UnknownRuntime
from emberbox.schemas.base import Labels, Request, bounded, plain, problem_of
from emberbox.service.uploads.intake import receive, scratch_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request as HTTPRequest

    from emberbox.config import Settings
    from emberbox.service.accounts.reservations import Reservation
    from emberbox.service.uploads.heavy import HeavyTurns
    from emberbox.service.uploads.scripts import Scripts
    from emberbox.store.records import KeyRecord, ScriptRecord

FILE_FIELDS = ("file", "script")
"""Fields that hold files. `script` is what the script runner's own clients send."""


class UploadFields(Request):
    """The fields of an upload besides its files."""

    runtime: Annotated[str, bounded(64, 1)] | None = None
    entry: Annotated[str, plain(1024, 1)] | None = None
    name: Annotated[str, plain(255, 1)] | None = None
    labels: Labels = Field(default_factory=dict)

    @field_validator("labels", mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except (ValueError, RecursionError) as error:
            raise ValueError('must be a JSON object such as {"team": "data"}') from error


@dataclass(frozen=True, slots=True)
class Uploads:
    """Stores the scripts that forms hold.

    Args:
        scripts: Where they go.
        settings: The bounds of forms and archives.
        check_ready: Raises what speaks against taking new work.
        heavy: Teams' turns at what takes long.
    """

    scripts: Scripts
    settings: Settings
    check_ready: Callable[[], None]
    heavy: HeavyTurns

    async def store(
        self, request: HTTPRequest, key: KeyRecord, *, fallback: str | None = None
    ) -> ScriptRecord:
        """Store the script that a request's form holds.

        Args:
            request: Whose body was not read yet.
            key: Whose script it will be.
            fallback: The runtime of a file whose name has no extension, and whose first line names no
                program; None for none.

        Raises:
            InvalidInput, InvalidPath, InvalidArchive, UnknownRuntime, PayloadTooLarge: The upload
            cannot be taken; nothing is kept. QuotaExceeded: The share of storage is used up. NoSpace,
            ServiceStopping: Nothing new is taken now.
        """
        self.check_ready()
        with self.scripts.reserve(key) as room:
            await room.look()
            return await self._store(request, key, room, fallback)

    async def _store(
        self, request: HTTPRequest, key: KeyRecord, room: Reservation, fallback: str | None
    ) -> ScriptRecord:
        bounds = self.settings.server
        async with scratch_folder(self.settings.data) as scratch:
            reading = read_form(
                request,
                scratch,
                files=FILE_FIELDS,
                fields=tuple(UploadFields.model_fields),
                max_bytes=bounds.upload_bytes,
                max_files=bounds.upload_files,
                room=room,
            )
            form = await while_good(request.scope, reading)
            fields = _check(form.fields)
            create = partial(
                self.scripts.create,
                key,
                room=room,
                entry=fields.entry,
                name=fields.name,
                labels=fields.labels,
            )
            async with self.heavy.for_upload(key.team_id, form.files):
                upload = await receive(form.files, bounds, scratch, room)
                try:
                    return await create(upload, runtime=fields.runtime)
                except UnknownRuntime:
                    named = fields.runtime or upload.archive or PurePosixPath(upload.name).suffix
                    if fallback is None or named:
                        raise
                    return await create(upload, runtime=fallback)


def _check(values: dict[str, str]) -> UploadFields:
    try:
        # A form's empty field is one that was not filled in.
        return UploadFields.model_validate({name: value for name, value in values.items() if value})
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidInput(f"{'.'.join(str(part) for part in first['loc'])}: {problem_of(first)}") from error


def form_description(*required: str) -> dict[str, Any]:
    """Return OpenAPI's description of the form, for `openapi_extra`.

    Args:
        required: Fields that must be there.
    """
    file = {"type": "string", "format": "binary", "minLength": 1}
    described = UploadFields.model_json_schema()["properties"]
    schema = {
        "type": "object",
        "properties": {
            "file": {
                "type": "array",
                "items": file,
                "minItems": 1,
                "description": "A script, all files of one, or an archive.",
            },
            "script": {**file, "description": "The same, as the script runner's clients name it."},
            **{
                name: {**_one(described[name]), "description": _DESCRIPTIONS[name]}
                for name in ("runtime", "entry", "name")
            },
            "labels": {**described["labels"], "description": "As JSON."},
        },
        "required": list(required),
        "additionalProperties": False,
    }
    encoding = {"labels": {"contentType": "application/json"}}
    return {
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": schema, "encoding": encoding}},
        }
    }


_DESCRIPTIONS = {
    "runtime": "Name or alias; found by the file's extension or first line if not given.",
    "entry": "The file to run, where there are several; found by the runtime's rule if not given.",
    "name": "For people; the file's if not given.",
}


def _one(schema: dict[str, Any]) -> dict[str, Any]:
    """Return what a field may be besides null, which a form cannot hold."""
    kind: dict[str, Any] = next(option for option in schema["anyOf"] if option.get("type") != "null")
    return kind
