"""Optional packages: imported where they are needed, or refused with the command that installs them."""

from __future__ import annotations

import importlib
from typing import Any

from voxflate._system.errors import VoxflateError


def import_optional(module: str, extra: str, reason: str, otherwise: str = "") -> Any:
    """Import a module of an optional package.

    Args:
        module: Its name, such as "sklearn".
        extra: The extra of voxflate that has the package.
        reason: What needs the package, such as "t-SNE needs scikit-learn".
        otherwise: What the user can do without it, such as "or write NIfTI".

    Raises:
        VoxflateError: If it cannot be imported; says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if not isinstance(error, ModuleNotFoundError) or error.name != module:
            reason = f"{reason}, which cannot be imported ({error})"
        raise VoxflateError(missing_extra(extra, reason, otherwise)) from error


def missing_extra(extra: str, reason: str, otherwise: str = "") -> str:
    """The message about a missing optional package; arguments as in `import_optional`."""
    advice = f"{reason}; install it with: pip install 'voxflate[{extra}]'"
    return f"{advice}, {otherwise}" if otherwise else advice
