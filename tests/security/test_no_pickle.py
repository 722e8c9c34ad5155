"""No code of ours loads what runs what it loads: pickles, YAML objects, code of a model's repository, a shell's command lines.

The project's own processes do send one another pickles: PyTorch's loader workers, and Ray's on a cluster (docs/security.md). No
file of somebody else's is one.
"""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
# What a damaged file is refused with; the classes run nothing.
_HARMLESS = {"UnpicklingError", "PickleError"}
_CALLS = {"eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all"}
# Where a module takes what it has made itself in the line before, or writes what somebody else's program will load.
_EXCEPTIONS = {
    "benchmarks/index.py: pickle.dumps": "how long rows take to another process, which is how multiprocessing sends them",
    "benchmarks/index.py: pickle.loads": "the same rows there",
    "training/data/zero_1_to_g_export.py: allow_pickle": "written, and as Zero-1-to-G's own loader wants it",
}
_METHODS = {"read_pickle", "to_pickle", "unsafe_load", "set_default_serializer"}


def sources() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout
    return [PROJECT / name for name in listed.splitlines() if not name.startswith("tests/")]


def dangers(tree: ast.AST) -> Iterator[str]:
    """What in a module may run what a file says, each as `line: what`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            # The name alone gives the exception classes; its functions are found where they are called.
            imported = {name.name.partition(".")[0] for name in node.names} & (_MODULES - {"pickle"})
            yield from (f"{node.lineno}: imports {name}" for name in imported)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in _MODULES:
            names = {name.name for name in node.names} - _HARMLESS
            yield from (f"{node.lineno}: imports {name} of {node.module}" for name in sorted(names))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in _MODULES:
            if node.attr not in _HARMLESS:
                yield f"{node.lineno}: {node.value.id}.{node.attr}"
        elif isinstance(node, ast.Call):
            yield from (f"{node.lineno}: {danger}" for danger in _dangers_of(node))


def _dangers_of(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    given = {word.arg: word.value for word in call.keywords}
    said = {key: value.value for key, value in given.items() if isinstance(value, ast.Constant)}
    if name in _CALLS or name.rpartition(".")[2] in _METHODS:
        yield name
    if name == "torch.load" and said.get("weights_only") is not True:
        yield "torch.load without weights_only=True"
    if "allow_pickle" in given and said.get("allow_pickle") is not False:
        yield "allow_pickle"
    for word in ("shell", "trust_remote_code", "dangerously_allow_pickle"):
        if word in given and said.get(word) is not False:
            yield word
    if said.get("persist_result") is True and said.get("result_serializer") != "json":
        yield "a persisted result without result_serializer='json'"
    if said.get("result_serializer") == "pickle" or said.get("serialization_format") in ("pickle", "cloudpickle"):
        yield "a pickled result or model"
    # MLflow pickles an object; of a path it takes the code that lies there.
    if name.endswith("pyfunc.log_model") and not _is_a_path(given.get("python_model")):
        yield "a model that is no file of code"


def _is_a_path(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "str"


def test_no_module_loads_what_runs() -> None:
    found = [
        f"{path.relative_to(PROJECT)}: {danger.partition(': ')[2]}"
        for path in sources()
        for danger in dangers(ast.parse(path.read_text()))
    ]
    assert sorted(found) == sorted(_EXCEPTIONS)
    assert len(sources()) > 300, "the walk has seen the project"


@pytest.mark.parametrize(
    "code",
    [
        "import cloudpickle",
        "from pickle import loads",
        "import pickle; pickle.loads(b'')",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=trusted)",
        "yaml.load(text, Loader=yaml.Loader)",
        "eval(text)",
        "os.system(command)",
        "subprocess.run(command, shell=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "pd.read_pickle(path)",
        "flow(persist_result=True)",
        "task(persist_result=True, result_serializer='pickle')",
        "mlflow.pyfunc.log_model(name='a', python_model=Model())",
    ],
)
def test_each_danger_is_known_when_it_is_met(code: str) -> None:
    assert list(dangers(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "try: pass\nexcept pickle.UnpicklingError: pass",
        "from pickle import UnpicklingError",
        "torch.load(path, weights_only=True, map_location='cpu')",
        "model.eval()",
        "flow(persist_result=True, result_serializer='json')",
        "mlflow.pyfunc.log_model(name='a', python_model=str(CODE))",
    ],
)
def test_what_is_harmless_passes(code: str) -> None:
    assert not list(dangers(ast.parse(code)))
