"""The house's rules, held by reading the imports."""

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from checkout import ROOT

LAYERS = ("qdllm", "jobs", "orchestrator")
HOMES = {
    "ray": {
        "orchestrator/cluster/capacity.py",
        "orchestrator/cluster/connection.py",
        "orchestrator/cluster/nodes.py",
        "orchestrator/cluster/work.py",
        "orchestrator/spot.py",
        "orchestrator/tune/room.py",
        "orchestrator/tune/schedulers.py",
        "orchestrator/tune/searcher.py",
        "orchestrator/tune/tuner.py",
        "orchestrator/tune/watch.py",
        "jobs/teacher.py",
    },
    "mlflow": {
        "orchestrator/tracking/backend.py",
        "orchestrator/tracking/causes.py",
        "orchestrator/tracking/database.py",
        "orchestrator/tracking/models.py",
        "orchestrator/tracking/runs.py",
        "orchestrator/tracking/serving.py",
    },
    "deepspeed": {"jobs/zero.py"},
    "transformers": {"qdllm/teacher.py", "qdllm/encoder.py", "qdllm/rivals/bodies.py"},
    "peft": {"qdllm/teacher.py"},
    "huggingface_hub": {
        "orchestrator/report/champion.py",
        "qdllm/models.py",
        "qdllm/texts/hub.py",
    },
    "mindquantum": {"qdllm/mindquantum.py"},
    "openqasm3": {"qdllm/circuits/expansion.py", "qdllm/circuits/reading.py"},
    "qiskit_ibm_runtime": {"jobs/devices/ibm.py", "qdllm/processors/fake.py"},
    "quafu": {"jobs/devices/quafu.py"},
    "sklearn": {"qdllm/families/linear.py", "qdllm/tfidf.py", "qdllm/words.py"},
    "obstore": {"jobs/store/results.py"},
    "optuna": {"orchestrator/tune/sampler.py"},
    "yaml": {
        "orchestrator/cluster/checks.py",
        "orchestrator/grid/yaml_lines.py",
        "orchestrator/report/page.py",
        "orchestrator/report/paper.py",
        "orchestrator/report/rivals.py",
        "orchestrator/steps/conclusion.py",
    },
    "matplotlib": {
        f"orchestrator/report/figures/{name}.py"
        for name in ("canvas", "marks", "overall", "students")
    },
    "jinja2": {"orchestrator/report/rendering.py"},
}
"""Each outside library has one home; serving.py is what MLflow itself runs."""
WINGS = {
    "qdllm": {
        "circuits": {"errors", "messages", "outside", "spec"},
        "compiled": {"outside"},
        "encoder": {"errors", "models", "specs"},
        "engine": {"circuits", "compiled", "errors"},
        "errors": {"messages"},
        "families": {
            "circuits",
            "encoder",
            "engine",
            "errors",
            "fit",
            "messages",
            "metrics",
            "models",
            "plugins",
            "processors",
            "rivals",
            "spec",
            "specs",
            "student",
            "tfidf",
        },
        "fit": {"errors", "loss", "metrics", "specs", "student"},
        "loss": {"loss_kernel", "specs"},
        "messages": {"addresses", "visible"},
        "loss_kernel": {"compiled"},
        "mindquantum": {"circuits", "engine", "errors"},
        "models": {"errors", "messages", "outside"},
        "outside": {"addresses", "errors", "messages"},
        "plugins": {"errors"},
        "processors": {"circuits", "engine", "errors", "messages", "outside", "spec", "specs"},
        "predictor": {"families", "saved"},
        "rivals": {
            "batches",
            "encoder",
            "errors",
            "fit",
            "messages",
            "metrics",
            "models",
            "spec",
            "specs",
            "teacher",
        },
        "saved": {"errors", "families", "messages", "models", "outside", "spec", "specs", "tfidf"},
        "shots": {"circuits", "engine"},
        "spec": {"errors", "messages"},
        "specs": {"errors", "messages", "models", "spec"},
        "student": {"circuits", "engine"},
        "teacher": {"batches", "encoder", "errors", "models", "specs"},
        "texts": {"errors", "messages", "models", "outside", "specs", "visible"},
        "tfidf": {"errors", "models", "outside"},
        "words": {"texts", "tfidf"},
    },
    "jobs": {
        "agree": {"command", "inputs", "kinds", "requests", "store", "students", "trial"},
        "devices": {"kinds", "measure", "store", "students"},
        "evaluate": {"command", "inputs", "kinds", "requests", "store", "students", "trial"},
        "export": {"kinds", "store", "students"},
        "features": {"command", "kinds", "requests", "store"},
        "checkpoint": {"kinds", "store", "zero"},
        "fine_tune": {"checkpoint", "command", "zero"},
        "inputs": {"kinds", "store"},
        "measure": {"command", "inputs", "kinds", "requests", "store", "students", "trial"},
        "students": {"kinds", "store"},
        "kept": {"kinds", "store"},
        "store": {"command", "kinds", "screen"},
        "teacher": {"checkpoint", "command", "fine_tune", "kinds", "requests", "store", "zero"},
        "teacher_states": {"command", "inputs", "kinds", "requests", "store", "teacher"},
        "tokens": {"command", "kinds", "requests", "store"},
        "trial": {"command", "inputs", "kept", "kinds", "requests", "store"},
        "words": {"command", "kinds", "requests", "store"},
    },
    "orchestrator": {
        "cluster": {"console", "repeating", "tracking"},
        "device": {"grid", "options", "processors", "tracking"},
        "doctor": {"cluster", "console", "options"},
        "execution": {"cluster", "console", "grid", "plan", "tune"},
        "options": {"cluster", "tracking"},
        "plan": {"grid"},
        "processors": {"console", "options", "steps", "tracking"},
        "report": {"console", "grid", "plan"},
        "steps": {
            "console",
            "execution",
            "grid",
            "options",
            "plan",
            "repeating",
            "report",
            "tracking",
            "tune",
        },
        "sweep": {"grid", "options", "report", "steps", "tracking"},
        "tracking": {"plan"},
        "tune": {"cluster", "grid", "plan"},
    },
}
"""What each file or folder of a layer imports of its own layer; those that import none are left
out."""
NAMING_THE_STUDENT = {
    "jobs/evaluate.py",
    "jobs/export.py",
    "jobs/measure.py",
    "jobs/students.py",
    "orchestrator/report/page.py",
    "orchestrator/report/paper.py",
}
"""Where what is done or told is the paper's student's own: its circuit, its tables."""


