from __future__ import annotations

import pytest

from emberbox.errors import RequirementMissing
from emberbox.vmm.requirements import require_programs


def test_missing_programs_come_with_their_mend() -> None:
    with pytest.raises(RequirementMissing, match="does not have no-such-program-here, which") as told:
        require_programs(["no-such-program-here", "sh"], mend="install it")
    assert told.value.mend == "install it"
    assert require_programs(["sh"], mend="install it")["sh"].is_absolute()
