"""Copies runs between HDF5 files, to the byte of every attribute, table and text: a run file, or a group of an archive, becomes a Node and is stored again.

h5py's own types would change texts (their padding and character set), so values are read and written as bytes of the file's own types.
"""

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import h5py
import numpy as np
from h5py import h5a, h5d, h5f, h5fd, h5g, h5p, h5s, h5t

from .hdf5 import ARCHIVE_KIND, ARCHIVE_VERSION, BROKEN, Unusable, check_claim, make_seal, need, reasons
from .index import NOT_A_NAME

DEEPEST = 8  # groups in one another, of a run file 2
CHUNK_BYTES = 1 << 20
EFFORT = 9  # of gzip
LEFT_BEHIND = ("theta",)  # of a run: what an archive does not keep


def describe(kind: h5t.TypeID) -> tuple:
    """Equal for equal types; their encoded form differs with the version of the file that they come from."""
    if isinstance(kind, h5t.TypeCompoundID):
        members = range(kind.get_nmembers())
        return kind.get_size(), *((kind.get_member_name(number), kind.get_member_offset(number), describe(kind.get_member_type(number))) for number in members)
    if isinstance(kind, h5t.TypeArrayID):
        return kind.get_array_dims(), describe(kind.get_super())
    if isinstance(kind, h5t.TypeStringID):
        return "text", kind.get_size(), kind.get_strpad(), kind.get_cset()
    if isinstance(kind, (h5t.TypeIntegerID, h5t.TypeFloatID)):
        return kind.dtype.str,
    return kind.get_class(), kind.get_size()


@dataclass
class Value:
    """Of an attribute or a data set."""
    type: h5t.TypeID
    shape: tuple[int, ...] | None  # None: HDF5's value without a value
    content: np.ndarray  # bytes, one element per value

    def space(self) -> h5s.SpaceID:
        if self.shape is None:
            return h5s.create(h5s.NULL)
        return h5s.create_simple(self.shape) if self.shape else h5s.create(h5s.SCALAR)


@dataclass
class Node:
    """A group, or a data set."""
    attributes: dict[str, Value] = field(default_factory=dict)
    members: dict[str, "Node"] = field(default_factory=dict)
    value: Value | None = None  # of a data set

    def digest(self) -> bytes:
        """Of all that it holds."""
        hashed = hashlib.sha256(b"data set" if self.value else b"group")
        for name, value in [*sorted(self.attributes.items()), *([("", self.value)] if self.value else [])]:
            hashed.update(repr((name, value.shape, describe(value.type), value.content.nbytes)).encode() + value.content.tobytes())
        for name, member in sorted(self.members.items()):
            hashed.update(repr(name).encode() + member.digest())
        return hashed.digest()


# ---- from a file ----

def has_fixed_size(kind: h5t.TypeID) -> bool:
    """Not texts of variable length, not references: their bytes mean something in their own file alone."""
    if isinstance(kind, h5t.TypeCompoundID):
        return all(has_fixed_size(kind.get_member_type(number)) for number in range(kind.get_nmembers()))
    if isinstance(kind, h5t.TypeArrayID):
        return has_fixed_size(kind.get_super())
    if isinstance(kind, h5t.TypeStringID):
        return not kind.is_variable_str()
    return kind.get_class() not in (h5t.VLEN, h5t.REFERENCE)


def check_type(kind: h5t.TypeID, what: str) -> None:
    if not has_fixed_size(kind):
        raise Unusable(f"{BROKEN}: {what} holds values of variable length or references, as no run file does")


def load_value(thing: h5a.AttrID | h5d.DatasetID, what: str) -> Value:
    kind, space = thing.get_type(), thing.get_space()
    check_type(kind, what)
    shape = None if space.get_simple_extent_type() == h5s.NULL else tuple(space.get_simple_extent_dims())
    content = np.zeros(shape or (1 if shape == () else 0), f"V{kind.get_size()}")
    if content.size:
        if isinstance(thing, h5d.DatasetID):
            thing.read(h5s.ALL, h5s.ALL, content, mtype=kind)
        else:
            thing.read(content, mtype=kind)
    return Value(kind, shape, content)


def load_object(thing: h5py.Group | h5py.Dataset, depth: int, without: tuple[str, ...] = ()) -> Node:
    node = Node({name: load_value(h5a.open(thing.id, name.encode("utf-8", "surrogateescape")), f"{name} of {thing.name}") for name in thing.attrs})
    if isinstance(thing, h5py.Dataset):
        check_claim(thing)
        node.value = load_value(thing.id, thing.name)
        return node
    if depth >= DEEPEST:
        raise Unusable(f"{BROKEN}: {DEEPEST} groups in one another")
    for name in thing:
        if name in without:
            continue
        if not isinstance(thing.get(name, getlink=True), h5py.HardLink):
            raise Unusable(f"{BROKEN}: {name} of {thing.name} is a link to elsewhere, as no run file has")
        member = thing[name]
        if not isinstance(member, (h5py.Group, h5py.Dataset)):
            raise Unusable(f"{BROKEN}: {name} of {thing.name} is neither a group nor a data set")
        node.members[name] = load_object(member, depth + 1)
    return node


