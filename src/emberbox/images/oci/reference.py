"""Where an image is: `oci:DIR[:TAG]`, `docker-archive:FILE[:NAME:TAG]` or `docker://REGISTRY/NAME[:TAG]`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from emberbox.errors import InvalidInput

_KINDS = ("oci", "docker-archive", "docker")
_ALLOWED = "oci:DIR[:TAG], docker-archive:FILE[:NAME:TAG] or docker://REGISTRY/NAME:TAG"
_REGISTRY_IMAGE = re.compile(
    r"(?P<name>(?:[A-Za-z0-9.-]+(?::[0-9]{1,5})?/|\[[0-9a-fA-F:]+\](?::[0-9]{1,5})?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """A place that an image can be had from.

    Args:
        kind: `oci`, `docker-archive` or `docker`.
        place: What stands behind it, without `//`.
    """

    kind: str
    place: str

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference; raises `InvalidInput` that says how one is written."""
        kind, colon, place = text.partition(":")
        if any(ord(character) < 32 for character in text) or len(text) > 2048:
            raise InvalidInput("a reference is one line of at most 2,048 characters")
        if not colon or kind not in _KINDS:
            raise InvalidInput(f"{text!r} names no image; write {_ALLOWED}")
        if kind != "docker":
            if not place:
                raise InvalidInput(
                    f"{text!r} names no {'folder' if kind == 'oci' else 'file'}; write {_ALLOWED}"
                )
            return cls(kind, place)
        place = place.removeprefix("//")
        if "@" in place.partition("/")[0]:
            raise InvalidInput("credentials do not belong into a reference; give a file with --auth-file")
        if not text.startswith("docker://") or _REGISTRY_IMAGE.fullmatch(place) is None:
            raise InvalidInput(f"{text!r} names no image in a registry; write docker://REGISTRY/NAME:TAG")
        return cls(kind, place)

    def __str__(self) -> str:
        return f"docker://{self.place}" if self.kind == "docker" else f"{self.kind}:{self.place}"

    @property
    def tag(self) -> str | None:
        """The tag it names, for people; None without one."""
        if self.kind == "docker":
            match = _REGISTRY_IMAGE.fullmatch(self.place)
            return match["tag"] if match is not None else None
        _, colon, tag = self.place.rpartition(":")
        return tag if colon and "/" not in tag else None

    def pinned(self, digest: str) -> Reference:
        """Return the same image by its digest, so that it cannot change; files stay as they are."""
        match = _REGISTRY_IMAGE.fullmatch(self.place)
        return (
            self
            if self.kind != "docker" or match is None
            else Reference(self.kind, f"{match['name']}@{digest}")
        )

    def suggested_name(self) -> str:
        """Return a runtime's name made from it: `docker://registry/team/App:1` gives `app`."""
        place = self.place.partition("@")[0]
        if self.kind == "docker-archive" and place.count(":") >= 2:
            place = place.rsplit(":", 2)[1]
        elif self.tag is not None:
            place = place.rpartition(":")[0]
        last = re.sub(r"\.tar(\.\w+)?$", "", place.rstrip("/").rpartition("/")[2].lower())
        name = re.sub(r"[^a-z0-9]+", "-", last).strip("-")[:32].rstrip("-")
        return name if name[:1].isalpha() else f"image-{name}"[:32].rstrip("-")
