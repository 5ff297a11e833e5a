"""Where the keys come from: a file, a systemd credential, or what a command prints."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from emberbox.errors import SecretsUnavailable
from emberbox.files.atomic import write_file
from emberbox.service.secrets.keys import Key, Keyring

if TYPE_CHECKING:
    from emberbox.config import SecretSettings

KEY_FILE = "secrets.key"
"""The key file in the data folder, where no other source is set."""
COMMAND_S = 30.0
_MOST_BYTES = 65_536


class KeySource(Protocol):
    """Where a vault's keys come from."""

    cheap: bool
    """Whether it may be asked every few seconds."""

    def load(self) -> Keyring:
        """Return the keys; blocks. Raises `SecretsUnavailable`."""


class KeyFile:
    """A file, which Emberbox also writes.

    Args:
        path: The file.
        name: What it is called in messages.
        own: Whether Emberbox makes it when it is needed first.
    """

    cheap = True

    def __init__(self, path: Path, name: str, *, own: bool = False) -> None:
        self.own = own
        self._path = path
        self._name = name

    def load(self) -> Keyring:
        """Return the keys; raises `SecretsUnavailable`."""
        try:
            with self._path.open("rb") as file:
                if os.fstat(file.fileno()).st_mode & 0o077:
                    raise SecretsUnavailable(
                        f"{self._name} may be read by others than its owner: chmod 600 it, and rotate the "
                        "key if others could have read it"
                    )
                return _parsed(file.read(_MOST_BYTES))
        except OSError as error:
            raise SecretsUnavailable(
                f"the key file, {self._name}, cannot be read ({error.strerror}): put it back, or begin with "
                "a new key (emberbox secrets rotate)"
            ) from error

    @property
    def missing(self) -> bool:
        """Whether there is no such file."""
        return not self._path.exists()

    def age_s(self) -> float:
        """Return how long ago the file was written, in seconds. Raises `OSError`."""
        return time.time() - self._path.stat().st_mtime

    def write(self, ring: Keyring) -> None:
        """Write the keys, for the file's owner alone, at once and through to the disk. Raises `OSError`."""
        write_file(self._path, ring.render(), durable=True)

    def begin(self) -> None:
        """Make the file with one new key, unless it is there. Raises `OSError`."""
        if self.missing:
            self.write(Keyring((Key.new(),)))


class Credential:
    """A credential that systemd hands to the service (`LoadCredential=`, `LoadCredentialEncrypted=`).

    Args:
        name: The credential's.
    """

    cheap = True

    def __init__(self, name: str) -> None:
        self._name = name

    def load(self) -> Keyring:
        """Return the keys; raises `SecretsUnavailable`."""
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if folder is None:
            raise SecretsUnavailable(
                "secrets.key_credential is set, but systemd handed over no credentials: name it in the unit, "
                f"LoadCredential={self._name}:FILE"
            )
        try:
            data = (Path(folder) / self._name).read_bytes()
        except OSError as error:
            raise SecretsUnavailable(
                f"the credential {self._name!r} of secrets.key_credential cannot be read: {error.strerror}"
            ) from error
        return _parsed(data)


class Command:
    """A command that prints the keys, such as the client of a vault. No shell is involved.

    Args:
        line: Its words, as a shell would read them.
    """

    cheap = False

    def __init__(self, line: str) -> None:
        self._words = shlex.split(line)

    def load(self) -> Keyring:
        """Return the keys; raises `SecretsUnavailable`, which does not tell what the command printed."""
        try:
            done = subprocess.run(
                self._words, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_S, check=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            reason = {
                subprocess.TimeoutExpired: f"it did not end within {COMMAND_S:g} s",
                subprocess.CalledProcessError: f"it ended with {getattr(error, 'returncode', None)}",
            }.get(type(error), "it could not be started")
            raise SecretsUnavailable(f"secrets.key_command told no keys: {reason}") from error
        return _parsed(done.stdout)


def key_source(settings: SecretSettings, data: Path) -> KeySource:
    """Return the source that the settings name; the key file in the data folder where they name none."""
    if settings.key_command:
        return Command(settings.key_command)
    if settings.key_credential:
        return Credential(settings.key_credential)
    if settings.key_file:
        return KeyFile(Path(settings.key_file), "the file that secrets.key_file names")
    return KeyFile(data / KEY_FILE, f"{KEY_FILE} in the data folder", own=True)


def _parsed(data: bytes) -> Keyring:
    """Return the ring of what a source holds, of its first bytes where it holds too much."""
    return Keyring.parse(data[:_MOST_BYTES].decode("ascii", "replace"))
