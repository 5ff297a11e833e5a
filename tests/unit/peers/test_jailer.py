"""The jailer's peer does on this host what the jailer does.

As root, in bubblewrap as the driver starts it where that matters.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.patience import PATIENCE_S
from tests.peers.binaries import make_binaries, system_python
from tests.peers.jailer import cgroups
from tests.peers.jailer.arguments import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("bwrap") is None, reason="takes root and bubblewrap"
)

UID = 790_123
GROUPS = Path("/sys/fs/cgroup")
BUBBLEWRAP = [
    "bwrap",
    "--dev-bind",
    "/",
    "/",
    "--proc",
    "/proc",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
]
BUBBLEWRAP += ["--unshare-net", "--cap-add", "ALL", "--die-with-parent", "--"]
REPORT = """\
#!{python} -I
import json, os, resource, subprocess, sys

def attempt(action):
    try:
        return str(action())
    except OSError as error:
        return type(error).__name__

def owner(path):
    found = os.stat(path)
    return [oct(found.st_mode & 0o7777), found.st_uid, found.st_gid, \
os.major(found.st_rdev), os.minor(found.st_rdev)]

said = dict(argv=sys.argv, uids=os.getresuid(), gids=os.getresgid(), \
groups=os.getgroups(), pid=os.getpid(), env=dict(os.environ),
    files=resource.getrlimit(resource.RLIMIT_NOFILE), length=resource.getrlimit(resource.RLIMIT_FSIZE),
    open=sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:3], cgroups=open("/proc/self/cgroup").read(),
    net=os.readlink("/proc/self/ns/net"), root=sorted(os.listdir("/")), session=os.getsid(0),
    owners={{path: owner(path) for path in ("/", "/dev", "/dev/net", "/run", \
"/dev/net/tun", "/dev/kvm", "/dev/urandom",
        "/kept")}},
    urandom=attempt(lambda: len(open("/dev/urandom", "rb").read(4))), \
null=attempt(lambda: open("/dev/null").read()),
    usr=attempt(lambda: open("/usr/emberbox-test", "w")),
    capable=[x for x in open("/proc/self/status") if x.startswith("CapEff")],
    shell=subprocess.run(["/bin/sh", "-c", "exit 7"]).returncode)
with open("/run/said", "w") as file:
    json.dump(said, file)
