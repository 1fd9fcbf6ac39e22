"""Texts for a shared generator, from the templates of this room."""

from __future__ import annotations

import json
import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from voxflate._system.version import __version__
from voxflate.reports.page import number_text

CITATION = (
    "Liu, Y., Dwivedi, G., Boussaid, F., Sanfilippo, F., Yamada, M., Bennamoun, M. (2023). Inflating 2D "
    "Convolution Weights for Efficient Generation of 3D Medical Images."
)
"""The paper whose method the generators have, as in CITATION.cff."""

INSTALLATION = f"Python 3.11 to 3.13 and voxflate {__version__} (in a clone of its repository: pip install .)"
"""What the Python of a card or a page needs."""


def text_of(template: str, **variables: Any) -> str:
    """Fill in a template of Markdown.

    Args:
        template: Its name in `templates`.
        variables: Its variables.
    """
    environment = Environment(
        loader=PackageLoader("voxflate.sharing"),
        autoescape=False,  # Markdown, which no browser runs
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"citation": CITATION, "installation": INSTALLATION}
    environment.filters["number"] = number_text
    environment.filters |= {"pyrepr": repr, "quoted": quoted, "yaml": yaml_scalar}
    return environment.get_template(template).render(**variables)


def quoted(text: str) -> str:
    r"""A text in double quotes, as Python and YAML read it.

    >>> print(quoted('a "b"'))
    "a \"b\""
    """
    return json.dumps(text, ensure_ascii=False)


def yaml_scalar(text: str) -> str:
    """A text as a value in YAML; only names with a hyphen, such as those of licences, need no quotes.

    >>> print(yaml_scalar("cc-by-4.0"), yaml_scalar("cc by 4.0: see site"))
    cc-by-4.0 "cc by 4.0: see site"
    """
    return text if re.fullmatch(r"[a-z]+-[a-z0-9.-]*[a-z0-9]", text) else quoted(text)
