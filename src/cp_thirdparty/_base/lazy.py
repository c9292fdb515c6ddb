"""Load the names of a package at their first use; hide names that need an extra which is not installed."""

import sys

# This is not `typing.TYPE_CHECKING`, because importing `typing` would take most of the time of `import cp_thirdparty`.
TYPE_CHECKING: bool = False

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

# Package of an extra -> the name of the extra, and the reason for the error message.
_EXTRAS = {
    "aiobotocore": ("async", "the client for asyncio needs aiobotocore"),
    "hypothesis": ("testing", "cp_thirdparty.testing.strategies needs hypothesis"),
    "prometheus_client": ("prometheus", "prometheus_metrics needs prometheus-client"),
    "pytest": ("testing", "cp_thirdparty.testing.plugin needs pytest"),
    "s3transfer": ("artifacts", "artifacts in S3 need s3transfer"),
}

# Bytecode instructions for code that names the attribute, such as `module.name`.  If `hasattr`, `getattr` or `inspect`
# reads the attribute, the calling code runs none of these instructions.
_USES = ("IMPORT_FROM", "LOAD_ATTR", "LOAD_METHOD")


def missing_extra(package: str) -> ImportError:
    """Return the error for a name that needs a package of an extra, which is not installed."""
    extra, need = _EXTRAS[package]
    return ImportError(f"{need}: pip install 'cp-thirdparty[{extra}]'", name=package)


def is_missing_extra(error: BaseException) -> bool:
    """Return whether `missing_extra` has created an error, so that its message is safe to show."""
    # Other code may raise an `ImportError` with such a name, with arguments of any class, whose methods may raise.
    return (
        type(error) is ImportError
        and type(error.name) is str
        and error.name in _EXTRAS
        and all(type(part) is str for part in error.args)
        and error.args == missing_extra(error.name).args
    )


def is_installed(package: str) -> bool:
    """Return whether a package is installed, without loading it."""
    from importlib.util import find_spec  # noqa: PLC0415 - most programs never need it

    if sys.modules.get(package) is not None:
        return True
    try:
        return find_spec(package) is not None
    except ImportError:  # an import hook prevents the import
        return False


def attach(
    module: str,
    exported: "Collection[str]",
    names: "Mapping[str, Collection[str]]",
    *,
    modules: "Collection[str]" = (),
    needs: "Mapping[str, str] | None" = None,
) -> "tuple[Callable[[str], object], Callable[[], list[str]]]":
    """
    Return ``__getattr__`` and ``__dir__`` for a module.

    If the extra of a name is not installed, ``hasattr``, ``getattr`` with a default and `inspect` get an
    AttributeError, as for a name that does not exist.  Code that uses the name gets an ImportError that names the
    extra.  One exception class cannot be both, because the two base classes have different memory layouts.

    Args:
        module: Name of the module.
        exported: The ``__all__`` of the module, including names that need an extra.
        names: Module below the package ``cp_thirdparty`` -> the names that ``module`` provides from it.
        modules: Public submodules, which can be used as attributes without importing them.
        needs: Name or submodule -> the package of an extra that the name needs.
    """
    needed = needs or {}
    defined_in = {name: source for source, defined in names.items() for name in defined}

    def visible(names: "Collection[str]") -> list[str]:
        missing = {package for package in set(needed.values()) if not is_installed(package)}
        return sorted(name for name in names if needed.get(name) not in missing)

    def get(name: str) -> object:
        from importlib import import_module  # noqa: PLC0415 - only for a name that is not loaded yet

        if name == "__all__":
            return visible(exported)
        if name not in defined_in and name not in modules:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        if name in needed and not is_installed(needed[name]):
            missing = missing_extra(needed[name])
            raise missing if _is_use() else AttributeError(f"{module}.{name}: {missing}")
        if name in modules:
            return import_module(f"{module}.{name}")
        value = getattr(import_module(f"cp_thirdparty.{defined_in[name]}"), name)
        setattr(sys.modules[module], name, value)
        return value

    return get, lambda: visible({*exported, *modules})


def _is_use() -> bool:
    """Return whether the code uses the attribute by its name, and does not only check whether it exists."""
    from opcode import opname  # noqa: PLC0415 - only for a name whose extra is missing

    frame = sys._getframe(2)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - the code that reads the attribute
    return opname[frame.f_code.co_code[frame.f_lasti]] in _USES
