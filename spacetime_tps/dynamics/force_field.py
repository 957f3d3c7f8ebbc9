"""The OpenMM System of a molecule, from force-field XML, an Amber topology or a serialised System."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import openmm
from openmm import app, unit

from spacetime_tps.dynamics.forces import check_known, check_potentials
from spacetime_tps.dynamics.safe_xml import XmlFile, read_xml
from spacetime_tps.dynamics.structures import box_text, periodic_box, same_box
from spacetime_tps.errors import MoleculeError
from spacetime_tps.progress import log
from spacetime_tps.settings.shipped import data_folder
from spacetime_tps.settings.system import SystemSettings

_NONBONDED = {
    "NoCutoff": app.NoCutoff,
    "CutoffNonPeriodic": app.CutoffNonPeriodic,
    "CutoffPeriodic": app.CutoffPeriodic,
    "PME": app.PME,
}
_CONSTRAINTS = {"none": None, "HBonds": app.HBonds, "AllBonds": app.AllBonds, "HAngles": app.HAngles}
_OF_CREATION = ("nonbonded_method", "nonbonded_cutoff", "constraints", "hydrogen_mass")
"""Settings that say how a System is made, and nothing about one that is there."""
_PERIODIC = ("PME", "CutoffPeriodic")
_LARGEST_CHANGE = 0.1
"""Of a box's lengths between a prmtop and structures: solvent as it is first packed shrinks by less under pressure."""


def create_system(settings: SystemSettings, topology: app.Topology, trust_scripts: bool = False) -> openmm.System:
    """The System that settings ask for, with forces in group 0 alone and without a remover of motion.

    Parameters
    ----------
    settings : SystemSettings
    topology : openmm.app.Topology
        Of the structures, with their box if they have one.
    trust_scripts : bool
        Whether force-field files that are not OpenMM's may run code.

    Raises
    ------
    MoleculeError
        If a file is missing or unreadable or holds code, the force field does not fit the topology, a setting would
        have no effect, or a force asks for other dynamics than Langevin's at constant volume.
    """
    files = ForceFieldFiles.find(settings)
    if not trust_scripts:
        files.check_no_code()
    try:
        if files.kind == "prmtop":
            prmtop = app.AmberPrmtopFile(str(files.paths[0]))
            _give_box(prmtop, topology, settings, files.paths[0])
            _check_has_box(settings, prmtop.topology)
            system = prmtop.createSystem(**_options(settings))
        elif files.kind == "system":
            check_known(files.xml[0].forces, files.paths[0])
            _check_settings_have_effect(settings, files.paths[0])
            system = openmm.XmlSerializer.deserialize(files.xml[0].text)
        else:
            _check_has_box(settings, topology)
            force_field = app.ForceField(*(io.StringIO(file.text) for file in files.xml))
            system = force_field.createSystem(topology, **_options(settings))
    except MoleculeError:
        raise
    except Exception as error:
        raise MoleculeError(
            f"force field {', '.join(settings.force_field)} cannot be applied to {settings.name}: {_text(error)}"
        ) from error
    if system.getNumParticles() != topology.getNumAtoms():
        raise MoleculeError(
            f"force field {settings.force_field[0]} describes {system.getNumParticles()} particles, "
            f"the structures have {topology.getNumAtoms()} atoms"
        )
    check_potentials(system, settings.force_field[0])
    _remove_motion_removers(system)
    for force in system.getForces():
        force.setForceGroup(0)
    return system


def input_files(settings: SystemSettings) -> dict[str, Path]:
    """Every file that a system is made from and that does not come with OpenMM or this package.

    Parameters
    ----------
    settings : SystemSettings

    Returns
    -------
    dict of str to Path
        By the setting that names the file, such as ``structures.a`` or ``force_field.own.xml``; an included file has
        the key of the file that includes it, and its own name after a slash.

    Raises
    ------
    MoleculeError
        If a file is missing or is no XML.
    """
    files = {f"structures.{name}": Path(path) for name, path in settings.structures.items()}
    for name, path in files.items():
        if not path.is_file():
            raise MoleculeError(f"{name}: there is no file {path}")
    return files | ForceFieldFiles.find(settings).own_files()


