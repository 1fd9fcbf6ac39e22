"""The description of a shared generator: its data, its training, its audit and its limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxflate.data.channels import LabelColumn, pictured
from voxflate.data.labels import Labels
from voxflate.data.volume import Float32
from voxflate.evaluation import Assessment
from voxflate.gans.samples import sample
from voxflate.runs.chosen import Snapshot
from voxflate.runs.exported import counts_of
from voxflate.runs.facts import read_facts
from voxflate.runs.load import Loaded, Source, check_volumes, open_source
from voxflate.runs.stages import has_two_sets, remark_on_stages, started_from
from voxflate.sampling.asked import draw_labels, encoded
from voxflate.sharing.measured import measured

TRUNCATION = 0.7
"""Of the page's first volume and the hub's picture: typical volumes are a better start than rare ones."""


@dataclass(frozen=True)
class Words:
    """The owner's description of a generator.

    Attributes:
        title: Title; "" for what a run makes, or for the name of an export's folder.
        data: Name and source of the training data; "" if unknown.
        licence: Licence of that data; "" if unknown.
    """

    title: str = ""
    data: str = ""
    licence: str = ""


@dataclass(frozen=True)
class About:
    """A generator and everything known about it.

    Attributes:
        source: The run or export.
        loaded: The generator.
        words: The owner's description.
        counts: Split -> scans and subjects; None for an export that does not have them.
        assessment: Its evaluation; None if it has none.
        audit: The content of its audit.json, without data on single people; None if it was not audited.
        notes: Messages for the user during the export, one sentence each.
        chosen: Which evaluation and which audit are used, a line each.
    """

    source: Source
    loaded: Loaded
    words: Words
    counts: Mapping[str, Mapping[str, int]] | None
    assessment: Assessment | None
    audit: Mapping[str, Any] | None
    notes: tuple[str, ...]
    chosen: tuple[str, ...]

    @property
    def title(self) -> str:
        """The title; the folder of a run is private (decision 0223)."""
        name = f"Generator of {self._made}"
        if self.source.exported is not None:
            name = self.source.folder.resolve().name
        return self.words.title or name

    @property
    def twin(self) -> Mapping[str, Any] | None:
        """Settings of the 2D run that its training started from, by dotted key; None if unknown."""
        if self.source.exported is not None:
            return self.source.exported.twin
        return read_facts(self.source.folder).get("twin")

    @property
    def started_from(self) -> Mapping[str, Any] | None:
        """Identifies the snapshot of that 2D run, as `TransferReport.twin`; None if unknown."""
        return started_from(self.source.folder, self.source.exported)

    @property
    def label_columns(self) -> tuple[LabelColumn, ...]:
        """The labels that the generator knows."""
        return self.source.labels.layout.labels if self.source.labels else ()

    @property
    def example_labels(self) -> Labels:
        """Typical values of its labels, for examples: the most common class, the mean to three digits."""
        joint = self.source.labels
        if joint is None:
            return {}
        found: Labels = {}
        for number, column in enumerate(joint.layout.labels):
            ((most, _),) = Counter(row[number] for row in joint.rows).most_common(1)
            mean = min(max(float(f"{column.mean:.3g}"), column.low), column.high)
            found[column.name] = str(most) if column.categorical else mean
        return found

    def samples(self, count: int, truncation: float) -> tuple[Float32, NDArray[np.int64] | None]:
        """The first samples of seed 0: images [n, M, D, H, W], and the classes of the masks [n, D, H, W]."""
        told = encoded(self.source.labels, draw_labels(self.source.labels, None, 0, 0, count)[1])
        batches = sample(self.loaded.network, count, seed=0, truncation_psi=truncation, labels=told)
        return pictured(np.concatenate([batch.numpy() for batch in batches]), self.source.prepared.layout)

    @property
    def summary(self) -> str:
        """One sentence under the title."""
        masks = ", each with its mask" if self.source.prepared.layout.masks else ""
        return (
            f"A small neural network that generates new {self._made}{masks}. Every volume is synthetic, but "
            "may resemble a person in the training data."
        )

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Terms and descriptions, in the order of a reader's questions."""
        prepared, manifest = self.source.prepared, self.source.prepared.manifest
        weights = sum(one.numel() for one in self.loaded.network.parameters())
        sides = " x ".join(f"{side:.3g}" for side in prepared.spacing)
        return [
            ("Data", self.words.data or "Not stated by its owner."),
            ("Licence of the data", self.words.licence or "Not stated by its owner."),
            ("Trained on", self._trained_on()),
            *([("Modality", prepared.modality)] if prepared.modality else []),
            ("Volumes", f"{shape_words(prepared.shape)} voxels of {sides} mm (up, front, right)"),
            *self._channels(),
            *self._labels(),
            ("Prepared with", f"recipe {manifest.recipe}: {_steps(manifest.steps)}"),
            ("Training", self._training()),
            ("Network", f"{weights:,} weights, SHA-256 {self.loaded.weights_sha256[:16]}"),
            ("Copies of training scans", self.audit_words),
            *self._quality(),
        ]

    @property
    def audit_words(self) -> str:
        """The result of the audit in one or two sentences."""
        if self.audit is None:
            return "Not audited: it was not checked for copies of its training scans."
        count, flagged = self.audit["n-generated"], len(self.audit["flagged"])
        at = f" at truncation {self.audit['truncation']:g}" if "truncation" in self.audit else ""
        found = (
            f"Audited{at}: {flagged} of {count} generated volumes ({flagged / count:.1%}) "
            f"{'was' if flagged == 1 else 'were'} nearer to a training scan than almost all real scans of "
            "other people are."
        )
        alarms = self.audit.get("false-alarms")  # not measured with few people, nor before decision 0191
        if alarms is None:
            return found
        return f"{found} For comparison, the audit also flags {alarms:.1%} of real people it has not seen."

    @property
    def how_measured(self) -> str:
        """What else decides the metrics: seed, slices, and the feature networks with their weights."""
        facts = {} if self.assessment is None else self.assessment.facts
        words = {"seed": "seed", "slices": "slices per plane"}
        found = [f"{word} {facts[name]}" for name, word in words.items() if name in facts]
        networks = [
            f"{one['name']} (SHA-256 {one['weights-sha256'][:16]})" for one in facts.get("extractors", [])
        ]
        found += ["features of " + ", ".join(networks)] if networks else []
        return "".join(f"; {one}" for one in found)

    @property
    def limits(self) -> list[str]:
        """Limits that a user must know, one sentence each."""
        subjects = self.counts["train"]["subjects"] if self.counts else None
        seen = f"the {subjects:,} people" if subjects else "the people"
        largest = max(self.source.prepared.spacing)
        return [
            "It is for research and teaching. Its volumes must not be used to diagnose or treat anyone.",
            f"It knows only {seen} in its training data. Anything rare among them is rare or missing here.",
            f"Voxels are up to {largest:.3g} mm wide. Finer anatomy is missing.",
            "Volumes can look right and be wrong. Structures may be missing, doubled or impossible.",
            *([] if self.audit else ["Check it for copies with voxflate audit before you share volumes."]),
        ]

    @property
    def _made(self) -> str:
        return f"{self.source.prepared.modality} volumes".strip()

    def _trained_on(self) -> str:
        if self.counts is None:
            return "Not recorded; it was exported by an older version."
        train, heldout = self.counts["train"], self.counts["heldout"]
        text = f"{_count(train['scans'], 'scan')} of {_count(train['subjects'], 'person', 'people')}"
        if heldout["scans"]:
            text += f"; {_count(heldout['scans'], 'scan')} of other people were held out for the evaluation"
        where = self.source.folder, self.source.exported
        if remark := remark_on_stages(*where):
            return f"{text}. But {remark}"
        return f"{text}. Its 2D run was trained on another prepared set" if has_two_sets(*where) else text

    def _training(self) -> str:
        kimg = (self.twin or {}).get("training.kimg")
        planned = 1000 * kimg if isinstance(kimg, int | float) else None
        seen = (self.started_from or {}).get("n_images", planned)  # older runs did not record it
        slices = f"{seen:,.0f} slices in 2D, then " if isinstance(seen, int | float) else ""
        shown = f"{slices}{self.loaded.n_images:,} scans shown"
        if self.counts is None:
            return f"{shown}, including repeats"
        times = self.loaded.n_images / max(1, self.counts["train"]["scans"])
        return f"{shown}: each {f'{times:,.0f}' if times >= 100 else f'{times:.3g}'} times"

    def _channels(self) -> list[tuple[str, str]]:
        """Intensities of the images, and the classes of the mask."""
        layout = self.source.prepared.layout
        images, masks = layout.channels[: layout.images], layout.channels[layout.images :]
        first = self.source.prepared.manifest.intensity
        ranges = [first, *(channel.intensity for channel in images[1:])]
        texts = [self._range(low, high) for low, high in ranges]
        if len(images) > 1:
            names = [channel.name for channel in images]
            texts = [f"{name}: {text}" for name, text in zip(names, texts, strict=True)]
        facts = [("Intensities", "; ".join(texts))]
        if masks:
            classes = ", ".join(f"{channel.name} ({channel.label})" for channel in masks)
            facts.append(("Mask", f"{classes}; in each voxel the class with the largest share"))
        return facts

    def _range(self, low: float, high: float) -> str:
        if self.source.prepared.is_ct:
            return f"{low:g} to {high:g} Hounsfield units"
        return f"{low:.4g} to {high:.4g}, without a unit: the median range of the scans"

    def _labels(self) -> list[tuple[str, str]]:
        """The labels that can be set."""
        columns = self.label_columns
        texts = [
            f"{column.name} ({', '.join(column.values)})"
            if column.categorical
            else f"{column.name} ({column.low:g} to {column.high:g})"
            for column in columns
        ]
        return [("Labels", ", ".join(texts))] if texts else []

    def _quality(self) -> list[tuple[str, str]]:
        if self.assessment is None:
            return [("Quality", "Not evaluated.")]
        name = next((one for one in self.assessment.metrics if one.endswith("-avg")), None)
        if name is None:
            return []
        metric = self.assessment.metrics[name]
        floor = (
            "" if metric.real is None else f"; between two halves of the real scans it is {metric.real:.3g}"
        )
        remark = self.assessment.facts.get("other_data")
        other = f". Measured with other data: {remark}" if remark else ""
        truncation = self.assessment.facts.get("truncation")
        how = "" if truncation is None else f", at truncation {truncation:g}"
        return [("Quality", f"{name} {metric.value:.3g}{how}{floor} (lower is better){other}")]


