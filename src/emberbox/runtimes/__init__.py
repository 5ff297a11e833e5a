"""Runtimes: languages that can be run, each a folder with a manifest, found by scanning.

`discover` reads folders into a `RuntimeCatalog`; a `Runtime` is what one manifest says, checked.
"""

from emberbox.runtimes.catalog import (
    RuntimeCatalog,
    builtin_folder,
    discover,
    imported_folder,
    runtime_folders,
)
from emberbox.runtimes.fields import MANIFEST_NAME
from emberbox.runtimes.manifest import load
from emberbox.runtimes.runtime import (
    CompileRecipe,
    DefaultLimits,
    ImageRecipe,
    PackagesRecipe,
    Runtime,
    WaitingRecipe,
    WarmRecipe,
)

__all__ = [
    "MANIFEST_NAME",
    "CompileRecipe",
    "DefaultLimits",
    "ImageRecipe",
    "PackagesRecipe",
    "Runtime",
    "RuntimeCatalog",
    "WaitingRecipe",
    "WarmRecipe",
    "builtin_folder",
    "discover",
    "imported_folder",
    "load",
    "runtime_folders",
]
