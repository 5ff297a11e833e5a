"""Images of the user's own on real VMs, which have nothing that Emberbox would bring.

Some have no shell or no accounts, some another C library or another user.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest_asyncio

from emberbox import Engine, Settings
from emberbox.cli.local.images_import import import_runtime
from emberbox.images import SilentProgress
from emberbox.images.oci import ImportOptions, Reference, RuntimeText
from emberbox.model import RunStatus
from tests.oci.layouts import Layout, Made, entry, layer, link
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from emberbox.images import ImageStore

PROGRAM = """package main

import ("bufio"; "fmt"; "os")

func main() {
	where, _ := os.Getwd()
	fmt.Println(os.Args[1:], where, os.Getuid(), os.Getgid(), os.Getenv("GREETING"), os.Getenv("HOME"))
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); { fmt.Println("read", lines.Text()) }
	err := os.WriteFile("/work/left", []byte("behind"), 0o644)
	_, temporary := os.CreateTemp("", "x")
	fmt.Println(err, temporary)
	os.Exit(7)
}
"""
MUSL = '#include <stdio.h>\nint main(int n, char **v) { printf("musl %s\\n", v[1]); return 4; }\n'
APPLETS = ("cat", "id", "ls", "pwd", "touch")


def tool(name: str, package: str) -> str:
    found = shutil.which(name)
    assert found is not None, f"sudo apt-get install {package}"
    return found


def go_program(folder: Path) -> bytes:
    go = Path(sys.executable).parent / "go"
    (folder / "main.go").write_text(PROGRAM)
    environment = {
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOPROXY": "off",
        "GOFLAGS": "-mod=mod",
        "HOME": str(Path.home()),
        "PATH": "",
    }
    subprocess.run(
        [go, "build", "-o", "program", "main.go"], cwd=folder, env=environment, check=True, timeout=PATIENCE_S
    )
    return (folder / "program").read_bytes()


def musl_layers(folder: Path) -> list[bytes]:
    (folder / "m.c").write_text(MUSL)
    subprocess.run(
        [tool("musl-gcc", "musl-tools"), "-o", "m", "m.c"], cwd=folder, check=True, timeout=PATIENCE_S
    )
    library = Path("/lib/x86_64-linux-musl/libc.so")
    loader = next(Path("/lib").glob("ld-musl-*.so.1")).name
    return [
        layer(entry(f"lib/{loader}", library.read_bytes())),
        layer(entry("m", (folder / "m").read_bytes())),
    ]


def busybox_layers() -> list[bytes]:
    busybox = Path(tool("busybox", "busybox-static")).read_bytes()
    accounts = b"root:x:0:0::/root:/bin/sh\nweb:x:33:44::/srv:/bin/sh\n"
    links = [link(f"bin/{name}", "busybox") for name in ("sh", *APPLETS)]
    below = layer(
        entry("bin/busybox", busybox),
        *links,
        entry("etc/passwd", accounts),
        entry("srv/secret", b"s"),
        entry("srv/page", b"old"),
    )
    above = layer(
        entry("srv", uid=33, gid=44),
        entry("srv/.wh.secret", b""),
        entry("srv/page", b"new", mode=0o600, uid=33, gid=44),
        entry("locked", mode=0o555),
    )
    return [below, above]


@pytest_asyncio.fixture(scope="module")
async def own(
    settings: Settings, images: ImageStore, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Engine]:
    """An engine that knows the images of these tests; what they leave in the store is removed."""
    folder = tmp_path_factory.mktemp("own")
    layout = Layout(folder / "layout")
    scratch = {
        "Entrypoint": ["/program"],
        "Cmd": ["usual"],
        "User": "65534:65534",
        "WorkingDir": "/not/there/yet",
        "Env": ["GREETING=hi"],
    }
    layout.add("scratch", Made([layer(entry("program", go_program(folder)))], scratch))
    layout.add("musl", Made(musl_layers(folder), {"Entrypoint": ["./m"]}))
    layout.add(
        "busybox",
        Made(busybox_layers(), {"User": "web", "WorkingDir": "/srv", "Env": ["GREETING=from config"]}),
    )
    choices: dict[str, dict[str, Any]] = {
        "scratch": {},
        "musl": {},
        "busybox": {"run": ("sh", "{script}"), "cwd": "/srv"},
    }
    names = [f"own-{tag}" for tag in choices]
    for tag, choice in choices.items():
        options = ImportOptions(architecture=images.architecture)
        reference, text = (
            Reference.parse(f"oci:{layout.folder}:{tag}"),
            RuntimeText(name=f"own-{tag}", **choice),
        )
        await import_runtime(images, reference, options, text, folder / "runtimes", SilentProgress())
    async with Engine(replace(settings, runtimes=(folder / "runtimes",))) as engine:
        yield engine
    for name in names:
        images.remove(name)


async def test_a_static_program_from_scratch(own: Engine) -> None:
    async with own.sandbox("own-scratch", cold=True) as sandbox:
        result = await sandbox.run("", ["a", "b c"], stdin=b"one\ntwo\n")
        assert (result.status, result.exit_code) == (RunStatus.FAILED, 7)
        lines = result.stdout_data.decode().splitlines()
        assert lines == ["[a b c] /not/there/yet 65534 65534 hi /", "read one", "read two", "<nil> <nil>"]
        assert await sandbox.read_file("left") == b"behind", "files are those of the image's user"
        await sandbox.write_file("mine", b"1")
        usual = await sandbox.run("", env={"GREETING": "mine"})
        assert usual.stdout_data.startswith(b"[usual] /not/there/yet 65534 65534 mine /\n")
        shell = await sandbox.command(["sh", "-c", "true"])
        assert shell.status is RunStatus.START_FAILED
        assert "sh" in (shell.message or "")


async def test_another_c_library_in_a_clone(own: Engine) -> None:
    async with own.sandbox("own-musl") as sandbox:
        result = await sandbox.run("", ["works"])
        assert (result.stdout_data, result.exit_code) == (b"musl works\n", 4)


async def test_a_shell_script_as_another_user(own: Engine) -> None:
    script = (
        "id -u; id -g; pwd; echo $GREETING $HOME; cat page; ls /srv; touch x; "
        "ls -d /locked/y; touch /locked/y; touch /work/z"
    )
    async with own.sandbox("own-busybox", cold=True) as sandbox:
        result = await sandbox.run(script)
        said = result.stdout_data.decode().splitlines()
        assert said == ["33", "44", "/srv", "from config /srv", "newpage"], result
        assert b"Permission denied" in result.stderr_data
        assert [one.name for one in await sandbox.list_files(".") if one.name == "z"] == ["z"]
        root = await sandbox.command(["id", "-u"], user="root")
        assert root.stdout_data == b"0\n"
