from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.cli.context import GlobalOptions
from emberbox.cli.failures import guarded, printable
from emberbox.errors import BootFailed, GuestGone, RequirementMissing

if TYPE_CHECKING:
    import pytest


def _raise(error: BaseException) -> int:
    raise error


def test_a_requirement_names_what_mends_it(capsys: pytest.CaptureFixture[str]) -> None:
    code = guarded(
        GlobalOptions(),
        lambda: _raise(RequirementMissing("no QEMU", mend="apt-get install -y qemu-system-x86")),
    )
    assert code == 69
    assert capsys.readouterr().err == "emberbox: no QEMU\n  To mend it: apt-get install -y qemu-system-x86\n"


def test_what_a_guest_said_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    guarded(GlobalOptions(), lambda: _raise(GuestGone("its console ends in: \x1b[2J\x07 bye")))
    assert capsys.readouterr().err == "emberbox: its console ends in: \\x1b[2J\\x07 bye\n"
    assert printable("tab\tline\numlaut ü") == "tab\tline\numlaut ü"


def test_an_unexpected_error_is_named_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(GlobalOptions(), lambda: _raise(KeyError("x"))) == 70
    told = capsys.readouterr().err
    assert told.startswith("emberbox: internal error: KeyError: 'x'\n")
    assert "Traceback" not in told


def test_details_are_hinted_at_and_shown_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    error = GuestGone("gone", detail="last words")
    guarded(GlobalOptions(), lambda: _raise(error))
    assert "last words" not in (told := capsys.readouterr().err)
    assert "--debug" in told
    guarded(GlobalOptions(debug=True), lambda: _raise(error))
    assert "last words" in (told := capsys.readouterr().err)
    assert "Traceback" in told


def test_the_last_words_of_a_guest_that_came_to_nothing_are_shown_at_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = BootFailed(
        "virtual machine a-1 did not boot", detail="the guest's console ends with:\n  panic \x1b[2J"
    )
    guarded(GlobalOptions(), lambda: _raise(error))
    told = capsys.readouterr().err
    assert told.startswith(
        "emberbox: virtual machine a-1 did not boot\nthe guest's console ends with:\n  panic \\x1b[2J\n"
    )
    assert "emberbox run --cold --console" in told


def test_an_interrupt_is_130() -> None:
    assert guarded(GlobalOptions(), lambda: _raise(KeyboardInterrupt())) == 130
