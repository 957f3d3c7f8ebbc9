"""Names of everything in the folder of a run, and which part of the work each of them belongs to."""

from __future__ import annotations

CONFIG = "config.yaml"
TOPOLOGY = "topology.pdb"
INPUTS = "inputs"
REPORTS = "reports"
LOCK = ".lock"
UNFINISHED = "unfinished"
"""Folder with results of single tasks of a part that has not finished."""

SAMPLES = "samples"
TRAINING_FRAMES = "samples/training.h5"
TRAINING_WEIGHTS = "samples/training.npz"
REPLICAS = "samples/replica_*.h5"
DENOISER = "denoiser.safetensors"
TRAINING_CHECKPOINT = "training.safetensors"
GEODESICS = "geodesics"
GEODESIC_FILES = "geodesics/*.npz"
REFINED_DENOISER = "geodesics/denoiser.safetensors"
PATHS = "paths"
PATH_FILES = "paths/path_*.trr"
REGION_AVOIDING_PATHS = "paths_region_avoiding"
REGION_AVOIDING_PATH_FILES = "paths_region_avoiding/path_*.trr"
ENERGIES = "energies.csv"
REACTIVE = "reactive"
REACTIVE_FILES = "reactive/reactive_*.trr"
SHOTS = "reactive/shots.csv"
COMMITTOR_MODEL = "reactive/committor.json"
FIGURES = "figures"
SUMMARY = "summary.json"

POTENTIAL = "potential.safetensors"
POTENTIAL_RESULTS = "potential.json"
CALIBRATION = "calibration"
COMMITTOR = "committor"
TRANSITION_STATES = "committor/transition_states.trr"
PATH_ENSEMBLE = "path_ensemble"
ENSEMBLE_FILES = "path_ensemble/path_*.trr"
FREE_ENERGY = "free_energy"
EXPORT = "export"

STAGES: dict[str, tuple[str, ...]] = {
    "samples": (SAMPLES,),
    "denoiser": (DENOISER,),
    "geodesics": (GEODESICS,),
    "paths": (PATHS, REGION_AVOIDING_PATHS),
    "reactive": (REACTIVE,),
    "results": (FIGURES,),
}
"""Stages of the main job in their order, and the files and folders that each of them writes."""

BEGINNING = "beginning"
PARTS: dict[str, tuple[str, ...]] = {
    BEGINNING: (CONFIG, TOPOLOGY, INPUTS),
    **STAGES,
    "train": (POTENTIAL, POTENTIAL_RESULTS),
    "calibrate": (CALIBRATION,),
    "committor": (COMMITTOR,),
    "path-ensemble": (PATH_ENSEMBLE,),
    "free-energy": (FREE_ENERGY,),
}
"""All parts of the work in a run's folder: its beginning, the stages of the main job, and the jobs after it."""