@dataclass(frozen=True)
class ForceFieldFiles:
    """The files of a force field in the order in which OpenMM loads them.

    Attributes
    ----------
    kind : str
        ``"prmtop"``, ``"system"`` (one that is serialised) or ``"force_field"``.
    keys : tuple of str
        What each file is in the settings.
    paths : tuple of Path
    xml : tuple of XmlFile
        What each holds; empty for ``"prmtop"``.
    """

    kind: str
    keys: tuple[str, ...]
    paths: tuple[Path, ...]
    xml: tuple[XmlFile, ...]

    @classmethod
    def find(cls, settings: SystemSettings) -> ForceFieldFiles:
        """The files that settings name, and the files which they include.

        Raises
        ------
        MoleculeError
            If a file is missing or cannot be read, includes itself, or does not go with the others.
        """
        names = settings.force_field
        paths = [_find_file(name, f"force field {name} cannot be applied to {settings.name}: it") for name in names]
        keys = [f"force_field.{Path(name).name}" for name in names]
        prmtops = [path for path in paths if path.suffix == ".prmtop"]
        if prmtops:
            _check_alone(prmtops[0], "a prmtop", names)
            return cls("prmtop", tuple(keys), tuple(paths), ())
        found: dict[Path, tuple[str, XmlFile]] = {}
        graph: dict[Path, list[Path]] = {}
        waiting = list(zip(keys, paths, strict=True))
        for key, path in waiting:  # grows while it is walked, in OpenMM's order
            if path in found:
                continue
            file = read_xml(path)
            found[path] = (key, file)
            graph[path] = [_find_file(name, f"{path} includes {name}, but it", path.parent) for name in file.includes]
            waiting += [(f"{key}/{included.name}", included) for included in graph[path]]
        _check_no_loop(graph)
        xml = tuple(file for _, file in found.values())
        for file in xml:
            if file.root == "System":
                _check_alone(file.path, "a serialised System", names)
            elif file.root != "ForceField":
                raise MoleculeError(
                    f"{file.path} is neither a force field nor a System: its outermost element is <{file.root}>"
                )
        kind = "system" if xml[0].root == "System" else "force_field"
        return cls(kind, tuple(key for key, _ in found.values()), tuple(found), xml)

    def check_no_code(self) -> None:
        """Refuse files that would run code, unless they come with OpenMM or this package.

        Raises
        ------
        MoleculeError
            Naming the file and what it has.
        """
        for file in self.xml:
            if file.code and not _is_installed(file.path):
                raise MoleculeError(
                    f"{file.path} holds code that would run on this computer: {', '.join(file.code)}; remove it, or "
                    "take --trust-scripts if you have read it and trust it"
                )

    def own_files(self) -> dict[str, Path]:
        """The files that come neither with OpenMM nor with this package, by their keys."""
        files: dict[str, Path] = {}
        for key, path in zip(self.keys, self.paths, strict=True):
            if _is_installed(path):
                continue
            unique, number = key, 2
            while unique in files:
                unique, number = f"{key}.{number}", number + 1
            files[unique] = path
        return files


def _check_alone(path: Path, kind: str, names: tuple[str, ...]) -> None:
    if len(names) > 1:
        raise MoleculeError(f"{path} is {kind}, which holds a whole force field; remove the other files")


def _check_no_loop(includes: Mapping[Path, Sequence[Path]]) -> None:
    try:
        TopologicalSorter(includes).prepare()
    except CycleError as error:
        loop = " includes ".join(str(path) for path in reversed(error.args[1]))
        raise MoleculeError(f"force-field files include each other in a loop: {loop}; remove an <Include>") from error


