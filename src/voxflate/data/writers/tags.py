"""Names the files of a volume's images: every image has a tag of its own, made of its channel's name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from voxflate.data.channels import Layout

_LONGEST = 40
"""Most characters of a tag: file systems allow 255 for a whole name."""


def plain_word(name: str) -> str:
    """A name as part of a file name; "image" if nothing of it can be.

    >>> plain_word("T1 post"), plain_word("平扫")
    ('T1post', 'image')
    """
    return re.sub(r"[^A-Za-z0-9]+", "", name)[:_LONGEST] or "image"


def image_tags(
    layout: Layout, word: Callable[[str], str] = plain_word, taken: Sequence[str] = ()
) -> list[str]:
    """A tag for every image, no two of which are equal, even where capitals do not count.

    An image whose name makes the same tag as another's gets its channel's number: image0, image1, ...

    Args:
        layout: Its image channels are named.
        word: Channel's name -> tag.
        taken: Tags of other files.
    """
    own = [word(channel.name) for channel in layout.channels[: layout.images]]
    numbered = [f"image{number}" for number in range(layout.images)]
    uses = Counter(tag.lower() for tag in (*own, *taken))
    tags = [tag if uses[tag.lower()] == 1 else number for tag, number in zip(own, numbered, strict=True)]
    return tags if len({tag.lower() for tag in tags}) == len(tags) else numbered
