"""How Sphinx makes the site: ``python -m sphinx -n -W docs docs/_build/html``, without a network."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

import attrs
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer

sys.path.insert(0, str(Path(__file__).parent))

from cp_thirdparty import __version__

# The address of the project, which has one place.
homepage = re.search(
    r'^Homepage = "(.+)"$', (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE
)[1]  # type: ignore[index] # it has one

project = "cp-thirdparty"
author = "The cp-thirdparty authors"
copyright = f"2026, {author}"  # noqa: A001 - Sphinx's name
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton"]
exclude_patterns = ["_build", "jupyter_execute"]  # what builds leave behind
default_role = "py:obj"  # `JobDetails` in a docstring is a link
html_theme = "furo"
html_title = f"cp-thirdparty {__version__}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
copybutton_exclude = ".linenos, .gp, .go"  # neither the prompt of a shell nor its output is copied
html_theme_options = {
    "navigation_with_keys": True,
    "source_edit_link": f"{homepage}/edit/main/docs/{{filename}}",
    "source_view_link": f"{homepage}/blob/main/docs/{{filename}}",
}

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# Each page with cells runs from its first to its last, and one that fails fails the build.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 60
nb_execution_show_tb = True
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 120  # a longer one has each parameter on a line of its own
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "inherited-members": "BaseException,CodePipelineJobError,Mapping,dict,str"}
napoleon_numpy_docstring = False

# Names of other packages: their inventories are on the network, and this build has none.
nitpick_ignore_regex = [
    (r"py:.*", r"(aiobotocore|asyncio|attr|attrs|boto3|botocore|cattrs|click|collections|concurrent|contextlib)\b.*"),
    (r"py:.*", r"(datetime|distributed|enum|http|hypothesis|io|json|logging|moto|numbers|os|pathlib|pytest|rich)\b.*"),
    (r"py:.*", r"(prometheus_client|socket|sqlite3|ssl|tqdm|threading|types|typing|typing_extensions)\b.*"),
    (r"py:.*", r"(unittest|urllib3?|zipfile)\b.*"),
    # Names that a signature shows without their module.
    (r"py:class", r"AioSession|Config|Executor|timedelta|_\w+"),
    # Type variables, and classes that share what public ones do; each method is shown where it is inherited.
    (r"py:.*", r"cp_thirdparty\..*\b_\w+"),
    (r"py:.*", r"cp_thirdparty\.(.*\.)?_.*"),
]
# A signature's `type` is the builtin, not one of the three members of that name.
suppress_warnings = ["ref.python"]

# Their overloads fill a screen and differ in three parameters, which the page has as a table.
_ONE_SIGNATURE = {
    "cp_thirdparty.worker.worker": "JobWorker.__init__",
    "cp_thirdparty.worker.processor": "JobProcessor.__init__",
    "cp_thirdparty.worker.lambda_handler": "LambdaHandler.__init__",
}


def setup(app: Sphinx) -> None:
    """Register the event handlers of this file, and drop the overloads of classes that have one signature."""
    for module, method in _ONE_SIGNATURE.items():
        analyzer = ModuleAnalyzer.for_module(module)
        analyzer.analyze()
        del analyzer.overloads[method]
    app.connect("missing-reference", _by_last_name)
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-process-docstring", _docstring)


def _by_last_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element
) -> nodes.Element | None:
    """Let a docstring name an object by its last name; of several the one with the shortest path is meant."""
    if node.get("refdomain") != "py":
        return None
    name = str(node["reftarget"]).removesuffix("()").removeprefix("cp_thirdparty.")
    objects = env.domains["py"].objects  # type: ignore[attr-defined] # Sphinx types the base class only
    found = sorted((len(full), full) for full in objects if full == name or full.endswith(f".{name}"))
    if not found:
        return None
    full = found[0][1]
    entry = objects[full]
    builder: Any = app.builder
    uri = f"{builder.get_relative_uri(str(node['refdoc']), entry.docname)}#{entry.node_id}"
    return nodes.reference("", "", content, internal=True, refuri=uri, reftitle=full)


def _read_examples() -> dict[str, list[str]]:
    """Return the example of each class, by its name."""
    parts = re.split(
        r"^## ", (Path(__file__).parent / "class_examples.txt").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    return {part.partition("\n")[0]: part.splitlines()[1:] for part in parts[1:]}


_EXAMPLES = _read_examples()


def _docstring(_: Sphinx, what: str, name: str, member: object, __: object, lines: list[str]) -> None:
    """Add the example of a class, and find the docstring of a type alias that a package has from a private module."""
    package, _dot, last = name.rpartition(".")
    if what in {"class", "exception"} and last in _EXAMPLES:
        lines += ["", ".. rubric:: Example", *_EXAMPLES[last]]
    modules = [each for each in sorted(sys.modules) if what == "data" and each.startswith(f"{package}.")]
    for module in modules:
        if getattr(sys.modules[module], last, None) is member:
            found = ModuleAnalyzer.for_module(module).find_attr_docs().get(("", last))
            lines[:] = found or lines


def _skip(_: Sphinx, what: str, __: str, member: object, skip: bool, ___: object) -> bool | None:  # noqa: FBT001
    """Leave out what attrs makes."""
    return True if what == "class" and inspect.ismemberdescriptor(member) else skip or None


def _signature(
    _: Sphinx, __: str, ___: str, member: object, ____: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """
    Show how a class is made.

    A protocol is not made, and the ``__init__`` of an attrs class has the names that attrs gives to its defaults.
    """
    if getattr(member, "_is_protocol", False):
        return "", None
    if signature is None or not isinstance(member, type) or not attrs.has(member):
        return signature, returns
    fields = attrs.fields_dict(member)
    shown = re.sub(r"attr_dict\['(\w+)'\]\.default", lambda found: repr(fields[found[1]].default), signature)
    return re.sub(r"= NOTHING\b", "= ...", shown), returns
