"""What all requests and answers share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from emberbox.text import PLAIN_PATTERN, is_unicode

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_T = TypeVar("_T")


class Request(BaseModel):
    """A body that is sent to the API.

    Unknown fields are an error: a typing mistake should not go unnoticed.
    """

    model_config = ConfigDict(extra="forbid")


class Answer(BaseModel):
    """A body that the API sends. Clients pass over fields that they do not know."""

    model_config = ConfigDict(extra="ignore")


class Page(Answer, Generic[_T]):
    """One page of a list, newest first.

    `next_cursor` is the `cursor` of the next page; None on the last one.
    """

    items: list[_T]
    next_cursor: str | None = None


class Problem(Answer):
    """An error (RFC 9457). `code` is stable; `detail` is for people and says what to do."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool = False
    request_id: str | None = None
    errors: list[dict[str, str]] | None = Field(
        default=None, description="For each wrong field: where it is, and what is wrong."
    )


def bounded(most: int, least: int | None = None) -> StringConstraints:
    """Return the bounds of a text's length in characters; it holds no NUL, as `Text`."""
    return StringConstraints(min_length=least, max_length=most, pattern=r"^[^\x00]*$")


def plain(most: int, least: int | None = None) -> StringConstraints:
    """Return the bounds of a name's length in characters; nothing in it is hidden (`emberbox.text`)."""
    return StringConstraints(min_length=least, max_length=most, pattern=PLAIN_PATTERN)


def problem_of(error: ErrorDetails) -> str:
    """Return what is wrong with a field, for people, who would not read the pattern of plain text."""
    if error["type"] == "string_pattern_mismatch" and error["ctx"]["pattern"] == PLAIN_PATTERN:
        return "String should be one line, without control characters and others that are not seen"
    return error["msg"]


def _check_unicode(text: str) -> str:
    if not is_unicode(text):
        raise PydanticCustomError("string_unicode", "Input should be Unicode, without halves of characters")
    return text


LabelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-/]{0,62}$")]
LabelValue = Annotated[str, plain(200)]
Labels = Annotated[dict[LabelName, LabelValue], Field(max_length=32)]
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
"""Text without NUL, which neither a command line nor PostgreSQL can hold."""
AnyText = Annotated[str, AfterValidator(_check_unicode)]
"""Any text that UTF-8 can hold. JSON can also name halves of characters, which no text has."""
Integer = Annotated[int, Field(strict=True)]
"""A whole number, and not a text or a truth value that could be read as one."""
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
"""A finite number, and not a text or a truth value that could be read as one."""
Switch = Annotated[bool, Field(strict=True)]
"""True or false, and not a text or a number that could be read as one."""
