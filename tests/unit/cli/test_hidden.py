"""What names hide is written out wherever the command line prints them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from emberbox.cli.failures import printable, say
from emberbox.cli.tables import print_fields, print_found, print_json, print_table
from emberbox.text import has_hidden

if TYPE_CHECKING:
    import pytest

NAME = "report\u202efdp.exe\u200b\x1b[2J\u2066"
SHOWN = "report\\u202efdp.exe\\u200b\\x1b[2J\\u2066"


def test_in_tables_fields_and_messages(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["NAME"], [[NAME]])
    print_fields([("name", NAME)])
    print_found([NAME], ["NAME"], lambda name: [name], json=False)
    say(NAME)
    told = capsys.readouterr()
    assert told.out.count(SHOWN) == 3
    assert told.err == f"emberbox: {SHOWN}\n"
    assert not has_hidden(told.out.replace("\n", ""))


def test_json_keeps_the_name_and_steers_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({NAME: [NAME, "ü\n"]})
    told = capsys.readouterr().out
    assert json.loads(told) == {NAME: [NAME, "ü\n"]}
    assert not has_hidden(told.replace("\n", ""))
    assert "ü" in told


def test_text_of_several_lines_keeps_them() -> None:
    assert printable(f"a\n\t{NAME}") == f"a\n\t{SHOWN}"
