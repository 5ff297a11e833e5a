"""No test has a bound that a busy machine breaks: looked for in the tests' own source."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).parents[1]
LEAST_S = 60
LEAST_OF_A_TEST_S = 600
CLOCKS = {"monotonic", "perf_counter", "time"}
WAITS = {"asyncio.timeout": 0, "asyncio.wait_for": 1}
"""What waits, and which argument says how long."""
ENDS = {"run", "communicate", "wait"}
"""What waits for a process; `timeout` or the first argument says how long."""
ANSWERS = {"hello", "ping", "prepare", "flush", "resume", "clock", "result", "collect", "warm_pool"}
"""What waits for a guest; `timeout_s` says how long."""


class Bounds(ast.NodeVisitor):
    """Collects the lines of a module that a busy machine breaks.

    A wait that is short is left alone where its end is expected: below `pytest.raises`.
    """

    def __init__(self) -> None:
        self.found: list[int] = []
        self._expected = 0
        self._constants: dict[str, ast.expr] = {}

    def visit_Module(self, node: ast.Module) -> None:
        """Note the module's constants first."""
        for line in node.body:
            if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
                self._constants[line.targets[0].id] = line.value
        self.generic_visit(node)

    def _number(self, node: ast.expr) -> float | None:
        if isinstance(node, ast.Name):
            node = self._constants.get(node.id, node)
        return (
            float(node.value)
            if isinstance(node, ast.Constant) and isinstance(node.value, int | float)
            else None
        )

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        """See what is below, and whether failures are expected there."""
        expected = any(
            isinstance(item.context_expr, ast.Call) and _dotted(item.context_expr.func) == "pytest.raises"
            for item in node.items
        )
        self._expected += expected
        self.generic_visit(node)
        self._expected -= expected

    def visit_AsyncWith(self, node: ast.AsyncWith) -> None:
        """As `visit_With`."""
        self.visit_With(node)

    def visit_Assert(self, node: ast.Assert) -> None:
        """Find what is asserted to take less than a number of seconds."""
        for compare in [part for part in ast.walk(node.test) if isinstance(part, ast.Compare)]:
            sides = [compare.left, *compare.comparators]
            for at, operator in enumerate(compare.ops):
                pair = sides[at : at + 2]
                small, large = pair if isinstance(operator, ast.Lt | ast.LtE) else reversed(pair)
                ordered = isinstance(operator, ast.Lt | ast.LtE | ast.Gt | ast.GtE)
                if ordered and _elapsed(small) and self._number(large) is not None:
                    self.found.append(node.lineno)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Find short waits."""
        for bound in _bounds(node):
            number = self._number(bound)
            if number is not None and number < LEAST_S and not self._expected:
                self.found.append(node.lineno)
        if _dotted(node.func) == "pytest.mark.timeout":
            number = self._number(node.args[0])
            if number is not None and number < LEAST_OF_A_TEST_S:
                self.found.append(node.lineno)
        self.generic_visit(node)


def _bounds(call: ast.Call) -> Iterator[ast.expr]:
    """Yield the arguments of a call that say how long it waits."""
    at = WAITS.get(_dotted(call.func))
    if at is not None and len(call.args) > at:
        yield call.args[at]
    name = _dotted(call.func).rpartition(".")[2]
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    if name in ENDS and "timeout" in named:
        yield named["timeout"]
    if name == "wait" and "process" in _dotted(call.func) and call.args:
        yield call.args[0]
    if name in ANSWERS and "timeout_s" in named:
        yield named["timeout_s"]


def _dotted(node: ast.expr) -> str:
    """Return a name with what it is an attribute of; what is no name is left out."""
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _elapsed(node: ast.expr) -> bool:
    """Whether this is the time that something took: a clock less what it was before."""
    left = node.left if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) else None
    return isinstance(left, ast.Call) and isinstance(left.func, ast.Attribute) and left.func.attr in CLOCKS


def _found(source: str) -> list[int]:
    bounds = Bounds()
    bounds.visit(ast.parse(source))
    return bounds.found


def test_no_bound_is_broken_by_a_busy_machine() -> None:
    found = [
        f"{path.relative_to(TESTS.parent)}:{line}"
        for path in sorted(TESTS.rglob("*.py"))
        if "programs" not in path.parts
        for line in _found(path.read_text())
    ]
    assert found == [], f"wait for PATIENCE_S of tests/patience.py, and assert no duration: {found}"


@pytest.mark.parametrize(
    "line",
    [
        "assert time.monotonic() - begun < 10",
        "assert 1 < time.time() - begun < 5",
        "assert 5 > loop.time() - begun",
        "async with asyncio.timeout(20): pass",
        "await asyncio.wait_for(task, 5)",
        "process.wait(10)",
        "subprocess.run(words, timeout=30)",
        "await client.hello(timeout_s=5)",
        "await client.hello(timeout_s=START_S)",
        "pytest.mark.timeout(120)",
    ],
)
def test_such_bounds_are_found(line: str) -> None:
    assert _found(f"async def test() -> None:\n    {line}\n\n\nSTART_S = 5.0\n") == [2]


@pytest.mark.parametrize(
    "lines",
    [
        "assert time.monotonic() - begun > 0.5",
        "async with asyncio.timeout(PATIENCE_S): pass",
        "with pytest.raises(TimeoutError):\n        await asyncio.wait_for(task, 0.3)",
        "pytest.mark.timeout(900)",
    ],
)
def test_others_are_not(lines: str) -> None:
    assert _found(f"async def test() -> None:\n    {lines}\n") == []


def test_no_generated_example_is_too_slow() -> None:
    used = hypothesis.settings()
    assert used.deadline is None
    assert hypothesis.HealthCheck.too_slow in used.suppress_health_check
