"""Settings from all sources, and their reference."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emberbox import config
from emberbox.config import Settings, load_settings
from emberbox.errors import InvalidSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

REFERENCE = Path(__file__).parents[2] / "docs/settings.md"


def _all_settings() -> Iterator[tuple[str, dataclasses.Field[object]]]:
    for field in dataclasses.fields(Settings):
        group = config._GROUPS.get(field.name)
        if group is None:
            yield field.name, field
        else:
            for inner in dataclasses.fields(group):
                yield f"{field.name}.{inner.name}", inner


@pytest.mark.parametrize(
    ("name", "field"), list(_all_settings()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_each_setting_is_in_the_reference(name: str, field: dataclasses.Field[object]) -> None:
    entries = [line for line in REFERENCE.read_text().splitlines() if line.startswith(f"- `{name}` (")]
    assert len(entries) == 1
    if field.default is not dataclasses.MISSING:
        default = "empty" if field.default == "" else f"`{field.default}`"
        assert entries[0].startswith(f"- `{name}` ({default}): ")


def test_the_reference_names_no_other_setting() -> None:
    listed = {line.split("`")[1] for line in REFERENCE.read_text().splitlines() if line.startswith("- `")}
    assert listed == {name for name, _ in _all_settings()}


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('data = "/from/file"\n[vmm]\nboot_timeout_s = 5\ndriver = "qemu"\n[pool]\nmaximum = 2\n')
    environment = {"EMBERBOX_CONFIG": str(file), "EMBERBOX_POOL_MAXIMUM": "7", "EMBERBOX_RUNTIMES": "/a:/b"}
    settings = load_settings(environment, data=tmp_path)
    assert settings.data == tmp_path
    assert (settings.vmm.boot_timeout_s, settings.vmm.driver, settings.pool.maximum) == (5.0, "qemu", 7)
    assert settings.runtimes == (Path("/a"), Path("/b"))
    assert load_settings(environment).data == Path("/from/file")


def test_a_service_keeps_sandboxes_ready_where_nobody_says_how_many() -> None:
    assert load_settings({}).pool.maximum == 0
    assert load_settings({}, service=True).pool.maximum == config.SERVICE_POOL
    assert load_settings({"EMBERBOX_POOL_MAXIMUM": "0"}, service=True).pool.maximum == 0


def test_the_old_name_of_a_services_pool_is_still_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[worker]\nready = 2\nlosses = 1\n")
    settings = load_settings({"EMBERBOX_CONFIG": str(file)}, service=True)
    assert (settings.pool.maximum, settings.worker.losses) == (2, 1)
    assert "set pool.maximum" in caplog.text
    assert load_settings({"EMBERBOX_WORKER_READY": "3"}, service=True).pool.maximum == 3
    both = {"EMBERBOX_WORKER_READY": "3", "EMBERBOX_POOL_MAXIMUM": "1"}
    assert load_settings(both, service=True).pool.maximum == 1
    assert load_settings({"EMBERBOX_WORKER_READY": "3"}).pool.maximum == 0


def test_the_data_folder_of_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('data = "/from/file"\n')
    assert load_settings({"EMBERBOX_CONFIG": str(file), "EMBERBOX_DATA": "/from/env"}).data == Path(
        "/from/env"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense = 1", "nonsense is no setting; here are data, "),
        ("[pool]\nsize = 1", "pool.size is no setting; here are minimum, "),
        ("[pool]\nmaximum = -1", "pool.maximum must be a whole number from 0, not -1"),
        ("[pool]\nmaximum = true", "pool.maximum must be a whole number"),
        ("[pool]\nmaximum = 'x'", "pool.maximum must be a whole number"),
        ("[worker]\nready = -1", "worker.ready must be a whole number from 0, not -1"),
        ("pool = 3", "pool: must be a table"),
        ("runtimes = 3", "runtimes must be a list of paths"),
        ("vmm = {driver = 3}", "vmm.driver must be text"),
        ("x = ", "config.toml"),
        ("vmm = {accelerator = 'fast'}", "vmm.accelerator must be auto, kvm or tcg, not 'fast'"),
        (
            "vmm = {driver = 'firecracker', accelerator = 'tcg'}",
            "runs on KVM only: set it to auto, or vmm.driver to auto or qemu",
        ),
        ("vmm = {uid_base = 0}", "vmm.uid_base must be 1 to .*, not 0: uid 0 is root"),
        ("vmm = {uid_base = 4294967290}", "vmm.uid_base must be 1 to "),
        (
            "vmm = {firecracker = 'bin/fc'}",
            "vmm.firecracker must be the whole path of the binary, or empty, not 'bin/fc'",
        ),
        ("vmm = {jailer = 'jailer'}", "vmm.jailer must be the whole path"),
        ("vmm = {log_level = 'loud'}", "vmm.log_level must be one of off, error, .*, not 'loud'"),
        ("vmm = {boot_cpu_s = 0.5}", "vmm.boot_cpu_s must be at least 1 second, not 0.5"),
        ("vmm = {boot_idle_s = 0}", "vmm.boot_idle_s must be at least 1 second"),
        ("vmm = {kept_machines = 1001}", "vmm.kept_machines must be 0 to 1000, not 1001"),
        ("vmm = {disk_mib_per_s = -1}", "vmm.disk_mib_per_s must be a whole number from 0, not -1"),
        (
            "vmm = {network_mib_per_s = 9999999}",
            "vmm.network_mib_per_s must be 1 to 1048576, or 0 for no bound, not 9999999",
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(InvalidSettings, match=message):
        load_settings({"EMBERBOX_CONFIG": str(file)})


def test_an_unknown_variable_of_a_group_is_an_error() -> None:
    with pytest.raises(InvalidSettings, match="EMBERBOX_POOL_SIZE is no setting"):
        load_settings({"EMBERBOX_POOL_SIZE": "1"})


def test_a_named_file_must_exist() -> None:
    with pytest.raises(InvalidSettings, match="does not exist"):
        load_settings({"EMBERBOX_CONFIG": "/no/such/file"})


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"EMBERBOX_IMAGES_KERNEL": "vmlinux"}, "images.kernel must be a whole path or debian, or empty"),
        (
            {"EMBERBOX_IMAGES_KERNEL": "/boot/vmlinux", "EMBERBOX_IMAGES_MODULES": "modules"},
            "images.modules must be a whole path",
        ),
        (
            {"EMBERBOX_IMAGES_KERNEL": "debian", "EMBERBOX_IMAGES_MODULES": "/lib/modules/6"},
            "images.modules goes with images.kernel",
        ),
        ({"EMBERBOX_VMM_KVM_KIND": "nested"}, "vmm.kvm_kind must be auto, hardware or pvm"),
    ],
)
def test_kernels_and_kinds_of_kvm_that_cannot_be(variables: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidSettings, match=words):
        load_settings(variables)
