"""The output folder of a real guest: what a program leaves there comes back, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from emberbox import Engine

HOSTILE = """
import os, subprocess
folder = os.environ["EMBERBOX_OUTPUT"]
assert folder == "/work/output" and os.listdir(folder) == [] and os.getuid() == os.stat(folder).st_uid
os.chdir(folder)
for number in range(10_000):
    open(f"many-{number:05}", "w").close()
os.symlink("/etc/passwd", "a-link")
os.symlink(".", "a-loop")
os.mkfifo("a-pipe")
with open("a-huge", "wb") as file:
    file.truncate(1 << 40)
open(b"a\\n\\xff", "w").write("odd")
os.makedirs("a-folder/deep")
open("a-folder/deep/file.json", "w").write("{}")
try:
    os.mknod("a-device", 0o600 | 0o020000, os.makedev(1, 5))
except PermissionError:
    pass
"""


async def test_files_come_back_by_themselves(engine: Engine) -> None:
    result = await engine.run(
        "import os; open('output/a.csv', 'w').write('1,2'); open('plain', 'w').write('x'); "
        "print(os.environ['EMBERBOX_OUTPUT'])",
        runtime="python",
    )
    assert (result.stdout, result.stderr) == ("/work/output\n", "")
    assert [(file.name, file.text, file.media_type) for file in result.files] == [
        ("a.csv", "1,2", "text/csv")
    ]
    nothing = await engine.run("print(1)", runtime="python")
    assert (nothing.left_files, nothing.files, nothing.file_notes) == (False, (), ())


async def test_a_hostile_folder_is_read_within_bounds(engine: Engine) -> None:
    result = await engine.run(HOSTILE, runtime="python", timeout_s=PATIENCE_S)
    assert result.ok, result.stderr
    names = [file.name for file in result.files]
    assert names[:3] == ["a\\x0a\\xff", "a-folder/deep/file.json", "many-00000"]
    assert len(names) == 100
    assert not {"a-link", "a-pipe", "a-huge", "a-device"} & set(names)
    assert any("a-huge was left out" in note for note in result.file_notes)
    assert any("more files were left out" in note for note in result.file_notes)


async def test_another_thing_in_the_place_of_the_folder(engine: Engine) -> None:
    for place in ("os.symlink('/etc', 'output')", "os.mkfifo('output')", "open('output', 'w')", "None"):
        result = await engine.run(f"import os; os.rmdir('output'); {place}", runtime="python")
        assert (result.ok, result.left_files, result.files) == (True, False, ()), place
