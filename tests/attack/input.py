"""Hostile input: archives, names, bodies, heads, addresses and images that are made to do harm."""

from __future__ import annotations

import io
import tarfile
import zipfile
from typing import TYPE_CHECKING

from tests.attack.rows import Row

if TYPE_CHECKING:
    from pathlib import Path

MIB = 2**20
_HERE = "attack/input.py::test"
_ARCHIVES = "unit/service/uploads/test_archives.py::test"
_TARS = "unit/files/test_tars.py::test"
_LAYERS = "unit/images/oci/test_layers.py::test"
_UPLOADS = "integration/api/test_scripts.py::test"
_CONNECTIONS = "integration/server/test_connections.py::test"
_SENDER = "integration/webhooks/test_sender.py::test"

ROWS = (
    Row(
        name="archive that leads out",
        tried="uploads with `..`, absolute names, links and devices",
        holds="refused whole; nothing is written",
        tests=(
            f"{_ARCHIVES}_names_that_lead_out_or_are_none_are_refused",
            f"{_ARCHIVES}_tars_with_links_and_devices_are_refused",
            f"{_ARCHIVES}_zips_with_links_and_devices_are_refused",
            "e2e/test_hostile.py::test_hostile_archives_are_refused",
        ),
        control=(f"{_HERE}_a_careless_reader_is_led_out",),
    ),
    Row(
        name="archive bomb",
        tried="little that unpacks to much, sizes that lie, archives in archives",
        holds="stopped by what comes out, below the bound of uploads",
        tests=(
            f"{_ARCHIVES}_bombs_are_stopped_by_what_comes_out",
            f"{_ARCHIVES}_ratios_of_bombs_are_refused_below_the_bound_of_size",
            f"{_ARCHIVES}_sizes_that_are_stated_are_not_believed",
            f"{_ARCHIVES}_entries_that_share_their_bytes_are_counted_each",
            f"{_ARCHIVES}_a_quine_and_an_archive_in_an_archive_stay_closed",
            f"{_ARCHIVES}_memory_stays_bounded",
        ),
        control=(f"{_HERE}_a_careless_reader_is_filled",),
    ),
    Row(
        name="archive of headers",
        tried="entries, attributes, tables of contents and maps of holes without end",
        holds="refused before they are read",
        tests=(
            f"{_ARCHIVES}_many_entries_are_refused",
            f"{_ARCHIVES}_a_huge_table_of_contents_is_not_read",
            f"{_ARCHIVES}_attributes_of_tars_are_bounded",
            f"{_TARS}_headers_without_an_entry_have_an_end",
            f"{_TARS}_a_map_in_blocks_without_an_end",
        ),
    ),
    Row(
        name="damaged archive",
        tried="archives of noise, cut off, or with any bytes changed",
        holds="refused, or read to no harm",
        tests=(
            f"{_ARCHIVES}_damage_of_any_kind_is_refused_or_harmless",
            f"{_ARCHIVES}_noise_is_refused",
            f"{_TARS}_damage_of_any_kind_is_told_as_such",
        ),
    ),
    Row(
        name="hostile names",
        tried="names of scripts and files with `..`, NUL, options, quotes and line ends",
        holds="those that lead out are refused; the others are names and nothing else",
        tests=(
            "e2e/test_hostile.py::test_names_that_lead_out_are_refused",
            "e2e/test_hostile.py::test_odd_names_are_just_names",
            "unit/service/uploads/test_intake.py::test_names_that_lead_out_are_refused",
            "integration/uploads/test_artifacts.py::test_hostile_names_take_a_harmless_form",
        ),
    ),
    Row(
        name="links left for the host",
        tried="a program leaves links to files of the host, or devices, where results are fetched",
        holds="they lead nowhere on the host, and are passed over",
        tests=(
            "e2e/test_hostile.py::test_a_link_out_of_the_folder_leads_nowhere_on_the_host",
            "integration/uploads/test_artifacts.py::test_links_devices_and_folders_are_passed_over",
            "integration/uploads/test_artifacts.py::test_sparse_giants_are_not_read",
        ),
    ),
    Row(
        name="endless bodies",
        tried="bodies that are larger than they may be, that break off, or are no form",
        holds="refused before they are stored; nothing is left",
        tests=(
            f"{_UPLOADS}_bounds_of_uploads",
            f"{_UPLOADS}_uploads_that_are_refused_leave_nothing",
            f"{_UPLOADS}_an_upload_that_breaks_off_leaves_nothing",
            f"{_UPLOADS}_other_bodies_and_wrong_fields",
            "integration/uploads/test_large.py::test_more_than_may_be_is_refused_before_it_is_stored",
        ),
    ),
    Row(
        name="endless heads",
        tried="connections that say nothing, never end their head, or send one without end",
        holds="closed in time, or refused",
        tests=(
            f"{_CONNECTIONS}_one_that_says_nothing_is_closed",
            f"{_CONNECTIONS}_one_that_never_ends_its_head_is_closed",
            f"{_CONNECTIONS}_an_endless_head_is_refused",
        ),
    ),
    Row(
        name="pages of other origins",
        tried="a browser's page of another origin calls the service",
        holds="only origins that are named may",
        tests=("unit/api/test_outermost.py::test_pages_of_named_origins_may_call_and_others_may_not",),
    ),
    Row(
        name="webhook into the host's network",
        tried="targets at loopback, private and metadata addresses, by names, redirects and rebinding",
        holds="never connected to",
        tests=(
            f"{_SENDER}_private_addresses_are_never_connected_to",
            f"{_SENDER}_a_name_that_changes_after_the_check_changes_nothing",
            f"{_SENDER}_a_redirect_to_a_private_address_is_refused",
        ),
        control=(f"{_SENDER}_private_addresses_are_called_when_allowed",),
    ),
    Row(
        name="forged lines",
        tried="text with line ends and a terminal's controls, for logs and messages",
        holds="written out as plain characters",
        tests=(
            "unit/server/test_serve.py::test_a_line_of_text_cannot_be_forged",
            "unit/vmm/boots/test_guest_text.py::test_what_steers_a_terminal_is_written_out",
        ),
    ),
    Row(
        name="hostile container image",
        tried="layers with names that lead out, links in circles, holes and entries without end",
        holds="refused, or kept within the image",
        tests=(
            f"{_LAYERS}_names_that_no_file_may_have",
            f"{_LAYERS}_an_entry_below_a_link_lies_where_the_link_leads_within_the_image",
            f"{_LAYERS}_links_that_lead_in_a_circle_hold_nothing",
            f"{_LAYERS}_a_map_of_holes_without_an_end_does_not_hang",
            f"{_LAYERS}_entries_and_bytes_are_bounded",
            f"{_LAYERS}_a_layer_that_is_not_what_its_digest_says",
        ),
    ),
    Row(
        name="hostile kernel file",
        tried="a kernel with broken notes, or a configuration without end",
        holds="read to no harm; never run on the host",
        tests=(
            "unit/images/kernels/test_own.py::test_broken_tables_of_notes_do_no_harm",
            "unit/images/kernels/test_own.py::test_a_configuration_is_bounded",
        ),
    ),
)


def test_a_careless_reader_is_led_out(tmp_path: Path) -> None:
    """The archive that Emberbox refuses, unpacked by a reader that believes it."""
    packed, folder = io.BytesIO(), tmp_path / "a/b"
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../../evil"))
    folder.mkdir(parents=True)
    packed.seek(0)
    with tarfile.open(fileobj=packed) as archive:
        archive.extractall(folder, filter="fully_trusted")  # noqa: S202
    assert (tmp_path / "evil").exists()


def test_a_careless_reader_is_filled() -> None:
    """A bomb of 64 KiB, unpacked by a reader that asks for all of it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(48 * MIB))
    assert len(packed.getvalue()) < 64 * 1024
    with zipfile.ZipFile(packed) as archive:
        assert len(archive.read("zeros")) == 48 * MIB
