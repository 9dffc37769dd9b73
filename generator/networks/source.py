"""`model.py`: the text of a network that stands alone.

A space writes its cell out, one line for each layer and each node. All else is taken as it stands from the
space's file of plain PyTorch: the definitions that the cell's text names, those that these name, and so on.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Mapping, Sequence
from types import ModuleType

_HEADER = '''"""A {title} network. {needs}

    {key}

{drawing}

    from model import Network

    network = Network()
    logits = network({call})    # (1, {classes})
"""

from __future__ import annotations

'''
_MAIN = """

if __name__ == "__main__":
    network = Network().eval()
    print(sum(parameter.numel() for parameter in network.parameters()), "parameters")
    print(network({call}).shape)
"""


def write_model(
    module: ModuleType,
    written: str,
    *,
    title: str,
    key: str,
    drawing: str,
    call: str,
    classes: int,
    needs: str = "Plain PyTorch, needs nothing else.",
) -> str:
    """The text of `model.py`.

    Args:
        module: The space's file of plain PyTorch.
        written: Text of the classes that are written out; one is `Network`.
        title: Name of the space, for people.
        key: The architecture.
        drawing: Its drawing.
        call: Arguments for a network of one image, for the reader and for a trial.
        classes: Number of classes.
        needs: What must be installed, in a sentence.
    """
    head, definitions = _needed(module, written + _MAIN.format(call=call))
    header = _HEADER.format(
        title=title, key=key, drawing=textwrap.indent(drawing, "    "), call=call, classes=classes,
        needs=needs,
    )  # fmt: skip
    body = "\n\n\n".join([*definitions, written.strip("\n")])
    return f"{header}{head}\n\n\n{body}\n{_MAIN.format(call=call)}"


def write_cell(
    name: str,
    doc: str,
    arguments: str,
    layers: Mapping[str, str] | Sequence[str],
    takes: str,
    body: Sequence[str],
) -> str:
    """The text of a cell's class.

    Args:
        name: Name of the class.
        doc: What it does.
        arguments: Arguments of its constructor.
        layers: Expressions by attribute, or whole lines.
        takes: Arguments of `forward`.
        body: Lines of `forward`.
    """
    lines = (
        [f"self.{attribute} = {made}" for attribute, made in layers.items()]
        if isinstance(layers, Mapping)
        else list(layers)
    )
    return "\n".join(
        [
            f"class {name}(nn.Module):",
            f'    """{doc}"""',
            "",
            f"    def __init__(self, {arguments}) -> None:",
            "        super().__init__()",
            *(f"        {line}" for line in lines),
            "",
            f"    def forward(self, {takes}) -> Tensor:",
            *(f"        {line}" for line in body),
        ]
    )


def write_network(base: str, cells: Sequence[str], defaults: Mapping[str, int | bool]) -> str:
    """The text of the class `Network`: the skeleton, given the cells, with defaults for its arguments."""
    arguments = [f"{name}: {type(value).__name__} = {value}" for name, value in defaults.items()]
    passed = [*cells, *(f"{name}={name}" for name in defaults)]
    return "\n".join(
        [
            f"class Network({base}):",
            '    """The whole network; see its base class."""',
            "",
            "    def __init__(",
            "        self,",
            *(f"        {argument}," for argument in arguments),
            "    ) -> None:",
            "        super().__init__(",
            *(f"            {argument}," for argument in passed),
            "        )",
        ]
    )


def _needed(module: ModuleType, text: str) -> tuple[str, list[str]]:
    """What a text needs of a module: imports and constants, then functions and classes in their order."""
    source = inspect.getsource(module)
    tree, lines = ast.parse(source), source.splitlines()
    known = {name: node for node in tree.body for name in _defines(node)}
    own = {name for node in ast.parse(text).body for name in _defines(node)}
    wanted, left = set[str](), _names(ast.parse(text))
    while left := left - wanted - own:
        name = left.pop()
        wanted.add(name)
        if name in known:
            left |= _names(known[name])
    groups: dict[str, list[str]] = {"standard": [], "others": [], "constants": [], "definitions": []}
    for node in tree.body:
        if not wanted & set(_defines(node)):
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            groups["standard" if _is_standard(node) else "others"].append(_import(node, wanted))
        else:
            group = "constants" if isinstance(node, ast.Assign) else "definitions"
            groups[group].append("\n".join(lines[node.lineno - 1 : node.end_lineno]))
    definitions = groups.pop("definitions")
    return "\n\n".join("\n".join(group) for group in groups.values() if group), definitions


def _defines(node: ast.stmt) -> list[str]:
    """Names that a top-level statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []


def _names(tree: ast.AST) -> set[str]:
    """All names that a tree reads or binds."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _is_standard(node: ast.Import | ast.ImportFrom) -> bool:
    """Whether an import is of Python's own library."""
    name = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
    return str(name).partition(".")[0] in sys.stdlib_module_names


def _import(node: ast.Import | ast.ImportFrom, wanted: set[str]) -> str:
    """An import statement with only the wanted names."""
    kept = ", ".join(alias.name for alias in node.names if alias.name in wanted)
    return f"from {node.module} import {kept}" if isinstance(node, ast.ImportFrom) else f"import {kept}"
