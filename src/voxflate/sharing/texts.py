"""Texts for a shared generator, from the templates of this room."""

from __future__ import annotations

import json
import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from voxflate.reports.page import number_text


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
