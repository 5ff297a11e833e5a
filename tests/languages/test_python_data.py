"""Figures and libraries of python-data."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from emberbox.runtimes import builtin_folder
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from emberbox import Engine, RunResult

pytestmark = pytest.mark.language("python-data")
RUNTIME = "python-data"
PLOT = "import matplotlib.pyplot as plt\n"


async def run(engine: Engine, code: str, **options: object) -> RunResult:
    return await engine.run(PLOT + code, runtime=RUNTIME, timeout_s=PATIENCE_S, **options)  # type: ignore[arg-type]


def dimensions(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


async def test_the_example_leaves_its_figures_and_its_table(language_engine: Engine) -> None:
    example = builtin_folder() / RUNTIME / "examples" / "figures.py"
    result = await language_engine.run(example, runtime=RUNTIME, timeout_s=PATIENCE_S)
    assert (result.ok, result.stderr) == (True, "")
    assert [file.name for file in result.files] == ["figure-1.png", "figure-2.png", "sin.csv"]
    assert dimensions(result.files[0].data) == (640, 480)
    assert dimensions(result.files[1].data) == (960, 360), "size and dpi are the figure's own"


async def test_what_is_shown_is_closed_and_what_is_saved_is_not_saved_twice(language_engine: Engine) -> None:
    code = (
        "plt.plot([1]); plt.show(); print(plt.get_fignums()); "
        "plt.plot([2]); plt.savefig('mine.png'); print(plt.get_fignums())"
    )
    result = await run(language_engine, code)
    assert (result.stdout, result.stderr) == ("[]\n[1]\n", "")
    assert [file.name for file in result.files] == ["figure-1.png"]


async def test_figures_shown_without_blocking_are_saved_when_they_are_closed(language_engine: Engine) -> None:
    code = (
        "plt.plot([1]); plt.show(block=False); plt.plot([2]); plt.close(); "
        "f, a = plt.subplots(); f.show(); plt.pause(0.01)"
    )
    result = await run(language_engine, code)
    assert (result.ok, result.stderr) == (True, "")
    assert [file.name for file in result.files] == ["figure-1.png", "figure-2.png"]


async def test_a_failing_program_keeps_its_exit_code_and_its_figure(language_engine: Engine) -> None:
    result = await run(language_engine, "plt.plot([1]); raise SystemExit(7)")
    assert (result.exit_code, [file.name for file in result.files]) == (7, ["figure-1.png"])


@pytest.mark.parametrize("own", ["matplotlib", "environment"])
async def test_a_backend_of_the_programs_own_is_respected(language_engine: Engine, own: str) -> None:
    use = "import matplotlib; matplotlib.use('Agg'); " if own == "matplotlib" else ""
    env = {"MPLBACKEND": "agg"} if own == "environment" else {}
    result = await run(language_engine, f"{use}plt.plot([1]); print(plt.get_backend().lower())", env=env)
    assert (result.stdout, result.files) == ("agg\n", ())


async def test_bounds_are_told(language_engine: Engine) -> None:
    code = (
        "import emberbox_figures; emberbox_figures.MOST_FIGURES = 2\n"
        "for n in range(4): plt.figure(figsize=(1, 1))\nplt.show()"
    )
    result = await run(language_engine, code)
    assert [file.name for file in result.files] == ["figure-1.png", "figure-2.png"]
    assert result.stderr == "emberbox: only the first 2 figures are saved\n"
    result = await run(language_engine, "plt.figure(figsize=(100, 100), dpi=1000); plt.show()")
    assert result.files == ()
    assert "pixels are not saved" in result.stderr
