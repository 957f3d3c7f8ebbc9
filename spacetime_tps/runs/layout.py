"""Names of everything in the folder of a run, and which part of the work each of them belongs to."""

from __future__ import annotations

CONFIG = "config.yaml"
TOPOLOGY = "topology.pdb"
INPUTS = "inputs"
REPORTS = "reports"
LOCK = ".lock"
REPORT = "{}.json"
"""Name of a part's report, by the part."""
UNFINISHED = "unfinished"
"""Folder with results of single tasks of a part that has not finished."""
REQUEST = "request.json"
"""What a job was asked for, in its folder."""

SAMPLES = "samples"
TRAINING_FRAMES = "samples/training.h5"
TRAINING_WEIGHTS = "samples/training.npz"
REPLICAS = "samples/replica_*.h5"
SAMPLES_FILE = "{}_{:02d}_{:.0f}K.h5"
"""By kind, number and temperature."""
DENOISER = "denoiser.safetensors"
TRAINING_CHECKPOINT = "training.safetensors"
GEODESICS = "geodesics"
GEODESIC_FILES = "geodesics/*.npz"
GEODESIC_FILE = "{}.npz"
"""By name, also of paths on a surface."""
REFINED_DENOISER = "geodesics/denoiser.safetensors"
PATHS = "paths"
PATH_FILES = "paths/path_*.trr"
PATH_FILE = "path_{:04d}.trr"
FAILED_PATH_FILE = "failed_{:04d}.npz"
REGION_AVOIDING_PATHS = "paths_region_avoiding"
REGION_AVOIDING_PATH_FILES = "paths_region_avoiding/path_*.trr"
ENERGIES = "energies.csv"
REACTIVE = "reactive"
REACTIVE_FILES = "reactive/reactive_*.trr"
REACTIVE_FILE = "reactive_{:04d}.trr"
SHOTS = "reactive/shots.csv"
COMMITTOR_MODEL = "reactive/committor.json"
FIGURES = "figures"
FIGURE_FILES = "*.png"
MAP_FIGURE = "ramachandran_{}.png"
ENERGY_FIGURE = "energy_along_{}.png"
PROFILES_FIGURE = "geodesic_profiles.png"
SURFACE_FIGURE = "paths_{}.png"
SURFACE_PROFILES_FIGURE = "profiles.png"
SUMMARY = "summary.json"

POTENTIAL = "potential.safetensors"
POTENTIAL_RESULTS = "potential.json"

# Names below are those of files in the folder of their job.
CALIBRATION = "calibration"
CALIBRATION_RESULTS = "calibration.json"
CALIBRATION_POINTS = "points.csv"
CALIBRATION_CHORDS = "chords.csv"
CALIBRATION_FIGURE = "calibration.png"

COMMITTOR = "committor"
COMMITTOR_RESULTS = "committor.json"
COMMITTOR_TABLE = "committor.csv"
COMMITTOR_FIGURE = "committor.png"
COMMITTOR_SHOTS = "shots.csv"
COMMITTOR_JOURNAL = "shots.jsonl"
CHOSEN_FRAMES = "frames.trr"
CHOSEN_FRAMES_TABLE = "frames.json"
TRANSITION_STATES_FILE = "transition_states.trr"
TRANSITION_STATES_HDF5 = "transition_states.h5"
TRANSITION_STATES = f"{COMMITTOR}/{TRANSITION_STATES_FILE}"

PATH_ENSEMBLE = "path_ensemble"
ENSEMBLE_FILES = "path_ensemble/path_*.trr"
ENSEMBLE_RESULTS = "path_ensemble.json"
ENSEMBLE_MOVES = "moves.csv"
ENSEMBLE_JOURNAL = "moves.jsonl"
ENSEMBLE_CHECKPOINT = "checkpoint.json"
CHAINS_FILES = "chains_*.npz"
CHAINS_FILE = "chains_{:06d}.npz"

FREE_ENERGY = "free_energy"
FREE_ENERGY_RESULTS = "free_energy.json"
FREE_ENERGY_PROFILE = "profile.csv"
FREE_ENERGY_OVERLAP = "overlap.csv"
FREE_ENERGY_FIGURE = "free_energy.png"
SWEEPS_JOURNAL = "sweeps.jsonl"
SWEEP_FILE = "sweep_{}.npy"

EXPORT = "export"
EXPORT_RESULTS = "export.json"

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