def _find_file(name: str, what: str, folder: Path | None = None) -> Path:
    """A file beside the one that includes it, one of ours, or one of OpenMM's; never one of the working directory."""
    places = [*([folder] if folder else []), *_installed_folders()]
    candidates = [Path(name)] if Path(name).is_absolute() else [place / name for place in places]
    for candidate in candidates:
        try:
            if candidate.is_file():
                return candidate.resolve()
        except (OSError, ValueError, RuntimeError):
            continue
    raise MoleculeError(
        f"{what} is neither a file beside system.yaml (or beside the file that includes it), nor a force field of "
        "OpenMM or of this package"
    )


def _installed_folders() -> Iterator[Path]:
    """Folders of the force fields of this package, of OpenMM, and of installed packages that bring some for OpenMM."""
    yield data_folder("forcefields")
    yield Path(str(app.__file__)).parent / "data"
    for entry in entry_points(group="openmm.forcefielddir"):
        yield Path(str(entry.load()()))


def _is_installed(path: Path) -> bool:
    return any(path.is_relative_to(folder.resolve()) for folder in _installed_folders())


def _give_box(prmtop: app.AmberPrmtopFile, topology: app.Topology, settings: SystemSettings, path: Path) -> None:
    """Give a prmtop the box of the structures, if they have one; its own is of the time before it was equilibrated.

    Raises
    ------
    MoleculeError
        If forces are periodic and the lengths differ by more than equilibration changes them.
    """
    box, own = (periodic_box(found) for found in (topology, prmtop.topology))
    if box is None:
        return
    if own is not None and settings.nonbonded_method in _PERIODIC and not same_box(box, own):
        change = float(np.abs(np.linalg.norm(box, axis=1) / np.linalg.norm(own, axis=1) - 1).max())
        if change > _LARGEST_CHANGE:
            raise MoleculeError(
                f"{path} has a box of {box_text(own)}, the structures have one of {box_text(box)}; mend their CRYST1 "
                "records"
            )
        log.info("%s has a box of %s; that of the structures is used: %s", path, box_text(own), box_text(box))
    prmtop.topology.setPeriodicBoxVectors(topology.getPeriodicBoxVectors())


def _check_has_box(settings: SystemSettings, topology: app.Topology) -> None:
    if settings.nonbonded_method in _PERIODIC and topology.getPeriodicBoxVectors() is None:
        raise MoleculeError(
            f"nonbonded_method {settings.nonbonded_method} is periodic, but the structures have no box; give them a "
            "CRYST1 record, or take NoCutoff"
        )


def _options(settings: SystemSettings) -> dict[str, object]:
    options: dict[str, object] = {
        "nonbondedMethod": _NONBONDED[settings.nonbonded_method],
        "nonbondedCutoff": settings.nonbonded_cutoff * unit.nanometer,
        "constraints": _CONSTRAINTS[settings.constraints],
        "rigidWater": settings.constraints != "none",
        "removeCMMotion": False,
    }
    if settings.hydrogen_mass is not None:
        options["hydrogenMass"] = settings.hydrogen_mass * unit.amu
    return options


def _check_settings_have_effect(settings: SystemSettings, path: Path) -> None:
    """Refuse settings that a serialised System has settled; config.yaml holds their defaults, so these may stay."""
    given = [
        name
        for name in _OF_CREATION
        if name in settings.model_fields_set and getattr(settings, name) != type(settings).model_fields[name].default
    ]
    if given:
        raise MoleculeError(
            f"system.{', system.'.join(given)}: no effect, for {path} is a serialised System that has settled this; "
            "remove the setting, or make the System anew with it"
        )


def _remove_motion_removers(system: openmm.System) -> None:
    for index in reversed(range(system.getNumForces())):
        if isinstance(system.getForce(index), openmm.CMMotionRemover):
            system.removeForce(index)
            log.info("CMMotionRemover is taken out of the System: it acts between steps, and paths must be reversible")


def _text(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error) or type(error).__name__
