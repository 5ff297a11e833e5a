from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from emberbox.errors import RequirementMissing
from emberbox.vmm.requirements import require_programs, told_by

if TYPE_CHECKING:
    from pathlib import Path


def test_missing_programs_come_with_their_mend() -> None:
    with pytest.raises(RequirementMissing, match="does not have no-such-program-here, which") as told:
        require_programs(["no-such-program-here", "sh"], mend="install it")
    assert told.value.mend == "install it"
    assert require_programs(["sh"], mend="install it")["sh"].is_absolute()


def test_what_a_program_tells_is_found_in_its_output(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Program v1.2.3, $HOME"\n')
    program.chmod(0o755)
    assert told_by(program, "--version", pattern=r"\d\S+,.*", mend="install it") == "1.2.3, "
    for arguments, pattern, said in (
        (("--version",), "none", r"program --version tells nothing"),
        (("--other",), ".", "does not run on this host"),
    ):
        with pytest.raises(RequirementMissing, match=said) as told:
            told_by(program, *arguments, pattern=pattern, mend="install it")
        assert told.value.mend == "install it"
