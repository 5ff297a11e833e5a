"""The page about languages says what was measured, and the benchmark what was wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.languages.findings import LanguageFindings, language_tables
from bench.languages.measuring import disk_use, kind
from bench.languages.results import read_results
from bench.languages.table import COLUMNS, table_row
from bench.reports.languages_page import PAGE_COLUMNS, page

from tests.unit.languages.fakes import COMPILED, make_runtime

ROOT = Path(__file__).parents[2]
SPREAD = {"n": 3, "p50": 50.4, "p95": 1234.5}


def row(name: str = "toy", **values: Any) -> dict[str, Any]:
    usual = {
        "name": name,
        "version": "1.2",
        "version_text": "Toy 1.2|3",
        "kind": "interpreted",
        "image_mib": 50.6,
        "cold_ms": SPREAD,
        "clone_ms": SPREAD,
        "pooled_ms": SPREAD,
        "fresh_ms": None,
        "compile_ms": None,
        "peak_memory_mib": 3.5,
        "compile_peak_memory_mib": None,
        "gvisor_ms": SPREAD,
        "gvisor_note": "runsc",
        "compile_error": {"ended": "failed, exit code 2", "text": "line 2: what?\n  ^"},
        "runtime_error": None,
    }
    return {**usual, **values}


def results(*rows: dict[str, Any]) -> dict[str, Any]:
    host = {"cpu": "Toy", "cores": 2, "memory_mib": 1024, "accelerator": "tcg", "vmm": None}
    disk = {"images": 2, "bytes": 100 * 2**20, "unshared_bytes": 150 * 2**20}
    return {
        "taken_at": "2026-01-01",
        "quick": False,
        "host": host,
        "disk": disk,
        "languages": list(rows),
        "not_measured": ["b"],
    }


def test_the_page_in_docs_is_what_the_results_say() -> None:
    written = (ROOT / "docs/languages.md").read_text()
    assert written == page(read_results(ROOT / "bench/results/languages.json")), "make languages-page"


def test_a_page_has_every_language_and_its_messages() -> None:
    text = page(
        results(
            row("b-toy"),
            row("a-toy", gvisor_ms=None, gvisor_note="runsc ended with 1", compile_peak_memory_mib=70.2),
        )
    )
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert (
        lines[0].split(" | ")[0] == "| runtime"
        and lines[2].startswith("| a-toy |")
        and lines[3].startswith("| b-toy |")
    )
    assert all(line.count("|") == len(PAGE_COLUMNS) + 1 == len(COLUMNS) for line in lines)
    assert text.count("- a-toy: Toy 1.2|3\n") == 1
    assert "| 50 / 1,234 |" in lines[3] and "| 4 / 70 | — |" in lines[2]
    assert (
        "100 MiB on disk" in text and "- a-toy: runsc ended with 1" in text and "Not measured yet: b." in text
    )
    assert "Compile error, ended as failed, exit code 2:\n\n    line 2: what?\n      ^\n" in text


def test_the_page_says_who_is_slower_than_gvisor_and_why() -> None:
    times = {
        "clone_ms": 300.0,
        "clone_cpu_ms": 90.0,
        "pooled_ms": 40.0,
        "pooled_cpu_ms": 9.0,
        "gvisor_ms": 200.0,
    }
    spreads = {name: {"p50": value, "p95": value} for name, value in times.items()}
    text = page(
        results(
            row("a", **spreads),
            row("b", **{**spreads, "pooled_ms": {"p50": 250.0, "p95": 1.0}}),
            row("c", gvisor_ms=None),
        )
    )
    assert "Slower than runsc when pooled: b (1 of 2)." in text
    assert "Slower than runsc when cloned for the call: a, b (2 of 2)." in text
    assert "| a | 300 | 90 | 40 | 9 | 200 |" in text
    assert "Beside gVisor" not in page(results(row("c", gvisor_ms=None)))


def test_targets_name_who_misses_them() -> None:
    rows = [
        row("quick", pooled_ms={"p50": 10.0, "p95": 1.0}),
        row("slow", pooled_ms={"p50": 80.0, "p95": 1.0}, gvisor_ms={"p50": 70.0, "p95": 1.0}),
        row("c", kind="compiled", pooled_ms={"p50": 900.0, "p95": 1.0}, gvisor_ms=None),
    ]
    found = LanguageFindings(
        rows=rows, disk={"images": 1, "bytes": 5 * 2**30, "unshared_bytes": 0}, known=("c",)
    )
    slowest, pooled, cloned, disk = found.targets
    assert (slowest.measured, slowest.met, "(slow)" in slowest.name) == (80.0, False, True)
    assert (pooled.measured, pooled.met, pooled.name.endswith(": slow")) == (1, False, True)
    assert (cloned.measured, cloned.met) == (0, True)
    assert disk.met is False
    assert LanguageFindings().targets == []
    assert len(language_tables(found)[0].rows) == 3 and not language_tables(None)
    assert len(table_row(rows[0])) == len(COLUMNS)


def test_shared_files_count_once(tmp_path: Path) -> None:
    class Image:
        def __init__(self, rootfs: str) -> None:
            self.digests = {"kernel": "k", "initramfs": "i", "rootfs": rootfs}
            self.kernel = self.initramfs = self.rootfs = tmp_path / "file"

    (tmp_path / "file").write_bytes(b"x" * 8192)
    size = (tmp_path / "file").stat().st_blocks * 512
    images: Any = [Image("a"), Image("a"), Image("b")]
    assert disk_use(images) == {"images": 3, "bytes": 4 * size, "unshared_bytes": 9 * size}


def test_kinds(tmp_path: Path) -> None:
    plain, compiled = make_runtime(tmp_path / "a"), make_runtime(tmp_path / "b", COMPILED)
    assert [kind(plain, waiting=True), kind(plain, waiting=False), kind(compiled, waiting=False)] == [
        "waiting",
        "interpreted",
        "compiled",
    ]