def about(
    run: Path,
    words: Words,
    snapshot: Snapshot = "newest",
    data: Path | None = None,
    evaluation: Path | None = None,
) -> About:
    """Open a run or an export to share it.

    Args:
        run: Its folder.
        words: The owner's description; empty fields are taken from the export.
        snapshot: Snapshot of the run.
        data: Folder of the run's prepared set; None to use the one named in the run.
        evaluation: Folder of its evaluation and audit; None for the newest in `run`.

    Raises:
        VoxflateError: If it cannot be opened or is a 2D run, or `evaluation` is empty or belongs to another
            generator.
    """
    source = open_source(run, data, other_data=None)
    check_volumes(source)
    loaded = source.load(snapshot, device="cpu")
    counts = counts_of(source.prepared.manifest) if source.exported is None else source.exported.counts
    known = measured(source.folder, loaded, evaluation)
    kept = source.exported.words if source.exported is not None else {}
    words = Words(**{name: text or kept.get(name, "") for name, text in vars(words).items()})
    return About(source, loaded, words, counts, known.assessment, known.audit, known.notes, known.chosen)


def shape_words(shape: tuple[int, ...]) -> str:
    """A size as text.

    >>> shape_words((16, 32, 32))
    '16 x 32 x 32'
    """
    return " x ".join(map(str, shape))


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _steps(steps: list[dict[str, Any]]) -> str:
    return ", ".join(str(step["step"]).replace("_", " ") for step in steps) or "no steps recorded"
