"""HDF5 trajectories as mdtraj lays them out, read by h5py: nothing that is read runs code.

mdtraj reads them by PyTables. That unpickles any text attribute that ends in a full stop, also the title of the file as
it opens it, unpickles objects in variable-length arrays, and crashes on damaged attributes. A file with such attributes
or objects is refused all the same, for it may be opened by mdtraj next.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any

import h5py
import mdtraj
import numpy as np
from mdtraj.core.element import get_by_symbol, virtual

from spacetime_tps.arrays import FloatArray
from spacetime_tps.errors import TrajectoryError

_MOST_OBJECTS = 10_000
_LARGEST_ATTRIBUTE = 1 << 20  # bytes
_BEST_COMPRESSION = 1100
"""Deflate makes data at most 1,032 times smaller: what claims to hold more is no data."""
_SMALL = 1 << 26  # bytes; a claim that does no harm


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading, unless it is dangerous or endless.

    Raises
    ------
    TrajectoryError
        If an attribute or an array may be pickled, data are in other files, or an array is larger than the file can
        hold, by name; or if the file is missing or unreadable, here or where it is read.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            _check_tree(path, file)
            yield file
    except TrajectoryError:
        raise
    except Exception as error:  # damaged files fail in many ways
        raise TrajectoryError(f"{path} cannot be read as an HDF5 trajectory: {error}") from error


def read_hdf5(path: Path) -> mdtraj.Trajectory:
    """Read an mdtraj HDF5 file with its topology, times and boxes.

    Raises
    ------
    TrajectoryError
        If the file is missing, unreadable or not of mdtraj's layout, or is refused by :func:`open_hdf5`.
    """
    with open_hdf5(path) as file:
        unit = file["coordinates"].attrs.get("units", "nanometers")
        unit = unit.decode() if isinstance(unit, bytes) else unit
        if unit != "nanometers":
            raise TrajectoryError(f"{path} has coordinates in {unit}; write them in nanometers")
        text = np.atleast_1d(file["topology"][()])[0]
        cell = {name: file[name][()] if name in file else None for name in ("cell_lengths", "cell_angles")}
        return mdtraj.Trajectory(
            file["coordinates"][()],
            _topology(json.loads(text)),
            time=file["time"][()] if "time" in file else None,
            unitcell_lengths=cell["cell_lengths"],
            unitcell_angles=cell["cell_angles"],
        )


def read_hdf5_energies(path: Path) -> FloatArray | None:
    """Potential energies in an mdtraj HDF5 file, shape (frames,) in kJ/mol; None if it has none.

    Raises
    ------
    TrajectoryError
        If the file is missing or unreadable, or is refused by :func:`open_hdf5`.
    """
    with open_hdf5(path) as file:
        return np.asarray(file["potentialEnergy"][()], dtype=float) if "potentialEnergy" in file else None


def _topology(content: dict[str, list[Any]]) -> mdtraj.Topology:
    """A topology of mdtraj's from its JSON."""
    topology = mdtraj.Topology()
    for chain in sorted(content["chains"], key=itemgetter("index")):
        new_chain = topology.add_chain(chain.get("chain_id"))
        for residue in sorted(chain["residues"], key=itemgetter("index")):
            new = topology.add_residue(residue["name"], new_chain, residue.get("resSeq"), residue.get("segmentID", ""))
            for atom in sorted(residue["atoms"], key=itemgetter("index")):
                element = get_by_symbol(atom["element"]) if atom["element"] else virtual
                topology.add_atom(atom["name"], element, new)
    atoms = list(topology.atoms)
    for one, two in content["bonds"]:
        topology.add_bond(atoms[one], atoms[two])
    return topology


def _check_tree(path: Path, file: h5py.File) -> None:
    size = path.stat().st_size
    waiting: list[h5py.Group | h5py.Dataset] = [file]
    seen = {h5py.h5o.get_info(file.id).addr}
    while waiting:
        node = waiting.pop()
        _check_attributes(path, node)
        if isinstance(node, h5py.Dataset):
            _check_dataset(path, node, size)
        elif isinstance(node, h5py.Group):
            for name in node:
                link = node.get(name, getlink=True)
                if not isinstance(link, h5py.HardLink):
                    kind = "an external link" if isinstance(link, h5py.ExternalLink) else "a link"
                    raise TrajectoryError(
                        f"{path}: {node.name.rstrip('/')}/{name} is {kind} in the place of data; write the trajectory "
                        "into one file"
                    )
                child = node[name]
                address = h5py.h5o.get_info(child.id).addr
                if address not in seen:
                    seen.add(address)
                    waiting.append(child)
        if len(seen) > _MOST_OBJECTS:
            raise TrajectoryError(f"{path} has more than {_MOST_OBJECTS:,} groups and arrays; it is no trajectory")


def _check_attributes(path: Path, node: h5py.Group | h5py.Dataset) -> None:
    for name in node.attrs:
        attribute = node.attrs.get_id(name)
        if math.prod(attribute.shape or ()) * attribute.dtype.itemsize > _LARGEST_ATTRIBUTE:
            raise TrajectoryError(f"{path}: attribute {name!r} of {node.name} has more than 1 MB; remove it")
        value = node.attrs[name]
        if any(_may_be_pickled(text) for text in np.atleast_1d(np.asarray(value, dtype=object)).ravel()):
            raise TrajectoryError(
                f"{path}: attribute {name!r} of {node.name} may be pickled Python, which can run code when it is "
                "read; remove it, or write the trajectory again from a source that you trust"
            )


def _may_be_pickled(value: object) -> bool:
    """Whether PyTables would unpickle a value, and it is not one line of plain text: no such line can run code."""
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    if isinstance(value, np.void):
        value = value.tobytes()
    if not isinstance(value, bytes) or not value.rstrip(b"\0").endswith(b"."):
        return False
    return not all(32 <= byte < 127 for byte in value.rstrip(b"\0"))


def _check_dataset(path: Path, node: h5py.Dataset, file_size: int) -> None:
    if h5py.check_vlen_dtype(node.dtype) is not None or h5py.check_ref_dtype(node.dtype) is not None:
        raise TrajectoryError(
            f"{path}: {node.name} is an array of objects, which may be Python pickles that run code when they are "
            "read; write the trajectory again from a source that you trust"
        )
    if node.external or node.is_virtual:
        raise TrajectoryError(f"{path}: the data of {node.name} are in other files; write the trajectory into one file")
    if node.shape is not None and node.nbytes > max(_SMALL, _BEST_COMPRESSION * file_size):
        raise TrajectoryError(
            f"{path}: {node.name} has shape {node.shape}, which cannot be in a file of {file_size:,} bytes; the file "
            "is damaged"
        )
