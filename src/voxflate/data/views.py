"""One channel of a prepared set, as a prepared set."""

from __future__ import annotations

from dataclasses import replace

from voxflate.data.prepared import PreparedSet


def one_channel(prepared: PreparedSet, index: int = 0) -> PreparedSet:
    """The same volumes with only one image channel, with a content hash of their own.

    Args:
        prepared: A set with one or more channels; with a single channel it is returned as it is.
        index: Index of the channel.
    """
    if len(prepared.layout.channels) == 1:
        return prepared
    channel = prepared.layout.channels[index]
    manifest = replace(
        prepared.manifest,
        layout=replace(prepared.layout, channels=(channel,)),
        intensity=prepared.manifest.intensity if index == 0 else channel.intensity,
        content_sha256=f"{prepared.content_hash}-{channel.name}",
    )
    return replace(prepared, manifest=manifest, only=index)
