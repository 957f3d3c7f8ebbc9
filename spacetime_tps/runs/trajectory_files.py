"""A look at the frames of binary trajectory files before a library reads them.

The libraries trust what a file says of its size. They fill up what is missing, leave out what is cut, or crash.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from spacetime_tps.errors import TrajectoryError
from spacetime_tps.progress import log

_DCD_HEAD = 92  # bytes
_XTC_MAGIC, _TRR_MAGIC = 1995, 1993
_XTC_UNCOMPRESSED = 9  # atoms, up to which positions are written as they are
_XTC_SMALLEST, _XTC_LARGEST = 9, 72  # places in the table of sizes


def check_frames(path: Path, atoms: int | None = None) -> int | None:
    """Number of frames of a DCD, XTC or TRR file, all of them whole; None for other formats.

    Raises
    ------
    TrajectoryError
        If the file is not of the format that its ending says, has not this number of atoms, ends within a frame, or
        says that it has more frames than there are.
    """
    count = _COUNTS.get(path.suffix.lower())
    if count is None:
        return None
    try:
        with path.open("rb") as file:
            return count(path, file, atoms)
    except struct.error as error:
        raise _cut(path, "before its first frame") from error


def _cut(path: Path, where: str) -> TrajectoryError:
    kind = path.suffix[1:].upper()
    return TrajectoryError(
        f"{path} cannot be read as {kind}: it is cut short and ends {where}; copy it again, or leave the last frame out"
    )


def _not_a(path: Path, kind: str, what: str) -> TrajectoryError:
    return TrajectoryError(f"{path} cannot be read as {kind}: {what}; see whether its ending fits, or convert it")


def _damaged(path: Path, frame: int) -> TrajectoryError:
    return TrajectoryError(f"{path} cannot be read: frame {frame} is damaged; copy the file again")


def _check_atoms(path: Path, found: int, atoms: int | None, frame: int = 0) -> None:
    if atoms is not None and found != atoms:
        raise TrajectoryError(f"{path} has {found} atoms in frame {frame}, the structures have {atoms} atoms")


def _count_dcd(path: Path, file: BinaryIO, atoms: int | None) -> int:
    head = file.read(_DCD_HEAD)
    order = next((o for o in "<>" if head[:8] == struct.pack(f"{o}i4s", 84, b"CORD")), None)
    if order is None:
        raise _not_a(path, "DCD", "it does not begin as CHARMM, NAMD and OpenMM write it")
    control = struct.unpack(f"{order}20i", head[8:88])
    said, fixed, charmm = control[0], control[8], control[19] != 0
    (closing, length) = struct.unpack(f"{order}ii", head[88:92] + file.read(4))
    if closing != 84 or not 4 <= length <= 1 << 20 or (length - 4) % 80:
        raise _not_a(path, "DCD", "its header is damaged")
    (titles,) = struct.unpack(f"{order}i", file.read(4))
    file.seek(length - 4, 1)
    ends = struct.unpack(f"{order}4i", file.read(16))
    if ends[:2] != (length, 4) or ends[3] != 4 or titles != (length - 4) // 80:
        raise _not_a(path, "DCD", "its header is damaged")
    _check_atoms(path, ends[2], atoms)
    atoms = ends[2]
    if fixed:
        raise TrajectoryError(f"{path} holds only the atoms that moved; write all atoms into every frame")
    fields = [(f"m{i}", f"{order}i4") for i in range(8)]
    axes = 4 if charmm and control[11] else 3
    frame: list[tuple[str, str] | tuple[str, str, tuple[int]]] = []
    if charmm and control[10]:
        frame += [("c0", f"{order}i4"), ("cell", "f8", (6,)), ("c1", f"{order}i4")]
    for axis in range(axes):
        frame += [(*fields[2 * axis],), (f"x{axis}", "f4", (atoms,)), (*fields[2 * axis + 1],)]
    kind = np.dtype(frame)
    count, rest = divmod(path.stat().st_size - file.tell(), kind.itemsize)
    if rest:
        raise _cut(path, f"within frame {count}")
    if said > count:
        raise TrajectoryError(f"{path} says that it has {said} frames, but {count} are there: it is cut short")
    if 0 < said < count:
        log.warning("%s says that it has %d frames, but %d are there; all are read", path, said, count)
    if count:
        frames = np.memmap(path, kind, "r", file.tell())
        marks = {f"m{i}": 4 * atoms for i in range(2 * axes)} | ({"c0": 48, "c1": 48} if "cell" in kind.names else {})  # type: ignore[operator]
        for name, mark in marks.items():
            if (wrong := frames[name] != mark).any():
                raise _damaged(path, int(np.argmax(wrong)))
    return count


def _count_xtc(path: Path, file: BinaryIO, atoms: int | None) -> int:
    size, count = path.stat().st_size, 0
    while file.tell() < size:
        head = file.read(56)
        if len(head) < 56:
            raise _cut(path, f"within frame {count}")
        magic, found, *_, again = struct.unpack(">3i10fi", head)
        if magic != _XTC_MAGIC:
            if not count:
                raise _not_a(path, "XTC", "it does not begin as GROMACS writes it")
            raise _damaged(path, count)
        _check_atoms(path, found, atoms, count)
        damaged = again != found
        if found <= _XTC_UNCOMPRESSED:
            length = 12 * found
        else:
            rest = file.read(36)
            if len(rest) < 36:
                raise _cut(path, f"within frame {count}")
            precision, *bounds, index, packed = struct.unpack(">f8i", rest)
            length = packed + -packed % 4
            damaged |= not 0 < precision < 1e9
            damaged |= not 0 <= packed <= 4 * (int(3.6 * found) - 3)  # as much as the library makes room for
            damaged |= not _XTC_SMALLEST <= index <= _XTC_LARGEST
            damaged |= any(not 0 <= high - low < 1 << 31 for low, high in zip(bounds[:3], bounds[3:], strict=True))
        if damaged:
            raise _damaged(path, count)
        if file.seek(length, 1) > size:
            raise _cut(path, f"within frame {count}")
        count += 1
    return count


def _count_trr(path: Path, file: BinaryIO, atoms: int | None) -> int:
    size, count = path.stat().st_size, 0
    while file.tell() < size:
        head = file.read(76)
        if len(head) < 76:
            raise _cut(path, f"within frame {count}")
        magic, length, string, name, *sizes, found, _, _ = struct.unpack(">3i12s13i", head)
        if (magic, length, string, name) != (_TRR_MAGIC, 13, 12, b"GMX_trn_file"):
            if not count:
                raise _not_a(path, "TRR", "it does not begin as GROMACS writes it")
            raise _damaged(path, count)
        _check_atoms(path, found, atoms, count)
        box, positions = sizes[2], sizes[7]
        real = positions // (3 * found) if found and positions else box // 9
        allowed = [(0,), (0,), (0, 9 * real), (0, 9 * real), (0, 9 * real), (0,), (0,)] + 3 * [(0, 3 * real * found)]
        if real not in (4, 8) or any(s not in some for s, some in zip(sizes, allowed, strict=True)):
            raise _damaged(path, count)
        if not positions:
            raise TrajectoryError(f"{path}: frame {count} has no positions; write them for every frame")
        if file.seek(2 * real + sum(sizes), 1) > size:
            raise _cut(path, f"within frame {count}")
        count += 1
    return count


_COUNTS: dict[str, Callable[[Path, BinaryIO, int | None], int]] = {
    ".dcd": _count_dcd,
    ".xtc": _count_xtc,
    ".trr": _count_trr,
}
