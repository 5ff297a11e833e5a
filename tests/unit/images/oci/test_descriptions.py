"""References, manifests, configurations, users, and the manifest that an image's runtime gets."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.errors import ImageBuildFailed, ImageImportFailed, InvalidInput, InvalidManifest
from emberbox.images.oci import ImportedRoot, Reference, RuntimeText, runtime_text
from emberbox.images.oci.manifest import choose, parse_config, parse_manifest
from emberbox.images.oci.skopeo import explain
from emberbox.images.oci.users import find_user
from emberbox.runtimes import load

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.runtimes import Runtime

DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("text", "name", "tag"),
    [
        ("oci:some/dir", "dir", None),
        ("oci:/a/My_App:1.2", "my-app", "1.2"),
        ("docker-archive:/tmp/thing.tar", "thing", None),
        ("docker-archive:/tmp/x.tar:team/thing:9", "thing", "9"),
        ("docker://127.0.0.1:5000/team/app:v1", "app", "v1"),
        ("docker://registry.example/9lives", "image-9lives", None),
        (f"docker://registry.example/app@{DIGEST}", "app", None),
    ],
)
def test_references(text: str, name: str, tag: str | None) -> None:
    reference = Reference.parse(text)
    assert (str(reference), reference.suggested_name(), reference.tag) == (text, name, tag)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names no image"),
        ("python:3", "write oci:DIR"),
        ("oci:", "names no folder"),
        ("docker-archive:", "names no file"),
        ("docker:alpine", "docker://REGISTRY/NAME:TAG"),
        ("docker://UPPER/Case", "docker://REGISTRY/NAME:TAG"),
        ("docker://user:secret@host/app", "credentials do not belong"),
        ("oci:a\nb", "one line"),
        ("containers-storage:x", "names no image"),
    ],
)
def test_what_is_no_reference(text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as caught:
        Reference.parse(text)
    assert "secret" not in str(caught.value)


def test_a_registry_is_asked_for_a_digest_and_a_file_as_it_is() -> None:
    assert str(Reference.parse("docker://host:1/app:2").pinned(DIGEST)) == f"docker://host:1/app@{DIGEST}"
    assert str(Reference.parse("oci:dir:2").pinned(DIGEST)) == "oci:dir:2"


def test_an_index_gives_the_image_of_this_architecture_or_says_which_there_are() -> None:
    def manifest(machine: str, fill: str) -> dict[str, Any]:
        return {"digest": f"sha256:{fill * 64}", "platform": {"os": "linux", "architecture": machine}}

    data = json.dumps(
        {"manifests": [manifest("arm64", "a"), manifest("amd64", "b"), {"no": "platform"}, 7]}
    ).encode()
    assert choose(data, "amd64", "it") == f"sha256:{'b' * 64}"
    assert choose(b'{"config": {}, "layers": []}', "amd64", "it") is None
    with pytest.raises(
        ImageImportFailed, match=r"does not exist for linux/riscv64.*linux/amd64, linux/arm64"
    ):
        choose(data, "riscv64", "it")


GOOD = {
    "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": DIGEST, "size": 2},
    "layers": [],
}
HELM = {**GOOD["config"], "mediaType": "application/vnd.cncf.helm.config.v1+json"}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([], "no JSON object"),
        ({"schemaVersion": 1}, "outdated"),
        ({}, "names no configuration"),
        ({**GOOD, "config": HELM}, "artifact of the kind 'application/vnd.cncf.helm"),
        ({**GOOD, "artifactType": "text/x"}, "artifact of the kind 'text/x'"),
        ({**GOOD, "layers": [{}] * 300}, "300 layers"),
        ({**GOOD, "layers": [{"digest": DIGEST, "size": 2**50}]}, "larger than"),
        ({**GOOD, "layers": [{"digest": "../../etc/passwd", "size": 1}]}, "no SHA-256 digest"),
        ({**GOOD, "layers": [{"digest": DIGEST, "size": -1}]}, "without a size"),
        (
            {**GOOD, "layers": [{"digest": DIGEST, "size": 1, "mediaType": "x.tar+gzip+encrypted"}]},
            "encrypted",
        ),
    ],
)
def test_manifests_that_cannot_be_used(values: Any, says: str) -> None:
    with pytest.raises(ImageImportFailed, match=says):
        parse_manifest(json.dumps(values).encode(), "it")


@pytest.mark.parametrize("data", [b"", b"\xff", b"[" * 100_000, b"7"])
def test_what_is_no_description_at_all(data: bytes) -> None:
    for parse in (parse_manifest, parse_config):
        with pytest.raises(ImageImportFailed, match="no JSON"):
            parse(data, "it")


def test_a_configuration(caplog: pytest.LogCaptureFixture) -> None:
    run = {"Env": ["A=b=c", "bad-name=1", "EMPTY="], "User": "app", "Entrypoint": None, "Cmd": ["x"]}
    values = {"architecture": "amd64", "os": "linux", "config": run, "rootfs": {"diff_ids": [DIGEST]}}
    config = parse_config(json.dumps(values).encode(), "it")
    assert (config.env, config.user, config.cwd) == ({"A": "b=c", "EMPTY": ""}, "app", "")
    assert (config.entrypoint, config.cmd, config.layer_digests) == ((), ("x",), (DIGEST,))
    mistakes: tuple[Any, ...] = (
        {"User": 7},
        {"Cmd": "x"},
        {"Env": [1]},
        {"WorkingDir": "\ud800"},
        {"User": "a\0b"},
        [1],
    )
    for broken in mistakes:
        with pytest.raises(ImageImportFailed, match=r"broken|names no layers"):
            parse_config(json.dumps({**values, "config": broken}).encode(), "it")


ACCOUNTS = {
    "etc/passwd": "root:x:0:0::/root:/bin/sh\nrubbish\napp:x:100:101::/srv/app:\n",
    "etc/group": "staff:x:50:\n",
}


@pytest.mark.parametrize(
    ("named", "user", "home"),
    [
        ("app", "100:101", "/srv/app"),
        ("100", "100:101", "/srv/app"),
        ("app:staff", "100:50", "/srv/app"),
        ("app:7", "100:7", "/srv/app"),
        ("65534", "65534:0", "/"),
        ("65534:65534", "65534:65534", "/"),
        ("root", "0:0", "/root"),
    ],
)
def test_users(named: str, user: str, home: str) -> None:
    found = find_user(named, lambda path: ACCOUNTS[path])
    assert (str(found), found.home) == (user, home)


@pytest.mark.parametrize("named", ["nobody", "app:nogroup", "-1", "99999999999", ":", ":staff", "1:2:3"])
def test_users_that_the_image_does_not_have(named: str) -> None:
    with pytest.raises(ImageImportFailed, match="--user"):
        find_user(named, lambda path: ACCOUNTS[path])


ROOT = ImportedRoot(
    digest=DIGEST,
    source="oci:x",
    user="7:8",
    home="/h",
    env={"HOME": "/own", "Q": 'a "b" \\ \x7f \t 🙂 {script}'},
    cwd="srv/../app",
    entrypoint=("./run", "--fast"),
    cmd=("a b",),
    known=False,
    dropped=0,
)


def made(folder: Path, root: ImportedRoot, **choice: Any) -> Runtime:
    (folder / "app").mkdir(exist_ok=True)
    (folder / "app/runtime.toml").write_text(runtime_text(root, RuntimeText(name="app", **choice)))
    return load(folder / "app/runtime.toml")


def test_the_image_s_own_program(tmp_path: Path) -> None:
    runtime = made(tmp_path, ROOT, tag="1.0")
    assert (runtime.argv, runtime.arguments, runtime.cwd, runtime.version) == (
        ("/app/run", "--fast"),
        ("a b",),
        "/app",
        "1.0",
    )
    assert (runtime.image.imported, runtime.image.user, dict(runtime.env)) == (DIGEST, "7:8", dict(ROOT.env))
    assert not runtime.takes_script
    assert runtime.command("main") == ("/app/run", "--fast", "a b")
    assert runtime.command("main", ["mine"]) == ("/app/run", "--fast", "mine"), (
        "as with Docker, they stand in for the usual ones"
    )
    assert made(tmp_path, replace(ROOT, entrypoint=())).argv == ("a b",)


def test_scripts_by_an_interpreter_of_the_image(tmp_path: Path) -> None:
    runtime = made(tmp_path, ROOT, run=("python3", "-B", "{script}"), memory_mib=512)
    assert runtime.command("x.py", ["1"]) == ("python3", "-B", "x.py", "1")
    assert (runtime.takes_script, runtime.cwd, runtime.limits.memory_mib) == (True, None, 512)


def test_images_that_no_runtime_can_be_made_of(tmp_path: Path) -> None:
    with pytest.raises(ImageImportFailed, match="--run"):
        made(tmp_path, replace(ROOT, entrypoint=(), cmd=()))
    with pytest.raises(ImageImportFailed, match="--run"):
        made(tmp_path, replace(ROOT, entrypoint=("x", "{script}")))
    with pytest.raises(InvalidManifest, match="control characters"):
        made(tmp_path, replace(ROOT, entrypoint=("sh", "-c", "a\nb")))


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ('[image]\nimported = "latest"\n[run]\nargv = ["x"]', "imported"),
        (f'[image]\nimported = "{DIGEST}"\npackages = ["python3"]\n[run]\nargv = ["x"]', "packages"),
        ('[run]\nargv = ["x"]', "argv"),
        ('[run]\nargv = ["x", "{script}"]\nuser = "nobody"', "user"),
        ('[run]\nargv = ["x", "{script}"]\nuser = "4294967295:0"', "user"),
        ('[run]\nargv = ["x", "{script}"]\ncwd = "here"', "cwd"),
        ('[run]\nargv = ["x", "{script}"]\narguments = ["y"]', "arguments"),
    ],
)
def test_mistakes_in_a_manifest(tmp_path: Path, field: str, says: str) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/runtime.toml").write_text(f'name = "app"\nversion = "1"\n{field}\n')
    with pytest.raises(InvalidManifest, match=says):
        load(tmp_path / "app/runtime.toml")


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("dial tcp 10.0.0.1:443: connect: connection refused", "registry.example cannot be reached"),
        (
            "reading manifest 1 in x: manifest unknown",
            "there is no docker://registry.example/app:1 in registry.example",
        ),
        ("x509: certificate signed by unknown authority", "a certificate"),
        ("something quite new", "could not"),
    ],
)
def test_what_skopeo_says_and_what_it_means(said: str, means: str) -> None:
    error = ImageBuildFailed(
        "could not copy it: skopeo ended with code 1", detail=f'time="now" level=fatal msg="{said}"'
    )
    assert means in explain(Reference.parse("docker://registry.example/app:1"), error)
