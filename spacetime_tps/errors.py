"""Errors a user can act on. Each message says what was wrong, where, and what to do."""


class SpacetimeError(Exception):
    """Base class of every error this package raises on purpose."""


class ConfigError(SpacetimeError, ValueError):
    """A setting, key or unit is wrong."""


class MoleculeError(SpacetimeError, ValueError):
    """A structure, topology, force field, state or selection does not fit."""


class TrajectoryError(SpacetimeError, ValueError):
    """A trajectory file is unreadable, broken or of another molecule."""


class GeometryError(SpacetimeError, ValueError):
    """A spacetime point, denoiser or constraint is outside what can be computed."""


class NoPathError(GeometryError):
    """The samples do not connect the two endpoints within the constraints."""


class DynamicsError(SpacetimeError, RuntimeError):
    """A simulation failed."""


class StatisticsError(SpacetimeError, ValueError):
    """A statistic cannot be computed from what was sampled."""


class OutputError(SpacetimeError, RuntimeError):
    """An output directory cannot be used as asked."""
