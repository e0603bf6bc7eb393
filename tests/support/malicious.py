"""Files that run code when they are unpickled, where earlier versions of this program read some."""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.target,)


def of_ray(folder: Path, evil: Malicious) -> None:
    """A checkpoint as an earlier version kept it: Ray's list of them, and DeepSpeed's files."""
    inside = folder / "checkpoint_2026-01-01_00-00-00.000000"
    (inside / "engine").mkdir(parents=True)
    told = {"checkpoint_dir_name": inside.name, "metrics": {}}
    empty = [f"pending_{name}" for name in ("training_results", "validation_specs")]
    for how in ("validated", "timed_out_validation", "failed_validation"):
        empty.append(f"{how}_checkpoint_dir_names")
    snapshot = {
        "ray_version": version("ray"),
        "checkpoint_results": [told],
        "checkpoint_report_indices": [0],
        "latest_checkpoint_result": told,
        "current_report_index": 1,
    }
    snapshot |= {name: [] for name in empty}
    (folder / "checkpoint_manager_snapshot.json").write_text(json.dumps(snapshot))
    course = {"curve": [], "step": 2, "loss": 1.0, "elapsed": 1.0}
    (inside / "course.json").write_text(json.dumps(course))
    save_file({}, inside / "adapter.safetensors")
    np.save(inside / "validation.npy", np.array([evil], object), allow_pickle=True)
    for name in ("mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_optim_states.pt"):
        torch.save({"module": evil}, inside / "engine" / name)
