"""Checks that a prepared set is the one of a run or an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from voxflate._system.errors import VoxflateError
from voxflate.config.schema import RunConfig
from voxflate.config.toml import load_config
from voxflate.data.channels import LabelColumn, Layout
from voxflate.data.labels import labels_sha256
from voxflate.data.prepared import PreparedSet, open_prepared
from voxflate.runs.exported import Exported
from voxflate.runs.facts import FACTS_NAME, read_facts
from voxflate.runs.snapshots import list_snapshots

GIVE_FOLDER = "give its folder with --data FOLDER"
NEXT_STEP = f"{GIVE_FOLDER}, or continue with --other-data, which every file then says"


@dataclass(frozen=True)
class TrainedOn:
    """What a run or an export records of its training data.

    Attributes:
        content: Content hash, which covers the voxels alone.
        layout: Channels and label columns; None for runs from before there were any.
        labels: Result of `labels_sha256`; None for exports and older runs.
        train: Number of training volumes: the hash does not cover where they end. None for older ones.
        draws_labels: Whether it keeps the distribution of its labels, as an export does. Then the ranges of
            the label columns may differ: earlier versions did not round them, and they encode nothing.
    """

    content: str
    layout: Layout | None
    labels: str | None = None
    train: int | None = None
    draws_labels: bool = False

    @classmethod
    def of_run(cls, run: Path) -> TrainedOn:
        """Read it from `run.json`.

        Raises:
            VoxflateError: If that is missing or damaged.
        """
        facts = read_facts(run)
        layout = facts.get("layout")
        try:
            known = None if layout is None else Layout.from_json(layout)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            path = run / FACTS_NAME
            raise VoxflateError(f"{path}: its layout is damaged; restore it, or start a new run") from error
        return cls(str(facts["data"]), known, facts.get("labels_sha256"), facts.get("train_volumes"))

    @classmethod
    def of_export(cls, exported: Exported) -> TrainedOn:
        """Read it from the geometry of an export."""
        train = (exported.counts or {}).get("train", {}).get("scans")
        layout = exported.geometry.layout
        return cls(exported.geometry.content_hash, layout, train=train, draws_labels=True)

    def has_voxels_of(self, prepared: PreparedSet) -> bool:
        """Whether a set has the same volumes, and trains on the same ones."""
        return prepared.content_hash == self.content and not self.splits_otherwise(prepared)

    def splits_otherwise(self, prepared: PreparedSet) -> bool:
        """Whether a set of the same volumes is known to train on another number of them."""
        return self.train is not None and self.train != len(prepared.stored("train"))


def check_content(found: str, known: str, what: str, next_step: str, *, go_on: bool = False) -> str:
    """Compare two content hashes of prepared sets.

    Args:
        found: Hash of the given set.
        known: Hash of the expected set.
        what: Message that they differ.
        next_step: What the user can do.
        go_on: Report it instead of refusing.

    Returns:
        A line for every file written from here on; "" if the hashes are equal.

    Raises:
        VoxflateError: If they differ, unless `go_on`; gives the beginning of both.
    """
    if found == known:
        return ""
    line = f"{what} (sha256 {found[:12]}, was {known[:12]})"
    if not go_on:
        raise VoxflateError(f"{line}; {next_step}")
    return line


def check_trained_on(
    prepared: PreparedSet,
    known: TrainedOn,
    folder: Path,
    next_step: str = NEXT_STEP,
    *,
    labels: bool,
    go_on: bool = False,
) -> str:
    """Compare a prepared set with the one that a run or an export was trained on.

    Args:
        prepared: The given set.
        known: What is recorded of the training data.
        folder: The run or export.
        next_step: What the user can do.
        labels: Whether the generator knows labels; then these must be the same, too.
        go_on: Report a difference instead of refusing.

    Returns:
        As `check_content`.

    Raises:
        VoxflateError: As `check_content`.
    """
    what = f"{prepared.root}: is not the data that {folder} was trained on"
    found = [check_content(prepared.content_hash, known.content, what, next_step, go_on=go_on)]
    if not any(found) and known.splits_otherwise(prepared):
        trained = len(prepared.stored("train"))
        line = f"{what}: it trains on {trained} of the same volumes, not on {known.train}"
        if not go_on:
            raise VoxflateError(f"{line}; {next_step}")
        found.append(line)
    if labels:
        ranges = not known.draws_labels
        found.append(check_columns(prepared, known.layout, folder, next_step, go_on=go_on, ranges=ranges))
        if known.labels is not None and not any(found):
            what = f"{prepared.root}: gives its scans other labels than when {folder} was trained"
            found.append(check_content(labels_sha256(prepared), known.labels, what, next_step, go_on=go_on))
    return "; ".join(filter(None, found))


def open_data(folder: Path | str, given: bool, next_step: str = GIVE_FOLDER) -> PreparedSet:
    """Open the prepared set of a run.

    Args:
        folder: The set.
        given: Whether the user named this folder; otherwise it is the one that the run recorded.
        next_step: What helps if a recorded folder was moved.

    Raises:
        VoxflateError: If it cannot be opened.
    """
    try:
        return open_prepared(folder)
    except VoxflateError as error:
        hint = "" if given else f"; if the data was moved, {next_step}"
        raise VoxflateError(f"{error}{hint}") from error


def own_set(run: Path, *, labels: bool) -> PreparedSet | None:
    """The set that a run was trained on, at the place named in its settings.

    Args:
        run: Run folder.
        labels: Whether its labels must be the same, too.

    Returns:
        The set; None if it was moved, cannot be opened, or has changed.
    """
    try:
        own = open_prepared(load_config(run).data)
    except VoxflateError:
        return None
    changed = check_trained_on(own, TrainedOn.of_run(run), run, labels=labels, go_on=True)
    return None if changed else own


def check_columns(
    prepared: PreparedSet,
    known: Layout | None,
    folder: Path,
    next_step: str,
    *,
    go_on: bool = False,
    ranges: bool = True,
) -> str:
    """Compare the label columns of a prepared set with those that a run or an export learned.

    Equal voxels do not mean equal labels, and vectors of equal length can have other meanings.

    Args:
        prepared: The given set.
        known: Layout of the training set; None accepts every set.
        folder: The run or export.
        next_step: What the user can do.
        go_on: Report a difference instead of refusing.
        ranges: Whether the ranges of numbers must be equal, too.

    Returns:
        A line for every file written from here on; "" if they are equal.

    Raises:
        VoxflateError: If they differ, unless `go_on`; lists both.
    """
    ours = prepared.layout.labels
    if known is None or known.labels == ours:
        return ""
    if not ranges and list(map(_encoding, known.labels)) == list(map(_encoding, ours)):
        return ""
    line = (
        f"{prepared.root}: has other labels than {folder} was trained with: {_listed(ours)}, not "
        f"{_listed(known.labels)}"
    )
    if not go_on:
        raise VoxflateError(f"{line}; {next_step}")
    return line


def _encoding(column: LabelColumn) -> LabelColumn:
    """What decides the column's part of a label vector."""
    return replace(column, low=0.0, high=0.0)


def _listed(columns: Sequence[LabelColumn]) -> str:
    return ", ".join(f"{column.name} ({_values(column)})" for column in columns) or "none"


def _values(column: LabelColumn) -> str:
    if column.categorical:
        return ", ".join(column.values)
    return f"{column.low:g} to {column.high:g}, mean {column.mean:g}, deviation {column.deviation:g}"


def check_same_data(run: Path, config: RunConfig, prepared: PreparedSet) -> None:
    """Refuse to resume a run with data other than it started with.

    Raises:
        VoxflateError: Names both.
    """
    if not list_snapshots(run):
        return
    next_step = "give its folder with --set data=FOLDER, or start a new run"
    knows_labels = config.network.label_width > 0
    check_trained_on(prepared, TrainedOn.of_run(run), run, next_step, labels=knows_labels)
