"""Opens a run file that is being written, or whose writer was killed."""

import ctypes
import functools
from pathlib import Path

import h5py
from h5py import h5f, h5p

# A reader that meets a half-written piece of metadata waits 1 ns, 2 ns, 4 ns ... and tries again. HDF5's 100 tries are for ever when the file is simply
# damaged; 20 give a live writer a millisecond, and the next look comes soon.
READ_TRIES = 20


@functools.cache
def access_list() -> h5p.PropFAID:
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    access.set_libver_bounds(h5f.LIBVER_LATEST, h5f.LIBVER_LATEST)
    # h5py has no word for it; what it is linked with is the library that knows the list.
    limit = ctypes.CDLL(h5p.__file__).H5Pset_metadata_read_attempts
    limit.argtypes, limit.restype = (ctypes.c_int64, ctypes.c_uint), ctypes.c_int
    if limit(access.id, READ_TRIES) < 0:
        raise RuntimeError("the HDF5 library takes no limit of its tries")
    return access


def open_live(path: Path) -> h5py.File:
    """As a reader beside a writer. Raises OSError."""
    return h5py.File(h5f.open(str(path).encode("utf-8", "surrogateescape"), h5f.ACC_RDONLY | h5f.ACC_SWMR_READ, fapl=access_list()))
