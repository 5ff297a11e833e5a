"""Writes a revision of the database's schema: what lies between the newest one and `store/tables.py`.

python scripts/revision.py "jobs get a colour"     the next revision
python scripts/revision.py --first                 the first one anew, as long as nothing was
                                                   released with it

Read the next revision, and add its number to REVISIONS in store/migrate.py.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine

from emberbox.store.migrate import FOLDER, REVISIONS, run_revisions
from emberbox.store.tables import metadata

TEMPLATE = '''"""{title}."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {before}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """{what}."""
    {code}
'''


def write(connection: Connection, title: str, *, first: bool) -> Path:
    """Write the revision and return its file."""
    if not first:
        run_revisions(connection)
    context = MigrationContext.configure(connection, opts={"render_as_batch": True, "compare_type": True})
    found = produce_migrations(context, metadata).upgrade_ops
    rendered = "" if found is None else render_python_code(found, render_as_batch=not first)
    code = "\n".join(line for line in rendered.splitlines() if "# ###" not in line).strip()
    revision = "0001" if first else f"{int(REVISIONS[-1]) + 1:04}"
    name = "first" if first else re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")
    text = TEMPLATE.format(
        title="The first schema, of release 0.1.0" if first else title,
        revision=revision,
        before=None if first else f'"{REVISIONS[-1]}"',
        what="Make the tables" if first else "Bring the schema forward",
        code=code or "pass",
    )
    path = FOLDER / "versions" / f"r{revision}_{name}.py"
    path.write_text(text)
    return path


def main() -> int:
    """Write what the command line says."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)  # noqa: T201
        return 2
    first = sys.argv[1] == "--first"
    with create_engine("sqlite://").begin() as connection:
        path = write(connection, sys.argv[1], first=first)
    ruff = Path(sys.executable).with_name("ruff")
    subprocess.run([ruff, "check", "--quiet", "--fix", "--select", "I,F", path], check=False)
    subprocess.run([ruff, "format", "--quiet", path], check=True)
    print(path)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
