"""Files for other tools: trajectories with velocities and energies, and topologies."""

from spacetime_tps.export.trajectories import (
    read_hdf5_energies,
    read_trr,
    write_hdf5,
    write_topology_pdb,
    write_trr,
)

__all__ = ["read_hdf5_energies", "read_trr", "write_hdf5", "write_topology_pdb", "write_trr"]
