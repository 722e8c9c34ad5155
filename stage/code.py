"""Fingerprints of the code that decides a stage's bytes.

A stage keeps finished objects between runs. They are stale when their input or parameters changed, and also when
the code that made them did; this hash tells. Comments, docstrings and layout do not count, so documenting a function does not
render a collection again.
"""

import ast
import hashlib
import importlib.util
from collections.abc import Iterable
from functools import cache
from pathlib import Path


def source_fingerprint(modules: Iterable[str]) -> str:
    """Hex SHA-256 over the syntax trees of the named modules, without docstrings. The modules are not imported."""
    digest = hashlib.sha256()
    for name in sorted(modules):
        digest.update(f"{name}\0{_tree(name)}\n".encode())
    return digest.hexdigest()


@cache
def _tree(module: str) -> str:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no module {module} to fingerprint")
    tree = ast.parse(Path(spec.origin).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [statement for statement in node.body if not _is_text(statement)]
    return ast.dump(tree)


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
