"""Names of a package that are loaded at their first use, and absent while their extra is not installed."""

import sys

# Not that of `typing`: importing `typing` would take most of the time of `import cp_thirdparty`.
TYPE_CHECKING: bool = False

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

# Package of an extra -> the extra, and what needs the package.
_EXTRAS = {
    "aiobotocore": ("async", "the client for asyncio needs aiobotocore"),
    "hypothesis": ("testing", "cp_thirdparty.testing.strategies needs hypothesis"),
    "prometheus_client": ("prometheus", "prometheus_metrics needs prometheus-client"),
    "pytest": ("testing", "cp_thirdparty.testing.plugin needs pytest"),
    "s3transfer": ("artifacts", "artifacts in S3 need s3transfer"),
}

# Bytecode instructions that read an attribute by its name; `hasattr`, `getattr` and `inspect` run none of them.
_USES = ("IMPORT_FROM", "LOAD_ATTR", "LOAD_METHOD")


def missing_extra(package: str) -> ImportError:
    """Return the error for a name that needs a package of an extra, which is not installed."""
    extra, need = _EXTRAS[package]
    return ImportError(f"{need}: pip install 'cp-thirdparty[{extra}]'", name=package)


def is_missing_extra(error: BaseException) -> bool:
    """Return whether an error is one of `missing_extra`, so that its message has nothing of other code."""
    # Any code may raise an `ImportError` with such a name, and with values of any class, whose methods may raise.
    return (
        type(error) is ImportError
        and type(error.name) is str
        and error.name in _EXTRAS
        and all(type(part) is str for part in error.args)
        and error.args == missing_extra(error.name).args
    )


def is_installed(package: str) -> bool:
    """Return whether a package is installed, without loading it."""
    from importlib.util import find_spec  # noqa: PLC0415 - most programs never ask

    if sys.modules.get(package) is not None:
        return True
    try:
        return find_spec(package) is not None
    except ImportError:  # an import hook refuses it
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

    ``hasattr``, ``getattr`` with a default and `inspect` see an AttributeError for a name whose extra is not installed,
    as for any name that is not there.  Code that uses the name gets an ImportError that names the extra.  No exception
    can be both: the two classes have different layouts.

    Args:
        module: Name of the module.
        exported: Its ``__all__``, with the names of extras.
        names: Module below the package ``cp_thirdparty`` -> the names of it that the module here has.
        modules: Public submodules, which are attributes without an import of their own.
        needs: Name or submodule -> the package of an extra that it needs.
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
    """Return whether the code that reads the attribute names it, and does not only test for it."""
    from opcode import opname  # noqa: PLC0415 - only for a name whose extra is missing

    frame = sys._getframe(2)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - of the code that reads the attribute
    return opname[frame.f_code.co_code[frame.f_lasti]] in _USES
