"""Scripts: made, listed, found by their own key alone, deleted."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from emberbox.config import QuotaSettings
from emberbox.errors import InvalidInput, NotFound, QuotaExceeded, UnknownRuntime
from emberbox.ids import new_id
from emberbox.service.uploads.bundles import BundleFile
from emberbox.service.uploads.intake import Upload
from emberbox.store.tables import contents as contents_table
from emberbox.store.tables import scripts as table
from tests.integration.uploads.conftest import count
from tests.storing import StoredContents, boundless, scripts_of

if TYPE_CHECKING:
    from emberbox.runtimes import RuntimeCatalog
    from emberbox.service.uploads.scripts import Scripts
    from emberbox.store import Database
    from emberbox.store.records import KeyRecord, ScriptRecord
    from emberbox.testing import MemoryBlobs


def upload(**files: bytes) -> Upload:
    listed = [BundleFile(name.replace("_", "."), data) for name, data in files.items()]
    return Upload(listed, archive=len(listed) > 1, name=listed[0].path)


async def create(
    scripts: Scripts,
    key: KeyRecord,
    given: Upload | None = None,
    *,
    name: str | None = None,
    labels: dict[str, str] | None = None,
    runtime: str | None = None,
    entry: str | None = None,
) -> ScriptRecord:
    return await scripts.create(
        key,
        given or upload(main_py=b"print(1)"),
        boundless(),
        runtime=runtime,
        entry=entry,
        name=name,
        labels=labels or {},
    )


async def test_a_script_is_found_again(scripts: Scripts, key: KeyRecord, contents: StoredContents) -> None:
    made = await create(scripts, key, upload(main_py=b"print(1)", util_py=b""), labels={"team": "data"})
    assert (made.name, made.runtime, made.entry, made.size, made.file_count) == (
        "main.py",
        "python",
        "main.py",
        8,
        2,
    )
    assert await scripts.get(key, made.id) == made
    script, content = await scripts.content(key, made.id)
    assert script == made
    assert content.kind == "bundle"
    assert {entry["path"] for entry in content.entries} == {"main.py", "util.py"}
    single, content = await scripts.content(key, (await create(scripts, key)).id)
    assert (content.kind, content.data, single.entry) == ("file", b"print(1)", "main.py")


async def test_two_scripts_of_the_same_code_share_it(
    scripts: Scripts, key: KeyRecord, other_key: KeyRecord, database: Database
) -> None:
    one, two = await create(scripts, key), await create(scripts, other_key)
    assert one.id != two.id
    assert one.content_sha == two.content_sha
    assert await count(database, contents_table) == 1


async def test_another_keys_script_is_not_there(
    scripts: Scripts, key: KeyRecord, other_key: KeyRecord
) -> None:
    made = await create(scripts, key)
    for attempt in (
        scripts.get(other_key, made.id),
        scripts.content(other_key, made.id),
        scripts.delete(other_key, made.id),
    ):
        with pytest.raises(NotFound, match="no such script") as theirs:
            await attempt
        with pytest.raises(NotFound) as nobodys:
            await scripts.get(other_key, new_id("scr"))
        assert theirs.value.message == nobodys.value.message
    assert (await scripts.list(other_key, cursor=None, limit=10))[0] == []
    assert await scripts.get(key, made.id) == made


@pytest.mark.parametrize(
    "script_id", ["", "scr_", "x", "scr_" + "0" * 26, "job_" + "0" * 26, "scr_'; --", "scr_\0", "ß" * 1000]
)
async def test_what_is_no_id_is_not_found(scripts: Scripts, key: KeyRecord, script_id: str) -> None:
    with pytest.raises(NotFound):
        await scripts.get(key, script_id)
    with pytest.raises(NotFound):
        await scripts.delete(key, script_id)


async def test_deleting(scripts: Scripts, key: KeyRecord, database: Database) -> None:
    made = await create(scripts, key)
    await scripts.delete(key, made.id)
    assert await count(database, table) == 0
    with pytest.raises(NotFound):
        await scripts.delete(key, made.id)


async def test_pages_hold_each_script_once_newest_first(
    scripts: Scripts, key: KeyRecord, other_key: KeyRecord
) -> None:
    made = [await create(scripts, key, name=f"s{number}") for number in range(7)]
    await create(scripts, other_key)
    seen, cursor = [], None
    for expected in (3, 3, 1):
        page, cursor = await scripts.list(key, cursor=cursor, limit=3)
        assert len(page) == expected
        seen += page
        if len(seen) == 3:
            await create(scripts, key, name="later")
    assert cursor is None
    assert seen == made[::-1]
    exact, cursor = await scripts.list(key, cursor=None, limit=8)
    assert (len(exact), cursor) == (8, None)


async def test_filters(scripts: Scripts, key: KeyRecord) -> None:
    one = await create(scripts, key, name="one", labels={"team": "data", "a.b/c-d": "x"})
    two = await create(scripts, key, upload(run_sh=b"ls"), name="two", labels={"team": "web"})
    none = await create(scripts, key, name="one")

    async def found(**filters: object) -> list[ScriptRecord]:
        return (await scripts.list(key, cursor=None, limit=10, **filters))[0]  # type: ignore[arg-type]

    assert await found(runtime="bash") == [two]
    assert await found(runtime="py") == [none, one]
    assert await found(name="one") == [none, one]
    assert await found(label=("team", "data")) == [one]
    assert await found(label=("a.b/c-d", "x")) == [one]
    assert await found(label=("team", "%")) == []
    assert await found(name="one", label=("team", "web")) == []
    with pytest.raises(UnknownRuntime):
        await found(runtime="cobol")


WRONG_CURSORS = [
    "",
    "x",
    "!!!",
    "äöü",
    "c2NyXzA",
    base64.urlsafe_b64encode(b"scr_x").decode(),
    "a" * 5000,
    "\0",
]


@pytest.mark.parametrize("cursor", WRONG_CURSORS)
async def test_a_wrong_cursor_says_so(scripts: Scripts, key: KeyRecord, cursor: str) -> None:
    with pytest.raises(InvalidInput, match="cursor"):
        await scripts.list(key, cursor=cursor, limit=10)


@pytest.mark.parametrize("name", ["", "x" * 256, "a\nb", "a\0", "\udcff"])
async def test_names_that_cannot_be_shown_are_refused(scripts: Scripts, key: KeyRecord, name: str) -> None:
    with pytest.raises(InvalidInput, match="name"):
        await create(scripts, key, name=name)


@pytest.mark.parametrize(
    "labels", [{"": "x"}, {"a b": "x"}, {"a": "x" * 201}, {"a": "\0"}, {f"l{n}": "" for n in range(33)}]
)
async def test_wrong_labels_are_refused(scripts: Scripts, key: KeyRecord, labels: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="labels"):
        await create(scripts, key, labels=labels)


async def test_names_in_every_script_of_unicode(scripts: Scripts, key: KeyRecord) -> None:
    for name in (
        "größe.py",
        "スクリプト.py",
        "العربية.py",
        "मुख्य.py",
        "👩‍🚀.py",
        "한국어.py",
        "نمی\u200cدانم.py",
    ):
        made = await create(scripts, key, Upload([BundleFile(name, b"x")], archive=False, name=name))
        assert (await scripts.get(key, made.id)).entry == name


async def test_refusals_store_nothing(
    database: Database, contents: StoredContents, runtimes: RuntimeCatalog, blobs: MemoryBlobs, key: KeyRecord
) -> None:
    narrow = scripts_of(database, contents, runtimes, QuotaSettings(storage_bytes=100_000))
    for size in (100_001, 60_000):
        files = {f"a{number}_py": bytes(size) for number in range(2 if size < 100_000 else 1)}
        with pytest.raises(QuotaExceeded, match="stores 0 bytes"):
            await create(narrow, key, upload(**files), entry="a0.py")
    with pytest.raises(InvalidInput):
        await create(scripts_of(database, contents, runtimes), key, upload(a_py=b"1", b_py=b"2"))
    assert await count(database, table) == await count(database, contents_table) == 0
    assert blobs.blobs == {}
