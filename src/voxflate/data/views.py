"""One channel of a prepared set, as a prepared set."""

from __future__ import annotations

from dataclasses import replace

from voxflate.data.prepared import PreparedSet


def one_channel(prepared: PreparedSet, index: int = 0) -> PreparedSet:
    """The same volumes with one image channel alone, under a content hash of its own.

    Args:
        prepared: A set of one or several channels; one of a single channel stays as it is.
        index: Number of the channel.
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