print("ran")
"""


class Place:
    """A folder of jails, the peers' launchers, and a program that tells what it sees in its jail."""

    def __init__(self, folder: Path) -> None:
        self.jailer = make_binaries(folder / "bin").jailer
        self.program = folder / "bin" / "report-firecracker"
        self.program.write_text(REPORT.format(python=system_python()))
        self.program.chmod(0o755)
        self.base = folder / "jails"
        self.base.mkdir()
        self.parent = f"emberbox-test-{secrets.token_hex(4)}"

    def root(self, name: str) -> Path:
        return self.base / self.program.name / name / "root"

    def arguments(self, name: str, *more: str, program: Path | None = None) -> list[str]:
        given = [
            "--id",
            name,
            "--exec-file",
            str(program or self.program),
            "--uid",
            str(UID),
            "--gid",
            str(UID + 1),
        ]
        return [*given, "--chroot-base-dir", str(self.base), "--parent-cgroup", self.parent, *more]

    def run(self, *arguments: str, wrapped: bool = False) -> subprocess.CompletedProcess[str]:
        command = [*(BUBBLEWRAP if wrapped else []), str(self.jailer), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_S, check=False, cwd="/"
        )

    def prepare(self, name: str) -> Path:
        """Make the jail's root with a file of ours in it, as a driver does."""
        root = self.root(name)
        root.mkdir(parents=True)
        (root / "kept").write_text("ours")
        return root

    def said(self, name: str) -> dict[str, Any]:
        said: dict[str, Any] = json.loads((self.root(name) / "run" / "said").read_text())
        return said


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A place whose control groups are removed afterwards."""
    made = Place(tmp_path)
    yield made
    for parent in (*GROUPS.glob(f"*/{made.parent}"), *GROUPS.glob(made.parent)):
        for folder in (*(entry for entry in parent.iterdir() if entry.is_dir()), parent):
            folder.rmdir()


def has_version_1(*controllers: str) -> bool:
    return all((GROUPS / controller / "tasks").exists() for controller in controllers)


def test_says_its_version(place: Place, tmp_path: Path) -> None:
    assert place.run("--version").stdout.splitlines()[0] == "Jailer v1.16.1"
    other = make_binaries(tmp_path / "other", version="1.17.0")
    assert (
        subprocess.run([other.jailer, "--version"], capture_output=True, text=True, check=True).stdout
        == "Jailer v1.17.0\n"
    )


def test_a_program_runs_in_its_jail_with_nothing_of_the_host(place: Place) -> None:
    root = place.prepare("m-1")
    done = place.run(
        *place.arguments("m-1", "--resource-limit", "fsize=100000", "--", "--api-sock", "/api.sock"),
        wrapped=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")
    said = place.said("m-1")
    assert said["uids"] == [UID] * 3
    assert said["gids"] == [UID + 1] * 3
    assert said["groups"] == []
    assert set(said["env"]) <= {"LC_CTYPE"}  # that one is Python's own
    assert [line.split()[1].strip("0") for line in said["capable"]] == [""]
    argv = said["argv"]
    assert argv[0] == "/report-firecracker"
    assert argv[1:9:2] == ["--id", "--start-time-us", "--start-time-cpu-us", "--parent-cpu-time-us"]
    assert all(argv[at].isdecimal() for at in (4, 6, 8))
    assert argv[9:] == ["--api-sock", "/api.sock"]
    assert not {"root", "home", "etc/passwd", "old_root", "sys"} & set(said["root"])
    assert (root / "report-firecracker.pid").read_text() == str(said["pid"])
    assert said["shell"] == 7
    assert (said["urandom"], said["null"], said["usr"]) == ("4", "", "OSError")


def test_only_the_jailers_own_folders_and_devices_change_owner(place: Place) -> None:
    root = place.prepare("m-2")
    shared = place.base / "shared"
    shared.write_text("a template's file")
    (root / "shared").hardlink_to(shared)
    assert place.run(*place.arguments("m-2")).returncode == 0
    owners = place.said("m-2")["owners"]
    for folder in ("/", "/dev", "/dev/net", "/run"):
        assert owners[folder][:3] == ["0o700", UID, UID + 1]
    assert owners["/dev/net/tun"] == ["0o600", UID, UID + 1, 10, 200]
    assert owners["/dev/kvm"] == ["0o600", UID, UID + 1, 10, 232]
    assert owners["/dev/urandom"] == ["0o600", UID, UID + 1, 1, 9]
    assert owners["/kept"][1:3] == [0, 0]
    assert (shared.stat().st_uid, shared.stat().st_gid) == (0, 0)


def test_what_is_mounted_for_the_peer_is_not_there_on_the_host(place: Place) -> None:
    root = place.prepare("m-3")
    assert place.run(*place.arguments("m-3")).returncode == 0
    assert list((root / "usr").iterdir()) == []
    assert str(root) not in Path("/proc/mounts").read_text()
    shutil.rmtree(root.parent)


def test_a_narrow_mask_is_no_hindrance(place: Place) -> None:
    root = place.prepare("m-17")
    command = [str(place.jailer), *place.arguments("m-17")]
    subprocess.run(command, umask=0o077, check=True, timeout=PATIENCE_S, stdout=subprocess.DEVNULL)
    assert place.said("m-17")["shell"] == 7
    for passage in ("etc", "usr", "proc"):
        assert stat.S_IMODE((root / passage).stat().st_mode) == 0o755


def test_the_program_is_the_vmms_own_and_no_link_takes_its_place(place: Place) -> None:
    root = place.prepare("m-18")
    command = [str(place.jailer), *place.arguments("m-18")]
    subprocess.run(command, umask=0o077, check=True, timeout=PATIENCE_S, stdout=subprocess.DEVNULL)
    copied = (root / place.program.name).stat()
    assert (copied.st_uid, copied.st_gid, stat.S_IMODE(copied.st_mode)) == (UID, UID + 1, 0o700)
    for number, plant in ((19, Path.symlink_to), (20, Path.hardlink_to)):
        target = place.base / f"target-{number}"
        target.write_text("of the host's")
        plant(place.prepare(f"m-{number}") / place.program.name, target)
        refused = place.run(*place.arguments(f"m-{number}"))
        assert refused.returncode == 1
        assert target.read_text() == "of the host's"


def test_an_id_that_was_not_cleaned_is_refused(place: Place) -> None:
    root = place.prepare("m-4")
    assert place.run(*place.arguments("m-4")).returncode == 0
    again = place.run(*place.arguments("m-4"))
    assert (again.returncode, again.stdout) == (1, "")
    assert "/dev/net/tun" in again.stderr
    for device in ("net/tun", "kvm", "urandom", "userfaultfd"):
        (root / "dev" / device).unlink(missing_ok=True)
    again = place.run(*place.arguments("m-4"))
    assert again.returncode == 1
    assert "report-firecracker.pid" in again.stderr


@pytest.mark.skipif(not has_version_1("memory", "pids", "cpu"), reason="no control groups of version 1")
def test_groups_of_version_1_hold_the_process(place: Place) -> None:
    place.prepare("m-5")
    groups = [
        "--cgroup",
        "memory.limit_in_bytes=209715200",
        "--cgroup",
        "pids.max=50",
        "--cgroup",
        "cpu.cfs_quota_us=50000",
    ]
    assert place.run(*place.arguments("m-5", *groups), wrapped=True).returncode == 0
    said = dict(line.split(":")[1:] for line in place.said("m-5")["cgroups"].splitlines())
    for controller, file, value in (
        ("memory", "memory.limit_in_bytes", "209715200"),
        ("pids", "pids.max", "50"),
    ):
        assert said[controller] == f"/{place.parent}/m-5"
        assert (GROUPS / controller / place.parent / "m-5" / file).read_text().strip() == value


@pytest.mark.skipif(not has_version_1("cpuset"), reason="no control groups of version 1")
def test_an_empty_cpuset_inherits_what_takes_processes(place: Place) -> None:
    place.prepare("m-6")
    groups = ["--cgroup", "cpuset.mems=0", "--cgroup", "cpuset.cpus=0"]
    assert place.run(*place.arguments("m-6", *groups)).returncode == 0
    assert f"cpuset:/{place.parent}/m-6" in place.said("m-6")["cgroups"]


def test_a_controller_that_is_not_there_is_an_error(place: Place) -> None:
    version = "2" if not (GROUPS / "cgroup.controllers").exists() else "1"
    done = place.run(*place.arguments("m-7", "--cgroup-version", version, "--cgroup", "memory.max=1000000"))
    assert done.returncode == 1
    assert "memory is unavailable" in done.stderr or "Hierarchy not found" in done.stderr


def test_groups_of_version_2_are_offered_down_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Place
) -> None:
    """On a tree of plain files: where version 1 holds the controllers, version 2 has none to try."""
    mount = tmp_path / "unified"
    group = mount / "outer/inner/m-16"
    group.mkdir(parents=True)
    (mount / "cgroup.controllers").write_text("memory pids\n")
    for file in (
        *(folder / "cgroup.subtree_control" for folder in (mount, mount / "outer", mount / "outer/inner")),
    ):
        file.touch()
    for name in ("memory.max", "cgroup.procs"):
        (group / name).touch()
    (tmp_path / "mounts").write_text(f"cgroup2 {mount} cgroup2 rw 0 0\n")
    monkeypatch.setattr(cgroups, "_MOUNTS", tmp_path / "mounts")
    given = place.arguments("m-16", "--cgroup-version", "2", "--cgroup", "memory.max=1000000")
    given[given.index("--parent-cgroup") + 1] = "outer/inner"
    cgroups.enter(parse(given))
    assert (group / "memory.max").read_text() == "1000000\n"
    assert (group / "cgroup.procs").read_text() == f"{os.getpid()}\n"
    for folder in (mount, mount / "outer", mount / "outer/inner"):
        assert (folder / "cgroup.subtree_control").read_text() == "+memory\n"


def test_limits(place: Place) -> None:
    place.prepare("m-8")
    limits = ["--resource-limit", "fsize=50000", "--resource-limit", "no-file=99"]
    assert place.run(*place.arguments("m-8", *limits)).returncode == 0
    assert place.said("m-8")["files"] == [99, 99]
    assert place.said("m-8")["length"] == [50000, -1]
    place.prepare("m-9")
    assert place.run(*place.arguments("m-9")).returncode == 0
    assert place.said("m-9")["files"] == [2048, 2048]


def test_inherited_descriptors_and_environment_do_not_reach_the_jail(place: Place) -> None:
    place.prepare("m-10")
    descriptor = os.open("/etc/passwd", os.O_RDONLY)
    try:
        subprocess.run(
            [place.jailer, *place.arguments("m-10")],
            pass_fds=[descriptor],
            env={"SECRET": "x"},
            check=True,
            timeout=PATIENCE_S,
            stdout=subprocess.DEVNULL,
        )
    finally:
        os.close(descriptor)
    said = place.said("m-10")
    assert "SECRET" not in said["env"]
    assert said["open"] == [0, 1, 2] or descriptor not in said["open"]


def test_a_namespace_is_joined(place: Place) -> None:
    place.prepare("m-11")
    with subprocess.Popen(
        ["/usr/bin/unshare", "-n", "sh", "-c", "echo up; read x"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        space = f"/proc/{other.pid}/ns/net"
        assert place.run(*place.arguments("m-11", "--netns", space)).returncode == 0
        assert place.said("m-11")["net"] == str(Path(space).readlink())
        other.communicate(b"\n")
    assert place.said("m-11")["net"] != str(Path("/proc/self/ns/net").readlink())


def test_a_new_pid_namespace_has_the_program_first_and_the_jailer_gone(place: Place) -> None:
    root = place.prepare("m-12")
    done = place.run(*place.arguments("m-12", "--new-pid-ns"))
    # The pipe ends with the last process that holds it, so the program has ended too.
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert place.said("m-12")["pid"] == 1
    assert int((root / "report-firecracker.pid").read_text()) > 1


def test_a_daemon_says_nothing_and_has_a_session_of_its_own(place: Place) -> None:
    place.prepare("m-13")
    done = place.run(*place.arguments("m-13", "--daemonize"))
    assert (done.returncode, done.stdout) == (0, "")
    assert place.said("m-13")["session"] == place.said("m-13")["pid"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (["--id", "no_underscore"], "instance ID"),
        (["--id", "x" * 65], "instance ID"),
        (["--exec-file", "/usr/bin/true"], "must contain"),
        (["--exec-file", "/nonexistent/firecracker"], "canonicalize"),
        (["--uid", "-1"], "Invalid uid"),
        (["--gid", "4294967296"], "Invalid gid"),
        (["--chroot-base-dir", "/nonexistent"], "canonicalize"),
        (["--parent-cgroup", "../other"], "Parent cgroup"),
        (["--parent-cgroup", "/other"], "Parent cgroup"),
        (["--cgroup-version", "3"], "cgroup version"),
        (["--cgroup", "memory.max"], "format for cgroups"),
        (["--cgroup", "../../x.y=1"], "Cgroup invalid file"),
        (["--cgroup", "memory.memsw.limit_in_bytes=1"], "Cgroup invalid file"),
        (["--resource-limit", "fsize"], "format for resources"),
        (["--resource-limit", "stack=1"], "resource argument"),
        (["--resource-limit", "fsize=-1"], "limit value"),
        (["--colour", "red"], "--colour"),
        (["--netns"], "netns"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(
    place: Place, change: list[str], told: str
) -> None:
    arguments = place.arguments("m-14")
    if change[0] in arguments:
        at = arguments.index(change[0])
        arguments[at : at + 2] = change
    else:
        arguments += change
    done = place.run(*arguments)
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert list(place.base.iterdir()) == []


@pytest.mark.parametrize("missing", ["--id", "--exec-file", "--uid", "--gid"])
def test_what_must_be_given(place: Place, missing: str) -> None:
    arguments = place.arguments("m-15")
    at = arguments.index(missing)
    done = place.run(*arguments[:at], *arguments[at + 2 :])
    assert done.returncode == 1
    assert missing[2:] in done.stderr


def test_launchers_are_programs_of_their_own(place: Place) -> None:
    assert stat.S_IMODE(place.jailer.stat().st_mode) == 0o755
    assert place.jailer.read_text().startswith("#!/")
