"""Uploads a folder once and runs it twice with other arguments, then fetches the files that it made.

python examples/service_archive.py
"""

import tempfile
from pathlib import Path

from emberbox import Client

MAIN = """
import sys
from pathlib import Path
from report.table import table

Path("out").mkdir()
Path("out/report.txt").write_text(table(sys.argv[1:]))
print("wrote a report of", len(sys.argv[1:]), "words")
"""
TABLE = """
def table(words):
    return "".join(f"{number:>3}  {word}\\n" for number, word in enumerate(words, start=1))
"""


def write_project(folder: Path) -> None:
    """Make a small project: a script, and a package that it imports."""
    (folder / "report").mkdir()
    (folder / "main.py").write_text(MAIN)
    (folder / "report/__init__.py").touch()
    (folder / "report/table.py").write_text(TABLE)


def main() -> int:
    """Upload, run, fetch."""
    with tempfile.TemporaryDirectory() as place, Client() as client:
        project = Path(place, "project")
        project.mkdir()
        write_project(project)
        # A .zip or a .tar.gz can be uploaded as well. The entry point is found: main.py.
        script = client.scripts.upload(project, labels={"example": "archive"})
        print(f"{script.id}: {script.file_count} files, runs {script.entry} with {script.runtime}")
        for words in (["ember", "box"], ["one", "two", "three"]):
            job = client.scripts.run(script.id, args=words, artifacts=["out/**"])
            print(job.stdout, end="")
            for path in client.jobs.download_all(job.id, Path(place, job.id)):
                print(path.read_text(), end="")
        client.scripts.delete(script.id)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
