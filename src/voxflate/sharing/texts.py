"""Texts for a shared generator, from the templates of this room."""

from __future__ import annotations

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
    environment.filters["pyrepr"] = repr
    return environment.get_template(template).render(**variables)
