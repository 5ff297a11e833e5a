"""What the commands share: the options before the command, the settings, and the parts made from them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emberbox.config import Settings
    from emberbox.images import ImageStore
    from emberbox.runtimes import RuntimeCatalog
    from emberbox.sandbox import Engine


@dataclass(frozen=True, slots=True)
class GlobalOptions:
    """The options before the command.

    Args:
        data: Folder of images, templates and what lives at run time; None for the settings' own.
        config: Settings file; None for the usual places.
        debug: Show details and tracebacks of errors.
        verbose: Write the log to standard error.
        server: The server, for commands that speak to one and do not name another themselves.
        profile: A saved server, likewise.
    """

    data: str | None = None
    config: str | None = None
    debug: bool = False
    verbose: bool = False
    server: str | None = None
    profile: str | None = None

    @property
    def wants_details(self) -> bool:
        """Whether errors come with details and tracebacks.

        `--debug` asks for them, or EMBERBOX_DEBUG set to anything but 0.
        """
        return self.debug or os.environ.get("EMBERBOX_DEBUG", "0") not in {"", "0"}

    def settings(self, *, service: bool = False) -> Settings:
        """Read the settings, those of a `service` with its own defaults; raises `InvalidSettings`."""
        from emberbox.config import load_settings

        environment = dict(os.environ)
        if self.config is not None:
            environment["EMBERBOX_CONFIG"] = self.config
        return load_settings(environment, service=service, data=self.data)


def make_engine(settings: Settings) -> Engine:
    """Return an engine that was not started yet."""
    from emberbox.sandbox import Engine

    return Engine(settings)


def catalog(settings: Settings) -> RuntimeCatalog:
    """Return all runtimes: the built-in ones, the imported ones and the settings' own."""
    from emberbox.runtimes import discover, runtime_folders

    return discover(runtime_folders(settings.data, settings.runtimes))


def image_store(settings: Settings) -> ImageStore:
    """Return the store of images in the data folder."""
    from emberbox.sandbox.kernels import image_store as store

    return store(settings)


def runtime_names(incomplete: str) -> list[str]:
    """Return the names of runtimes that begin with what was typed; nothing where they cannot be read."""
    from emberbox.errors import EmberboxError

    try:
        names = catalog(GlobalOptions().settings()).names
    except EmberboxError:
        return []
    return [name for name in names if name.startswith(incomplete)]


def configure_logging(options: GlobalOptions) -> None:
    """Send the log to standard error with `--verbose`, else nowhere.

    Commands say themselves all that people must know.
    """
    import logging

    logger = logging.getLogger("emberbox")
    if not options.verbose:
        logger.handlers = [logging.NullHandler()]
        return
    handler = logging.StreamHandler()
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)s %(action)s %(message)s", defaults={"action": "-"})
    )
    logger.handlers = [handler]
    logger.setLevel(logging.DEBUG if options.wants_details else logging.INFO)
