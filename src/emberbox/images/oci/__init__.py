"""Images that others made, in the format of the Open Container Initiative, as root filesystems of microVMs.

No Docker engine takes part. `skopeo` brings an image here from a registry, an OCI layout or an
archive (`skopeo`), and what it brought is checked against its digests once more (`manifest`,
`layer`). The layers are unpacked by this package and not by `umoci`: that needs root, or writes
owners into extended attributes that the file system could not be made from, and it applies layers
to a folder of the host, where each name in a hostile layer is a name on the host. Here layers are
applied to a tree in memory (`tree`, `apply`), in which there is nothing to escape to; only the
finished tree is written down (`write`), and only below folders that this package made itself.
"""

from emberbox.images.oci.importer import ImportedRoot, ImportOptions, import_root
from emberbox.images.oci.reference import Reference
from emberbox.images.oci.runtime_folder import RuntimeText, runtime_text
from emberbox.images.oci.skopeo import Access

__all__ = [
    "Access",
    "ImportOptions",
    "ImportedRoot",
    "Reference",
    "RuntimeText",
    "import_root",
    "runtime_text",
]
