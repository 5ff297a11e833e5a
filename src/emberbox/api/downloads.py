"""Files that the service hands out. Their names and bytes are hostile: no browser shows or runs them."""

from __future__ import annotations

from urllib.parse import quote

BINARY = "application/octet-stream"
TAR = "application/x-tar"


def attachment(name: str, size: int | None = None) -> dict[str, str]:
    """Return headers under which a file is saved, not shown.

    Args:
        name: What the file should be called: in full for those who read RFC 5987, else what of it
            is plain ASCII.
        size: Its bytes; None where that is not known.
    """
    plain = (
        "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in name)[:200].strip(" .")
        or "file"
    )
    exact = quote(name.encode("utf-8", "replace")[:500].decode("utf-8", "ignore"), safe="")
    headers = {
        "content-disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}",
        "content-security-policy": "sandbox; default-src 'none'",
    }
    return headers if size is None else headers | {"content-length": str(size)}
