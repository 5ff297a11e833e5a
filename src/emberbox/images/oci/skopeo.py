"""Brings an image's manifest, or all of it, here by `skopeo`, and says in plain words why it could not."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import ImageBuildFailed, ImageImportFailed, InvalidInput
from emberbox.images.oci import bounds
from emberbox.images.tools.process import run_tool
from emberbox.images.tools.requirements import find_program

if TYPE_CHECKING:
    from emberbox.images.oci.reference import Reference
    from emberbox.images.progress import Progress

_ASK_S = 120.0
_COPY_S = 3600.0
_POLICIES = (Path("~/.config/containers/policy.json"), Path("/etc/containers/policy.json"))

_CAUSES: tuple[tuple[str, str], ...] = (
    (
        r"unauthorized|authentication required|invalid username/password|401 ",
        "{registry} refuses these credentials, or wants some: log in (skopeo login {registry}), "
        "or name a file of credentials with --auth-file",
    ),
    (r"access to the resource is denied|denied:|403 ", "{registry} does not let this user have {image}"),
    (
        r"manifest unknown|name unknown|repository name not known|not found: manifest|404 ",
        "there is no {image} in {registry}; check its name and tag",
    ),
    (
        r"server gave HTTP response to HTTPS client",
        "{registry} speaks plain HTTP; if it is to be trusted nevertheless, add --insecure",
    ),
    (
        r"x509:|tls:|certificate",
        "{registry} has a certificate that this host does not trust; "
        "install its authority's, or add --insecure",
    ),
    (
        r"no such host|server misbehaving|Temporary failure in name resolution",
        "the name of {registry} is not known; check its spelling",
    ),
    (
        r"connection refused|i/o timeout|network is unreachable|no route to host|connection reset|"
        r"TLS handshake timeout",
        "{registry} cannot be reached",
    ),
    (r"no such file or directory|not a directory", "there is no {image}, or it is not complete"),
    (
        r"does not match (expected )?digest|Digest did not match|digest .* mismatch|unexpected EOF|"
        r"Error reading blob|"
        r"gzip: invalid|corrupt|checksum",
        "{image} is corrupt: a part of it is cut off, or not what its digest says",
    ),
    (
        r"no descriptor found for reference|no image found in|more than one image|Tag .* not found|"
        r"(item|reference) .*not found in|expected 1 item|no matching",
        "there is no such image in {image}; name it by its tag",
    ),
    (r"permission denied", "{image} may not be read by this user"),
    (
        r"unsupported|unknown media type|invalid character|cannot unmarshal|Error parsing|manifest\.json|"
        r"not a tar|invalid tar",
        "{image} cannot be read as an image",
    ),
)
"""What skopeo says, by its own words or a registry's, and what it means. The first that fits holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How a registry is spoken to.

    Args:
        insecure: True allows plain HTTP and certificates that nobody vouches for.
        auth_file: File of credentials, as `skopeo login --authfile` writes it; None for skopeo's
            own places, which the variable REGISTRY_AUTH_FILE names too.
    """

    insecure: bool = False
    auth_file: Path | None = None


class Skopeo:
    """Asks for one image.

    Args:
        reference: The image.
        architecture: `amd64` or `arm64`: which image of an index is taken.
        access: How a registry is spoken to.
        scratch: A folder for what it writes besides.
    """

    def __init__(self, reference: Reference, architecture: str, access: Access, scratch: Path) -> None:
        if access.auth_file is not None and not access.auth_file.is_file():
            raise InvalidInput(f"there is no file of credentials {str(access.auth_file)!r}")
        self._reference = reference
        self._architecture = architecture
        self._access = access
        self._scratch = scratch

    async def manifest(self) -> bytes:
        """Return the image's stored manifest or index; raises `ImageImportFailed` that says why not."""
        target = self._scratch / "manifest"
        await self._run(
            ["inspect", "--raw", *self._access_options(""), str(self._reference)],
            "look up",
            _ASK_S,
            stdout=target,
        )
        data = _read(target, bounds.MANIFEST_BYTES)
        if data is None:
            raise ImageImportFailed(
                f"{self._reference} has a manifest of more than {bounds.MANIFEST_BYTES} bytes"
            )
        return data

    async def copy(self, digest: str, folder: Path, progress: Progress) -> None:
        """Copy the image's manifest and all its parts into a new folder.

        Args:
            digest: The manifest's digest, which a registry is asked for.
            folder: Must not exist.
            progress: Takes what skopeo prints.
        """
        source = str(self._reference.pinned(digest))
        argv = ["copy", *self._access_options("src-"), source, f"dir:{folder}"]
        await self._run(argv, "copy", _COPY_S, progress=progress)

    def _access_options(self, prefix: str) -> list[str]:
        if self._reference.kind != "docker":
            return []
        options = [f"--{prefix}tls-verify=false"] if self._access.insecure else []
        auth = self._access.auth_file
        return options + ([f"--{prefix}authfile={auth}"] if auth is not None else [])

    async def _run(
        self,
        argv: list[str],
        verb: str,
        timeout_s: float,
        *,
        stdout: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        policy = [] if any(path.expanduser().is_file() for path in _POLICIES) else ["--insecure-policy"]
        platform = [f"--override-arch={self._architecture}", "--override-os=linux"]
        what = f"{verb} {self._reference}"
        try:
            await run_tool(
                [find_program("skopeo"), f"--tmpdir={self._scratch}", *policy, *platform, *argv],
                what=what,
                timeout_s=timeout_s,
                stdout=stdout,
                on_line=progress.log if progress is not None else None,
                env={"TMPDIR": str(self._scratch)},
            )
        except ImageBuildFailed as error:
            raise ImageImportFailed(explain(self._reference, error), detail=error.detail) from error


def explain(reference: Reference, error: ImageBuildFailed) -> str:
    """Return what a failure of skopeo means and what can be done about it."""
    said = error.detail or ""
    registry = reference.place.partition("/")[0] if reference.kind == "docker" else str(reference)
    for pattern, meaning in _CAUSES:
        if re.search(pattern, said, re.IGNORECASE):
            text = meaning.format(registry=registry, image=reference)
            return f"{text}. skopeo said: {_last_words(said)}" if "cannot be" in text else text
    return f"{error.message[:400]}"


def _last_words(said: str) -> str:
    match = re.search(r'msg="(.*)"\s*$', said.strip())
    return (match[1].replace('\\"', '"') if match is not None else said.strip().rpartition("\n")[2])[:300]


def _read(path: Path, most: int) -> bytes | None:
    with path.open("rb") as stream:
        data = stream.read(most + 1)
    return data if len(data) <= most else None


def copied(folder: Path, name: str, most: int) -> bytes:
    """Return a small part of a copied image; raises `ImageImportFailed` for a missing or too large one."""
    path = folder / name
    try:
        data = _read(path, most)
    except OSError as error:
        raise ImageImportFailed(
            "the copied image is not complete", detail=f"{path}: {os.strerror(error.errno or 0)}"
        ) from error
    if data is None:
        raise ImageImportFailed(
            f"the image's description is longer than {most} bytes; it is not imported", detail=str(path)
        )
    return data
