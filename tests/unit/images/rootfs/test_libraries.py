from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.images.rootfs.libraries import libraries_in

if TYPE_CHECKING:
    from pathlib import Path


def put(root: Path, name: str, text: str = "") -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_the_packages_of_each_language_are_found(tmp_path: Path) -> None:
    python = "usr/lib/python3/dist-packages"
    put(tmp_path, f"{python}/numpy-1.24.2.egg-info/PKG-INFO", "Name: numpy\nVersion: 1.24.2\n\nName: no\n")
    put(tmp_path, f"{python}/six-1.16.0.egg-info", "Metadata-Version: 1.2\nName: six\nVersion: 1.16.0\n")
    put(
        tmp_path,
        "usr/local/lib/python3.11/dist-packages/rich-13.dist-info/METADATA",
        "Name: rich\nVersion: 13\n",
    )
    put(tmp_path, "usr/share/nodejs/lodash/package.json", '{"name": "lodash", "version": "4.17.21"}')
    put(tmp_path, "usr/share/nodejs/@types/node/package.json", '{"name": "@types/node", "version": "18.0.0"}')
    put(tmp_path, "usr/lib/ruby/gems/3.1.0/specifications/default/json-2.6.1.gemspec")
    put(tmp_path, "usr/lib/R/library/stats/DESCRIPTION", "Package: stats\nVersion: 4.2.2\n")
    assert libraries_in(tmp_path) == {
        "npm": {"@types/node": "18.0.0", "lodash": "4.17.21"},
        "python": {"numpy": "1.24.2", "rich": "13", "six": "1.16.0"},
        "r": {"stats": "4.2.2"},
        "ruby": {"json": "2.6.1"},
    }


def test_what_describes_no_package_is_left_out(tmp_path: Path) -> None:
    for name, text in {"a": "{", "b": "[]", "c": '{"name": 1, "version": "1"}', "d": '{"name": "d"}'}.items():
        put(tmp_path, f"usr/share/nodejs/{name}/package.json", text)
    put(tmp_path, "usr/lib/python3/dist-packages/x.dist-info/METADATA", "\nName: x\nVersion: 1\n")
    assert libraries_in(tmp_path) == {}


def test_links_of_the_guest_lead_to_no_file_of_the_host(tmp_path: Path) -> None:
    root, host = tmp_path / "root", tmp_path / "host"
    put(host, "package.json", '{"name": "host", "version": "1"}')
    put(root, "usr/share/nodejs/real/package.json", '{"name": "real", "version": "1"}')
    (root / "usr/share/nodejs/linked").symlink_to(host)
    (root / "usr/share/nodejs/file").mkdir()
    (root / "usr/share/nodejs/file/package.json").symlink_to(host / "package.json")
    (root / "usr/lib").mkdir()
    (root / "usr/lib/node_modules").symlink_to(tmp_path)
    assert libraries_in(root) == {"npm": {"real": "1"}}
