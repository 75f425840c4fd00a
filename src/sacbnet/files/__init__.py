"""Files and folders: results that appear whole or not at all, locks, and the cache folder.

`whole` writes results, `guard` protects what is there, `cache` holds what can be made again.
"""

from .cache import cache_folder, temporary_folder
from .guard import check_writable, keep_inputs, locked
from .whole import atomic_file, staged_folder, sweep, writing

__all__ = [
    "atomic_file",
    "cache_folder",
    "check_writable",
    "keep_inputs",
    "locked",
    "staged_folder",
    "sweep",
    "temporary_folder",
    "writing",
]
