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

_HUB_LICENCES = """
afl-3.0 agpl-3.0 apache-2.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0
cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0
cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0
cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0 ecl-2.0 eupl-1.1 eupl-1.2 gfdl gpl gpl-2.0
gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 mit mpl-2.0 odbl odc-by osl-3.0 pddl unlicense zlib
"""
"""The licences that a Hugging Face repository takes; it refuses a card with another one (decision 0224)."""

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


def hub_licence(text: str) -> dict[str, str]:
    """The fields of a card's header that name a licence, in words of the owner, as the hub takes them.

    >>> hub_licence("CC BY-SA 4.0"), hub_licence("ADNI's terms")
    ({'license': 'cc-by-sa-4.0'}, {'license': 'other', 'license_name': 'adni-s-terms'})
    """
    name = re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")
    if not text:
        return {"license": "unknown"}
    if name in _HUB_LICENCES.split():
        return {"license": name}
    return {"license": "other", "license_name": name or "see-below"}


def yaml_scalar(text: str) -> str:
    """A text as a value in YAML; only names with a hyphen, such as those of licences, need no quotes.

    >>> print(yaml_scalar("cc-by-4.0"), yaml_scalar("cc by 4.0: see site"))
    cc-by-4.0 "cc by 4.0: see site"
    """
    return text if re.fullmatch(r"[a-z]+-[a-z0-9.-]*[a-z0-9]", text) else quoted(text)
