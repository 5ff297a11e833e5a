from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import ImageBuildFailed
from emberbox.images.objects import file_digest
from emberbox.images.rootfs.ext4 import Owner, make_ext4
from emberbox.images.rootfs.guest_files import add_guest_files, copy_files
from emberbox.images.tools.requirements import Requirement

if TYPE_CHECKING:
    from pathlib import Path

_DEBUGFS = Requirement("debugfs", "e2fsprogs", "").find()
pytestmark = pytest.mark.skipif(_DEBUGFS is None, reason="e2fsprogs is not installed")


def ask(image: Path, command: str) -> str:
    assert _DEBUGFS is not None
    return subprocess.run(
        [_DEBUGFS, "-R", command, str(image)], check=True, capture_output=True, text=True
    ).stdout


def check_is_sound_and_below(image: Path, size: int) -> None:
    check = Requirement("e2fsck", "e2fsprogs", "").find()
    assert check is not None
    subprocess.run([check, "-fn", str(image)], check=True, capture_output=True)
    assert image.stat().st_size < size


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\nold:x:1000:1000::/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    (root / 'odd "name').write_text("odd")
    (root / "big").write_bytes(bytes(3_000_000))
    (root / "link").symlink_to("big")
    for index in range(300):
        (root / f"a-rather-long-name-of-a-file-that-fills-folders-{index}").touch()
    return root


async def test_files_owners_and_modes_arrive(root: Path, tmp_path: Path) -> None:
    owners = add_guest_files(root) | {'odd "name': Owner(8, 9)}
    image = tmp_path / "rootfs.ext4"
    await make_ext4(root, image, owners)
    assert ask(image, "cat /etc/passwd").splitlines() == [
        "root:x:0:0:root:/root:/bin/bash",
        "user:x:1000:1000:user:/work:/bin/bash",
    ]
    listing = {line.split()[-1]: line.split() for line in ask(image, "ls -l /").splitlines() if line.strip()}
    assert listing["work"][1:5] == ["40755", "(2)", "1000", "1000"]
    assert listing["tmp"][1] == "41777" and listing["."][3:5] == ["0", "0"]
    assert listing["big"][3:6] == ["0", "0", "3000000"]
    assert '"odd' not in listing and ask(image, "stat <2>").count("Type: directory") == 1
    assert "User:     8   Group:     9" in ask(image, 'stat "/odd ""name"')
    assert ask(image, "cat /etc/hosts").startswith("127.0.0.1 localhost")
    assert ask(image, "cat /etc/resolv.conf") == ask(image, "cat /etc/machine-id") == ""
    assert {path.name for path in root.parent.iterdir()} == {"root", "rootfs.ext4"}


async def test_the_image_is_sound_small_and_has_no_journal(root: Path, tmp_path: Path) -> None:
    image = tmp_path / "rootfs.ext4"
    await make_ext4(root, image, {})
    check_is_sound_and_below(image, 4_200_000)
    assert "has_journal" not in ask(image, "features")


async def test_equal_folders_make_equal_images(root: Path, tmp_path: Path) -> None:
    images = [tmp_path / "one", tmp_path / "two"]
    for image in images:
        await make_ext4(root, image, {})
    assert file_digest(images[0]) == file_digest(images[1])


async def test_a_failure_leaves_no_image(tmp_path: Path) -> None:
    with pytest.raises(ImageBuildFailed):
        await make_ext4(tmp_path / "missing", tmp_path / "image", {})
    assert not (tmp_path / "image").exists()


def test_copied_files_keep_modes_and_replace_what_was_there(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "files"
    (source / "etc/sub").mkdir(parents=True)
    (source / "etc/passwd").write_text("new")
    (source / "etc/sub/tool").write_text("tool")
    (source / "etc/sub/tool").chmod(0o700)
    (source / "link").symlink_to("etc")
    (source / "__pycache__").mkdir()
    written = copy_files(source, root)
    assert written == ["etc", "link", "etc/passwd", "etc/sub", "etc/sub/tool"]
    assert (root / "etc/passwd").read_text() == "new" and (root / "etc/group").exists()
    assert (root / "etc/sub/tool").stat().st_mode & 0o777 == 0o744
    assert (root / "link").is_symlink() and not (root / "__pycache__").exists()
    shutil.rmtree(source)