def load_run(run: h5py.Group) -> Node:
    """All of a run but theta. Raises Unusable."""
    with reasons():
        return load_object(run, 0, LEFT_BEHIND)


# ---- into a file ----

def untimed(kind: type) -> h5p.PropID:
    """Properties of an object whose bytes say nothing of when it was made, with its attributes in one place."""
    properties = h5p.create(kind)
    properties.set_obj_track_times(False)
    properties.set_attr_phase_change(0xffff, 0)
    return properties


def store_attributes(node: Node, target: h5py.Group | h5py.Dataset) -> None:
    for name, value in sorted(node.attributes.items()):
        attribute = h5a.create(target.id, name.encode("utf-8", "surrogateescape"), value.type, value.space())
        if value.content.size:
            attribute.write(value.content, mtype=value.type)


def store_data(node: Node, parent: h5py.Group, name: str) -> None:
    value, properties = node.value, untimed(h5p.DATASET_CREATE)
    if value.content.size and value.shape:
        rest = value.content[:1].nbytes
        properties.set_chunk((min(value.shape[0], max(1, CHUNK_BYTES // max(rest, 1))), *value.shape[1:]))
        properties.set_shuffle()
        properties.set_deflate(EFFORT)
    data = h5d.create(parent.id, name.encode("utf-8", "surrogateescape"), value.type, value.space(), dcpl=properties)
    if value.content.size:
        data.write(h5s.ALL, h5s.ALL, value.content, mtype=value.type)
    store_attributes(node, h5py.Dataset(data))


def store_members(node: Node, target: h5py.Group) -> None:
    store_attributes(node, target)
    for name, member in sorted(node.members.items()):
        if member.value:
            store_data(member, target, name)
        else:
            store_group(member, target, name)


def store_group(node: Node, parent: h5py.Group, name: str) -> None:
    store_members(node, h5py.Group(h5g.create(parent.id, name.encode("utf-8", "surrogateescape"), gcpl=untimed(h5p.GROUP_CREATE))))


def make_file(fill: Callable[[h5py.File], None]) -> bytes:
    """What a file holds that `fill` filled: the same content makes the same bytes, with one version of the HDF5 library. It is made in memory, because h5py
    does not leave a full disk in peace. Raises Unusable."""
    access = h5p.create(h5p.FILE_ACCESS)
    content = io.BytesIO()
    access.set_fileobj_driver(h5fd.fileobj_driver, content)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    access.set_libver_bounds(h5f.LIBVER_V110, h5f.LIBVER_V110)
    try:
        with h5py.File(h5f.create(b"in memory", h5f.ACC_TRUNC, fcpl=untimed(h5p.FILE_CREATE), fapl=access)) as file:
            fill(file)
    except (OSError, RuntimeError, ValueError, TypeError, MemoryError) as error:
        raise Unusable(f"cannot be made: {(str(error).splitlines() or [type(error).__name__])[0]}") from None
    return content.getvalue()


def text_value(text: str) -> Value:
    """As the suite writes texts: of a fixed length that counts a zero byte behind them, in UTF-8."""
    content = text.encode() + b"\0"
    kind = h5t.C_S1.copy()
    kind.set_size(len(content))
    kind.set_cset(h5t.CSET_UTF8)
    return Value(kind, (), np.frombuffer(content, f"V{len(content)}"))


def whole_value(number: int) -> Value:
    return Value(h5t.STD_I64LE, (), np.frombuffer(np.array(number, "<i8").tobytes(), "V8"))


def make_archive(runs: Iterator[tuple[str, Node]], index: Callable[[], str]) -> tuple[bytes, dict[str, bytes]]:
    """index: gives the text of archive.tsv after the last run. Returns the file's content and the runs' digests by their names."""
    digests = {}

    def fill(file: h5py.File) -> None:
        store_members(Node({"kind": text_value(ARCHIVE_KIND), "schema_version": whole_value(ARCHIVE_VERSION)}), file)
        for name, run in runs:
            store_group(run, file, name)
            digests[name] = run.digest()
        store_data(Node(value=text_value(index())), file, NOT_A_NAME)
    content = make_file(fill)
    return content + make_seal(content), digests


def read_archive_index(archive: h5py.File) -> str:
    """Raises Unusable."""
    with reasons():
        text = need(archive, NOT_A_NAME)
        return text.decode("utf-8") if isinstance(text, bytes) else str(text)
