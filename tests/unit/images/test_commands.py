"""`emberbox images build FOLDER`, `import`, `list` and `remove`: refusals, and what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from emberbox.cli.app import make_app
from emberbox.errors import EmberboxError
from emberbox.images.rootfs.build import _line_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IMPORTED = (
    'name = "{name}"\nversion = "1"\n[image]\nimported = "sha256:' + "a" * 64 + '"\n[run]\nargv = ["/x"]\n'
)


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run `emberbox images …`, which must fail; returns the message."""
    monkeypatch.setenv("EMBERBOX_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("EMBERBOX_RUNTIMES", raising=False)

    def run(*words: str) -> str:
        result = CliRunner().invoke(make_app(), ["images", *words])
        assert isinstance(result.exception, EmberboxError), result
        return result.exception.message

    return run


def runtime(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "runtime.toml").write_text(text)
    return folder


def test_folders_that_are_no_runtimes(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "there is no folder" in refused("build", str(tmp_path / "none"))
    assert "no runtime.toml" in refused("build", str(tmp_path))
    bad = runtime(
        tmp_path / "bad",
        'name = "bad"\nversion = "1"\n[image]\npackages = ["No Package"]\n[run]\nargv = ["x", "{script}"]\n',
    )
    message = refused("build", str(bad))
    assert "bad/runtime.toml" in message
    assert "packages[0]" in message
    assert "is not TOML" in refused("build", str(runtime(tmp_path / "worse", "name = ")))
    assert "there is no runtime 'nothing'" in refused("build", "nothing")


def test_a_package_that_does_not_exist_is_named_with_its_line(tmp_path: Path) -> None:
    folder = runtime(tmp_path / "x", 'name = "x"\n[image]\npackages = [\n    "python3",\n    "no-such",\n]\n')
    assert _line_of("no-such", folder / "runtime.toml") == f" ({folder}/runtime.toml, line 5)"
    assert _line_of("such", folder / "runtime.toml") == ""
    assert _line_of("x", tmp_path / "none") == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["oci:x", "--name", "python"], "is there already"),
        (["oci:x", "--name", "py"], "an alias of python"),
        (["oci:x", "--name", "Not A Name"], "cannot be a runtime's name"),
        (["oci:x", "--run", "python3 main.py"], "{script} once"),
        (["oci:x", "--run", "{script}"], "name a program"),
        (["oci:x", "--run", "'"], "--run"),
        (["oci:x", "--cwd", "here"], "absolute"),
        (["x"], "names no image"),
    ],
)
def test_imports_that_are_refused_at_once(
    refused: Callable[..., str], words: list[str], says: str, tmp_path: Path
) -> None:
    assert says in refused("import", *words)
    assert not (tmp_path / "data/runtimes").exists()


def test_a_folder_that_is_no_imported_runtime_is_not_replaced(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "mine/app").mkdir(parents=True)
    assert "remove it" in refused(
        "import", "oci:x", "--name", "app", "--runtime-folder", str(tmp_path / "mine")
    )


def test_imported_runtimes_are_found_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    folder = runtime(tmp_path / "data/runtimes/app", IMPORTED.format(name="app"))
    found = CliRunner().invoke(make_app(), ["runtimes"])
    assert "app" in found.stdout.split()
    removed = CliRunner().invoke(make_app(), ["images", "remove", "app"])
    assert removed.exit_code == 0, removed
    assert not folder.exists()
    assert "neither a runtime nor an image 'app'" in refused("remove", "app")
    assert CliRunner().invoke(make_app(), ["images", "remove", "python"]).exit_code == 0, (
        "a built-in one stays and can be built"
    )
