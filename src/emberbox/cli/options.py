"""The options that commands share, each told once: for Typer, and for the quick way of `emberbox run`.

Nothing of Typer is imported here: it costs more time than a clone of a VM.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from emberbox.cli.context import runtime_names

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a command.

    Args:
        field: The parameter that takes it; for an option of a run, its field of `emberbox.model.RunOptions`.
        names: How it is written, separated by blanks.
        help: What the help says of it.
        kind: What its value is converted to; `bool` for a switch, which has none.
        metavar: Stands for its value in the help.
        many: Whether it may be repeated.
        complete: Returns values that begin with what was typed; None for none.
    """

    field: str
    names: str
    help: str
    kind: type[bool | int | float | str] = bool
    metavar: str | None = None
    many: bool = False
    complete: Callable[[str], list[str]] | None = None

    def saying(self, text: str) -> Option:
        """Return the same option with another help."""
        return replace(self, help=text)


SIZE = (
    Option("memory_mib", "--memory -m", "Memory of the VM.", int, "MIB"),
    Option("vcpus", "--vcpus", "Virtual CPUs.", int, "N"),
    Option("disk_mib", "--disk", "Bound of the files that are written.", int, "MIB"),
)
"""What runs here and jobs take alike. Each reaches `RunOptions` by its name alone."""
TIMEOUT = Option("timeout_s", "--timeout -t", "Time limit.", float, "SECONDS")
ENV = Option("env", "--env -e", "Variable; K alone takes yours.", str, "K[=V]", many=True)
_SEALED = "Variable that a server stores encrypted; K alone takes yours."
SECRET_ENV = Option("secret_env", "--secret-env", _SEALED, str, "K[=V]", many=True)
COLD = Option("cold", "--cold", "Boot a VM instead of cloning one.")

CODE = Option("code", "--code -c", "The script's text, instead of FILE.", str, "CODE")
RUNTIME = Option("runtime", "--runtime -r", "Told from FILE where left out.", str, "NAME")
FILES = Option("files", "--file -f", "Put a file or folder beside it.", str, "HOST[:GUEST]", many=True)
_INSTALL = "Install what this requirements.txt or package.json names."
REQUIREMENTS = Option("requirements", "--requirements", _INSTALL, str, "FILE")
_KEEP = "With --wait: write what it leaves behind there."
OUTPUT_DIR = Option("output_dir", "--output-dir -o", _KEEP, str, "DIR")
INTERACTIVE = Option("interactive", "--interactive -i", "Wait, and pass standard input as it comes.")
WAIT = Option("wait", "--wait/--detach", "Wait, and show output as it comes.")
NAME = Option("name", "--name", "A name for people.", str, "TEXT")
LABELS = Option("labels", "--label -l", "Label; may be repeated.", str, "NAME=VALUE", many=True)

DRY_RUN = Option("dry_run", "--dry-run", "Only tell what would be removed.")
JSON = Option("json", "--json", "Print JSON.")
SERVER = Option("server", "--server", "The server [env: EMBERBOX_SERVER].", str, "URL")
PROFILE = Option("profile", "--profile", "A saved server; see: emberbox login --help.", str, "NAME")

_MOST = "End a program that writes more; 0 for no bound. [usual: 64]"
_CONSOLE = "Show the guest's console on standard error; with --cold, its boot as well."
RUN = (
    CODE,
    replace(RUNTIME, help="Runtime; told from FILE where left out.", complete=runtime_names),
    TIMEOUT.saying("Time limit; 0 for none."),
    *SIZE,
    Option("max_output_mib", "--max-output", _MOST, int, "MIB"),
    ENV.saying("Environment variable; K alone takes yours."),
    SECRET_ENV.saying("The same; jobs on a server keep it encrypted."),
    FILES.saying("File or folder to put beside the script."),
    COLD,
    Option("console", "--console", _CONSOLE),
    JSON.saying("Print the result as JSON, instead of the output as it comes."),
    Option("time", "--time", "Tell on standard error where the time went."),
    INTERACTIVE.saying("Pass standard input even when it is a terminal."),
    OUTPUT_DIR.saying("Write the files of its output folder there."),
    REQUIREMENTS,
)
"""The options of `emberbox run`."""
SUBMIT = (
    CODE,
    RUNTIME,
    WAIT,
    INTERACTIVE,
    ENV,
    SECRET_ENV,
    FILES,
    REQUIREMENTS,
    Option("artifacts", "--artifact -a", "Keep files that match afterwards.", str, "GLOB", many=True),
    OUTPUT_DIR,
    Option("stdin", "--stdin", "What it reads; '-' for standard input.", str, "FILE"),
    TIMEOUT,
    *SIZE,
    Option("priority", "--priority", "-10 to 10; higher ones start first.", int, "N"),
    Option("retries", "--retries", "Repeat when the program fails.", int, "N"),
    NAME,
    LABELS,
    Option("webhook", "--webhook", "Tell this address of the end.", str, "URL"),
    COLD,
)
"""The options of `emberbox submit`."""
SCRIPT_RUN = tuple(option for option in SUBMIT if option not in (CODE, RUNTIME, OUTPUT_DIR))
"""The options of `emberbox scripts run`."""
