"""Finds scans below a folder or in a list: files that a reader knows, and DICOM series."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from voxflate._system.errors import VoxflateError
from voxflate._system.parallel import Progress, counted, in_order, workers
from voxflate.data.readers import dicom
from voxflate.data.readers.dicom_series import drop_copies, group, is_torn, scattered
from voxflate.data.readers.dicom_slices import Slice
from voxflate.data.readers.refusals import ScanError
from voxflate.data.readers.stack import check_alike
from voxflate.data.readers.table import READERS, reader_of, scan_files
from voxflate.data.sources.account import Account, some
from voxflate.data.sources.kinds import all_dropped, check_one_kind, chosen_series
from voxflate.data.sources.lists import LISTS, MASK, Columns, read_list
from voxflate.data.sources.looking import SCAN, look_inside, may_be_scan
from voxflate.data.sources.pairing import by_list, by_pattern, paired
from voxflate.data.sources.pairing_keys import matches
from voxflate.data.sources.source import Reading, Refuse, Source
from voxflate.data.sources.spelling import composed, fits
from voxflate.data.sources.split import subject_of
from voxflate.data.sources.tables import column_name
from voxflate.data.sources.walk import File, files_below

READING = Reading()


def find_sources(
    source: Path,
    refuse: Refuse,
    reading: Reading = READING,
    progress: Progress | None = None,
    account: Account | None = None,
) -> list[Source]:
    """Find all scans below a folder or in a list, sorted by path.

    Args:
        source: Folder to search, including subfolders, or a list that `lists.read_list` reads.
        refuse: Called for every file or series that should be a volume but is not.
        reading: How scans are found and read.
        progress: Called with (files examined, all files) while files that may be DICOM are examined.
        account: Receives every file found, and why files are left out.

    Returns:
        At least one scan.

    Raises:
        VoxflateError: If the folder is missing, is a file, has no scans or several kinds of scans; if
            the list is refused; anything that `refuse` raises.
    """
    account = Account() if account is None else account
    reading.check()

    def leave_out(error: VoxflateError) -> None:
        if isinstance(error, ScanError):
            account.leave(error.files, error.reason)
        refuse(error)

    listed = is_list(source)
    files = _listed(source, leave_out, reading, account) if listed else _in_folder(source, account, reading)
    files = _matching(source, files, reading, account)
    sources = sorted(_scans(files, leave_out, reading, account, progress), key=lambda one: one.key)
    by_path = {file.path: file for file in files}

    def is_mask(one: Source) -> bool:
        if listed:
            return by_path[one.path].channel == MASK
        return bool(reading.mask) and matches(one, reading.mask)

    sources, dropped = chosen_series(sources, is_mask, reading, account)
    if dropped and all(map(is_mask, sources)):
        raise all_dropped(source, dropped, reading)
    if not sources:
        raise _nothing(source, account)
    if listed:
        channels = by_list(source, sources, by_path, reading, dropped, account)
    else:
        channels = by_pattern(source, sources, reading, account, dropped)
    for channel in channels[: len(channels) - bool(reading.mask)]:
        # If CT is wanted, other modalities are refused one by one and so cannot be mixed in.
        fitting = [one for one in channel.scans if not reading.hounsfield or one.modality in ("", "CT")]
        check_one_kind(source, fitting, reading)
    return paired(source, channels, by_path, reading, leave_out, account)


def _nothing(source: Path, account: Account) -> VoxflateError:
    seen = "it is empty"
    if account.seen:
        seen = f"{account.seen} file{'s' if account.seen > 1 else ''}: {account.summary()}"
    elif account.summary():
        seen = account.summary()
    return VoxflateError(
        f"{source}: has no scans ({seen}); expected DICOM, or files ending in {', '.join(READERS)}"
    )


def _scans(
    files: Sequence[File], refuse: Refuse, reading: Reading, account: Account, progress: Progress | None
) -> list[Source]:
    """The scans in files that a reader knows by their name, and in others by their content."""
    sources = [*_volumes((file for file in files if reader_of(file.path)), refuse, reading)]
    used = {path for one in sources for path in one.files}
    others = {f.path: f for f in files if f.path not in used and reader_of(f.path) is None}
    slices: list[Slice] = []
    for file, found in _looked_at(others, progress):
        if found is SCAN:
            sources += _volumes([file], refuse, reading)
        elif isinstance(found, str):
            account.leave([file.path], found)
        elif isinstance(found, VoxflateError):
            refuse(found)
        else:
            slices += found
    return [*sources, *_series(others, slices, refuse, reading, account)]


def _volumes(files: Iterable[File], refuse: Refuse, reading: Reading) -> Iterator[Source]:
    """The scans of files that a reader knows."""
    for file in files:
        try:
            yield _source(file, reading)
        except VoxflateError as error:
            refuse(error)


def _source(file: File, reading: Reading) -> Source:
    parts = scan_files(file.path)
    subject = composed(file.subject or _subject(file.name, reading))
    return Source(
        file.path,
        file.name,
        subject,
        reading=reading,
        split=file.split,
        parts=parts if len(parts) > 1 else (),
        labels=file.values,
    )


def _subject(name: str, reading: Reading, known: str = "") -> str:
    """The subject of a scan, if no list gives it."""
    if reading.subjects == "folder" and "/" in name:
        return name.split("/", 1)[0]
    return name if reading.subjects == "file" else known or subject_of(Path(name))


def _looked_at(
    files: Mapping[Path, File], progress: Progress | None
) -> Iterator[tuple[File, list[Slice] | str | VoxflateError]]:
    """Examine every file whose name is ambiguous; a damaged file does not affect the others."""
    with workers() as pool:
        found = counted(in_order(pool, look_inside, files), len(files), progress)
        yield from zip(files.values(), found, strict=True)


def _series(
    files: Mapping[Path, File],
    slices: Sequence[Slice],
    refuse: Refuse,
    reading: Reading,
    account: Account,
) -> Iterator[Source]:
    """Group slices into series."""
    slices, copies = drop_copies(slices)
    account.leave(copies, "a copy of a slice that is already there")
    if copies:
        account.note(f"{len(copies)} DICOM files are byte-for-byte copies of others and were left out")
    numbers: dict[Path, int] = {}
    refused: Counter[Path] = Counter()
    stacks = group(slices)
    shared = Counter(path for stack in stacks for path in {one.path for one in stack})
    volumes: dict[str, list[str]] = {}
    short: list[str] = []
    for acquisition in stacks:
        paths = tuple(dict.fromkeys(one.path for one in acquisition))
        try:
            if len(acquisition) < reading.min_slices:
                _check_whole(acquisition, stacks, reading.min_slices)
                account.leave(paths, f"DICOM series of fewer than {reading.min_slices} slices")
                short += [files[paths[0]].name] * (shared[paths[0]] > 1)
                continue
            series = dicom.order(acquisition, regrid=reading.regrid)
        except ScanError as error:
            error.files = paths
            if shared[paths[0]] > 1:  # another stack may be used under the file's name
                refused[paths[0]] += 1
                error.name = f"{files[paths[0]].name}#refused-{refused[paths[0]]}"
            refuse(error)
        else:
            first = files[series.files[0]]
            stack = numbers.get(first.path, -1) + 1
            numbers[first.path] = stack
            name = f"{first.name}#{stack + 1}" if stack else first.name
            volumes.setdefault(acquisition[0].text("SeriesInstanceUID"), []).append(name)
            known = series.patient or (f"study {series.study}" if series.study else "")
            subject = composed(first.subject or _subject(first.name, reading, known))
            yield Source(
                first.path, name, subject, series, reading, first.split, stack=stack, labels=first.values
            )
    _note_several(account, volumes)
    if short:  # other frames of these files may be used, and then the account of files is silent
        account.note(
            f"stacks of fewer than {reading.min_slices} frames that were left out of files with other "
            f"stacks: {len(short)} ({{names}})",
            names=some(short),
        )


def _note_several(account: Account, volumes: Mapping[str, Sequence[str]]) -> None:
    """Note series that make several volumes; `volumes` has their names by the name of the series."""
    several = [some([*names]) for uid, names in volumes.items() if uid and len(names) > 1]
    if several:
        account.note(
            "DICOM series that make several volumes, by orientation, size, frame of reference or folder: "
            f"{len(several)} ({{names}}); each volume counts as a scan; --min-slices leaves out short ones",
            names="; ".join(several[:3]),
        )


def _check_whole(stack: Sequence[Slice], stacks: Sequence[Sequence[Slice]], fewest: int) -> None:
    """Refuse a few slices that are damaged or split off from a series; they must not be skipped."""
    check_alike(stack)
    if is_torn(stack, stacks):
        raise ScanError(
            stack[0].path,
            f"is {len(stack)} of the slices of a series but differs in patient, study or frame of "
            "reference from the rest; export the series again, or remove it",
        )
    if (count := scattered(stack, stacks)) >= max(fewest, 2):
        raise ScanError(
            stack[0].path,
            f"is one of {count} slices of a study that each have their own series UID; export them again as "
            "one series, or remove them",
        )


def is_list(source: Path) -> bool:
    """Whether a source is a list of scans."""
    return source.is_file() and source.suffix.lower() in LISTS


def _listed(source: Path, refuse: Refuse, reading: Reading, account: Account) -> list[File]:
    """Every file that a list names, directly or by its folder."""
    files: dict[Path, File] = {}
    root = source.parent
    images = tuple(column_name(name) for name in reading.channels.values())
    columns = Columns(images, column_name(reading.mask))
    for entry in read_list(source, columns, allow_outside=reading.allow_outside):
        if entry.path.is_dir():
            found = files_below(entry.path, root, account)
        else:
            name = entry.path.relative_to(root) if entry.path.is_relative_to(root) else entry.path
            found = [File(entry.path, name.as_posix())]
            account.see(entry.path, name.as_posix())
        if not any(reader_of(file.path) or may_be_scan(file.path) for file in found):
            refuse(_unread(entry.path, found))
        for file in found:
            if file.path in files:
                raise VoxflateError(f"{source}: names {file.path} twice, the second time in {entry.where}")
            files[file.path] = File(
                file.path, file.name, entry.subject, entry.split, entry.where, entry.channel, entry.values
            )
    return list(files.values())


def _unread(path: Path, found: Sequence[File]) -> ScanError:
    """The error in an entry of a list without a scan, with the reason if it has only one file."""
    reason = look_inside(found[0].path) if len(found) == 1 else ""
    why = f" ({reason})" if reason and isinstance(reason, str) else ""
    return ScanError(path, f"is listed, but has no scan that can be read{why}; correct the list")


def _in_folder(source: Path, account: Account, reading: Reading) -> list[File]:
    """Every file below a folder; in BIDS trees only raw scans, and derivatives if masks may be there."""
    if not source.is_dir():
        state = "is a file, not a folder" if source.exists() else "no such folder"
        raise VoxflateError(
            f"{source}: {state}; name the folder that holds the scans, or a list of them ({', '.join(LISTS)})"
        )
    return files_below(source, source, account, derivatives=reading.pairs)


def _matching(source: Path, files: list[File], reading: Reading, account: Account) -> list[File]:
    """Files whose name or path matches --only, and masks, sorted by path.

    Raises:
        VoxflateError: If there are files, but none matches.
    """
    pattern = reading.only

    def wanted(file: File) -> bool:
        is_mask = file.channel == MASK or (bool(reading.mask) and _matches(file.name, reading.mask))
        return is_mask or _matches(file.name, pattern)

    kept = [file for file in files if wanted(file)]
    account.leave((file.path for file in files if not wanted(file)), "does not match --only")
    if files and not kept:
        names = [file.name for file in files]
        raise VoxflateError(
            f"{source}: has no scan that matches --only {pattern!r}; it has {len(files)} files, such as "
            f"{some(names)}"
        )
    return sorted(kept, key=lambda file: file.path)


def _matches(name: str, pattern: str) -> bool:
    return not pattern or fits(name, pattern) or fits(name.rsplit("/", 1)[-1], pattern)
