"""The one place where an error becomes a message on standard error and an exit code."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from emberbox.cli import exit_codes
from emberbox.text import escaped

if TYPE_CHECKING:
    from collections.abc import Callable

    from emberbox.cli.context import GlobalOptions


class Interrupted(BaseException):
    """A signal ended a command, whose clean-up has run. No failure that a command handles."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def say(text: str) -> None:
    """Write a line of Emberbox's own to standard error, marked as such."""
    write_line(f"emberbox: {printable(text)}")


def write_line(text: str) -> None:
    """Write a line to standard error; a reader that has gone away is no error."""
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except OSError:
        pass


def printable(text: str) -> str:
    """Return `text` with what is hidden written out, so that what a guest said cannot steer the terminal."""
    return escaped(text, lines=True)


def guarded(options: GlobalOptions, command: Callable[[], int]) -> int:
    """Run a command and return its exit code, or tell its failure and return the code for that.

    Expected failures come without a traceback; `--debug` shows it, and the detail.
    """
    try:
        return command()
    except BrokenPipeError:
        _forget_standard_output()
        return exit_codes.BROKEN_PIPE
    except Interrupted as interrupted:
        return exit_codes.of_signal(interrupted.number)
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    except Exception as error:
        return _tell(error, options)


def _tell(error: Exception, options: GlobalOptions) -> int:
    from emberbox.errors import BootFailed, EmberboxError

    if isinstance(error, EmberboxError):
        say(error.message)
        detail = error.detail
    elif isinstance(error, OSError):
        say(str(error))
        detail = None
    else:
        say(f"internal error: {type(error).__name__}: {error}")
        write_line("This is a mistake in Emberbox; please report it with what emberbox --debug shows.")
        detail = None
    if options.wants_details:
        _tell_details(error, detail)
    elif detail and isinstance(error, BootFailed):
        # Of a guest that came to nothing, its last words are the message.
        write_line(printable(detail))
        write_line("  (emberbox run --cold --console … shows the whole boot)")
    elif detail:
        write_line("  (emberbox --debug … shows the details)")
    return exit_codes.of_error(error)


def _tell_details(error: Exception, detail: str | None) -> None:
    import traceback

    if detail:
        write_line(f"--- detail\n{printable(detail)}")
    write_line("--- traceback\n" + printable("".join(traceback.format_exception(error))))


def _forget_standard_output() -> None:
    """Let the interpreter's own flush at exit find something that takes it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
