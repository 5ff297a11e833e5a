"""Pages of rows, newest first: the ids of rows grow with time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emberbox.errors import InvalidInput
from emberbox.ids import is_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Column, RowMapping, Select

    from emberbox.store.database import Database


async def read_page(
    db: Database, query: Select[Any], column: Column[Any], cursor: str | None, limit: int, *, prefix: str
) -> tuple[Sequence[RowMapping], str | None]:
    """Return a page of what a query finds, and the cursor of the next page.

    Args:
        db: The database.
        query: Without order and limit; has the column `id` among its own.
        column: The ids, by which the rows are ordered.
        cursor: None for the first page, else what the page before returned.
        limit: Most rows of the page.
        prefix: What these ids begin with, such as `job`.

    Returns:
        The rows, and the cursor; None on the last page.

    Raises:
        InvalidInput: No page gave that cursor out.
        StoreError: The database failed.
    """
    query = query.order_by(column.desc()).limit(limit + 1)
    if cursor is not None:
        if not is_id(cursor, prefix):
            raise InvalidInput(
                "this cursor is none of this list; take 'next_cursor' of a page as it is, "
                "or leave it out to begin with the first page"
            )
        query = query.where(column < cursor)
    async with db.reading() as connection:
        rows = (await connection.execute(query)).mappings().all()
    return rows[:limit], rows[limit - 1]["id"] if len(rows) > limit else None