def sources(layer: str) -> list[Path]:
    return sorted((ROOT / layer).rglob("*.py"))


@cache
def imports(path: Path) -> tuple[str, ...]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            assert node.module is not None
            found.append(node.module)
    return tuple(found)


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_run_one_way(layer):
    above = LAYERS[LAYERS.index(layer) + 1 :]
    for path in sources(layer):
        for module in imports(path):
            assert module.partition(".")[0] not in above, f"{path} imports {module}"


@pytest.mark.parametrize("library", HOMES)
def test_each_library_has_one_home(library):
    users = {
        str(path.relative_to(ROOT))
        for layer in LAYERS
        for path in sources(layer)
        if any(module.partition(".")[0] == library for module in imports(path))
    }
    assert users == HOMES[library]


def wings(layer: str) -> dict[str, set[str]]:
    """What each of a layer's files and folders imports of the others."""
    names = {path.name.removesuffix(".py") for path in (ROOT / layer).iterdir()}
    found: dict[str, set[str]] = {}
    for path in sources(layer):
        wing = path.relative_to(ROOT / layer).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and wing != "__init__":
                full = [f"{node.module}.{alias.name}".split(".") for alias in node.names]
                found.setdefault(wing, set()).update(
                    one[1] for one in full if one[0] == layer and one[1] in names - {wing}
                )
    return {wing: others for wing, others in found.items() if others}


@pytest.mark.parametrize("layer", LAYERS)
def test_wings_import_these_and_no_others(layer):
    """By equality: an import that went leaves no permission behind."""
    assert wings(layer) == WINGS[layer]


@pytest.mark.parametrize("layer", LAYERS)
def test_no_wings_import_each_other_in_a_circle(layer):
    graphlib.TopologicalSorter(wings(layer)).prepare()


CODE = re.compile(
    r"(.*\.)?(cloudpickle|dill|joblib|marshal|pickle|shelve|Unpickler)(\..*)?"
    r"|(numpy|torch|torch\.jit|yaml)\.(load|load_all|full_load|unsafe_load|UnsafeLoader)"
    r"|.*\.(load_checkpoint|load_model|(all_)?gather_object|\w+_object_list)"
    r"|eval|exec|mlflow\.\w+\.load_\w+|multiprocessing\.connection.*"
)
"""What reads data and may run code that stands there."""
READING_CODE = {
    # Sends its own functions to nodes by value, and reads nothing.
    "orchestrator/cluster/nodes.py": {
        "ray.cloudpickle",
        "ray.cloudpickle.register_pickle_by_value",
        "ray.cloudpickle.unregister_pickle_by_value",
    },
    # A pipe to a child of its own.
    "orchestrator/tracking/process.py": {"multiprocessing.connection.Connection"},
    # What is said of a kernel of our own that is damaged.
    "qdllm/compiled.py": {"pickle.UnpicklingError"},
    # torch's name for the refusal to run any.
    "qdllm/encoder.py": {"pickle.UnpicklingError"},
}


