"""The unit for systemd: understood by it, and as closed as the documentation says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[3]
UNITS = ROOT / "packaging/systemd"
UNIT = UNITS / "emberbox.service"
GUIDE = ROOT / "docs/deployment.md"

needs_systemd = pytest.mark.skipif(
    not Path("/usr/bin/systemd-analyze").exists(), reason="systemd is not installed"
)


def _analyze(*words: str) -> str:
    done = subprocess.run(
        ["/usr/bin/systemd-analyze", *words], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    return done.stdout + done.stderr


@needs_systemd
@pytest.mark.parametrize("name", [path.name for path in sorted(UNITS.iterdir())])
def test_systemd_understands_it(name: str, tmp_path: Path) -> None:
    # The program is not installed there, and the documentation neither: only what the unit itself
    # says is looked at.
    for unit in UNITS.iterdir():
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/emberbox/bin/emberbox", "/bin/true"))
    here = tmp_path / name
    assert _analyze("verify", "--man=no", str(here)) == ""
    here.write_text(here.read_text() + "NoSuchSetting=1\n")
    assert "NoSuchSetting" in _analyze("verify", "--man=no", str(here))


@needs_systemd
def test_it_is_as_closed_as_the_documentation_says() -> None:
    found = re.search(
        r"Overall exposure level for \S+: ([\d.]+)",
        _analyze("security", "--offline=true", "--no-pager", str(UNIT)),
    )
    said = re.search(r"an exposure of \*\*([\d.]+)", GUIDE.read_text())
    assert found is not None
    assert said is not None
    assert float(found[1]) <= float(said[1])


def test_every_capability_is_explained() -> None:
    bounding = next(
        line for line in UNIT.read_text().splitlines() if line.startswith("CapabilityBoundingSet=")
    )
    capabilities = set(re.findall(r"CAP_\w+", bounding))
    assert capabilities
    explained = GUIDE.read_text().partition("## systemd")[2].partition("## Behind a proxy")[0]
    assert capabilities == set(re.findall(r"`(CAP_\w+)`", explained))


@pytest.mark.parametrize("unit", sorted(UNITS.glob("*.service")), ids=lambda path: path.stem)
def test_the_unit_starts_what_there_is(unit: Path) -> None:
    from typer.main import get_command

    from emberbox.cli.app import make_app

    words = next(line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")).split()[1:]
    command = get_command(make_app())
    while words and hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words[1:] if word.startswith("--")} <= options


def test_a_job_that_kills_the_service_does_not_use_up_its_starts() -> None:
    from emberbox.service.jobs.running.attempts import INTERRUPTED

    said = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if re.match(r"[A-Za-z]+=", line))
    starts, interval_s = int(said["StartLimitBurst"]), float(said["StartLimitIntervalSec"])
    pauses_s = [INTERRUPTED.pause_s(number, chance=lambda: 0.0) for number in range(1, starts + 1)]
    assert sum(pauses_s) > interval_s