def names(path: Path) -> Iterator[str]:
    """All that a file imports or uses, by whole dotted names where it is clear whose they are."""
    tree, known = ast.parse(path.read_text(encoding="utf-8")), dict[str, str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {each.asname: each.name for each in node.names if each.asname}
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            found = {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
            known |= found
            yield from found.values()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            first, dot, rest = ast.unparse(node).partition(".")
            yield f"{known.get(first, first)}{dot}{rest}"


@pytest.mark.parametrize("layer", LAYERS)
def test_nothing_is_read_that_may_be_code(layer):
    """Neither what a store holds, nor a model, nor a file of the user's: see docs/security.md."""
    found = {str(path.relative_to(ROOT)): set(names(path)) for path in sources(layer)}
    reading = {path: set(filter(CODE.fullmatch, used)) for path, used in found.items()}
    expected = {path: used for path, used in READING_CODE.items() if path.startswith(layer)}
    assert {path: used for path, used in reading.items() if used} == expected


@pytest.mark.parametrize("layer", LAYERS)
def test_what_could_run_code_is_told_not_to(layer):
    told = set()
    for path in sources(layer):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword):
                told.add((node.arg, ast.unparse(node.value)))
            elif isinstance(node, ast.Dict):
                plain = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
                told |= set(zip(plain, map(ast.unparse, node.values), strict=True))
    settings = {"allow_pickle", "trust_remote_code", "weights_only"}
    expected = {("trust_remote_code", "False"), ("weights_only", "True")}
    assert {one for one in told if one[0] in settings} == (expected if layer == "qdllm" else set())


def test_the_test_for_code_sees_it(tmp_path):
    path = tmp_path / "example.py"
    seen = {
        "import pickle as p\np.loads(b'')": "pickle.loads",
        "from torch import load as get\nget('x')": "torch.load",
        "import numpy as np\nnp.load('x')": "numpy.load",
        "from ray import cloudpickle\ncloudpickle.loads(b'')": "ray.cloudpickle.loads",
        "import yaml\nyaml.load('', yaml.UnsafeLoader)": "yaml.UnsafeLoader",
        "engine.load_checkpoint('x')": "engine.load_checkpoint",
        "import mlflow\nmlflow.pyfunc.load_model('x')": "mlflow.pyfunc.load_model",
        "from torch import distributed\ndistributed.broadcast_object_list([])": (
            "torch.distributed.broadcast_object_list"
        ),
        "eval('1')": "eval",
    }
    for code, name in seen.items():
        path.write_text(code)
        assert name in filter(CODE.fullmatch, names(path)), code


def test_nothing_but_its_own_file_names_a_family():
    """Families are data: a plan, a store, a report learn of them by looping."""
    for layer in ("jobs", "orchestrator"):
        for path in sources(layer):
            named = {module for module in imports(path) if module.startswith("qdllm.families.")}
            assert not named or str(path.relative_to(ROOT)) in NAMING_THE_STUDENT, path


def test_the_science_prints_nothing_and_knows_no_scheduler():
    for path in sources("qdllm"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        printed = [call for call in calls if isinstance(call, ast.Name) and call.id == "print"]
        assert not printed or path.name == "__main__.py", f"{path} prints"


def modules_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after running the code."""
    program = f"import sys\n{code}\nprint(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    output = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return set(output.splitlines()[-1].split())


HEAVY = {"torch", "ray", "mlflow", "transformers", "deepspeed", "numba", "mindquantum"}
HEAVY |= {"matplotlib", "scipy", "pandas", "sklearn"}


def test_importing_the_package_is_cheap():
    assert not modules_after("import qdllm") & HEAVY


def test_help_imports_nothing_heavy():
    code = "from orchestrator.sweep import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    assert not modules_after(code) & HEAVY


@pytest.mark.parametrize("command", ["device", "doctor", "spot"])
def test_nor_does_the_help_of(command):
    code = (
        f"from orchestrator.{command} import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    )
    assert not modules_after(code) & HEAVY


def test_a_dry_run_imports_nothing_heavy(tmp_path):
    arguments = ["--grid", "ablation", "--dry-run", "--home", str(tmp_path)]
    arguments += ["--set", "circuit.noise=baihua", "--set", "evaluations=[shots, baihua-sim]"]
    code = f"from orchestrator.sweep import main\nassert main({arguments!r}) == 0"
    assert not modules_after(code) & HEAVY


def test_the_flags_are_these():
    from orchestrator.sweep import parser

    flags = {flag for action in parser()._actions for flag in action.option_strings}
    assert flags == {
        "-h",
        "--help",
        "--grid",
        "--task",
        "--data",
        "--teacher",
        "--home",
        "--store",
        "--tracking",
        "--address",
        "--trials",
        "--set",
        "--dry-run",
    }
