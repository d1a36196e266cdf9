"""From a data description to annotated slices: which pixels are which class."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock

from fibseg.arrays import Pixels
from fibseg.data.description import SPLITS, DataDescription, check_description
from fibseg.data.folds import with_fold
from fibseg.data.grey import few_levels, grey_range, sample_slice, summary_of_samples
from fibseg.data.identity import SliceOwners, picture_digest
from fibseg.data.splits import nested_order, parse_slices, split_positions
from fibseg.data.volume import AnnotatedSlice, VolumeReader
from fibseg.errors import FibsegError
from fibseg.stack import open_stack, write_stack


def load_slices(description: DataDescription) -> dict[str, list[AnnotatedSlice]]:
    """Read every slice of every split, and those of the second expert under "second_expert".

    Raises:
        FibsegError: the files contradict the description.
    """
    # What needs no file comes first: files may be on a slow disk, or behind a URL.
    check_description(description)
    if not description.volumes:
        raise FibsegError("data.volumes: empty; expected at least one volume.")
    provide_phantom(description)
    description = with_fold(description)
    slices: dict[str, list[AnnotatedSlice]] = {split: [] for split in (*SPLITS, "second_expert")}
    for index, volume in enumerate(description.volumes):
        reader = VolumeReader(description, index)
        positions = split_positions(volume, reader, f"data.volumes[{index}]")
        for split, split_slices in positions.items():
            slices[split] += [reader.with_neighbours(reader.read(z)) for z in split_slices]
        if volume.second_expert is not None:
            slices["second_expert"] += read_second_expert(description, index)
    # `split_positions` compares the splits of one volume; two volumes may name the same image.
    _check_shared_slices(description, slices)
    # Without a test split a run has no test scores, which is allowed.
    for split in ("train", "validation"):
        if not slices[split]:
            raise FibsegError(f"data: no slice in the {split} split; every description needs one.")
    _check_classes_present(slices["train"], list(description.classes))
    _check_grey_levels(description, slices)
    return slices


def few_training_slices(
    slices: Mapping[str, list[AnnotatedSlice]], description: DataDescription
) -> dict[str, list[AnnotatedSlice]]:
    """Keep `annotated` of the training slices, spread over all of them; fewer are part of more.

    The data set stays the same one: its hash is that of all slices.

    Raises:
        FibsegError: there are not so many, or a class does not occur in them.
    """
    count = description.annotated
    train = slices["train"]
    if count is None:
        return dict(slices)
    if not 1 <= count <= len(train):
        raise FibsegError(
            f"data.annotated: {count} is impossible; expected 1 to {len(train)}, the number of "
            "training slices."
        )
    used = [train[position] for position in sorted(nested_order(len(train), count))]
    try:
        _check_classes_present(used, list(description.classes))
    except FibsegError as error:
        raise FibsegError(f"data.annotated: {count} is too few: {error}") from error
    return {**slices, "train": used}


def read_second_expert(description: DataDescription, index: int) -> list[AnnotatedSlice]:
    """Read the second expert's labels of a volume.

    Page k of the labels belongs to entry k of the expert's slices, at the y and x of the first
    expert's labels.

    Raises:
        FibsegError: pages and slices differ in number.
    """
    expert = description.volumes[index].second_expert
    assert expert is not None
    where = f"data.volumes[{index}].second_expert"
    reader = VolumeReader(description, index, labels=expert.labels)
    positions = parse_slices(expert.slices, reader.image.shape[0], f"{where}.slices")
    pages = len(reader.annotated)
    if pages != len(positions):
        raise FibsegError(
            f"{where}: {pages} pages of labels for {len(positions)} slices; "
            "expected one page per slice."
        )
    reader.check_pages(positions)
    return [reader.with_neighbours(reader.read(z, page)) for page, z in enumerate(positions)]


def provide_phantom(description: DataDescription) -> None:
    """Write the phantom of a description, if it has one, to its root.

    Raises:
        FibsegError: another phantom is there already.
    """
    if description.phantom is None or not description.volumes:
        return
    # The phantom needs scipy.ndimage, which no other description does.
    from fibseg.phantom import draw_phantom

    shape = description.phantom.shape
    if len(shape) != 3:
        raise FibsegError(f"data.phantom.shape: {list(shape)}; expected [slices, height, width].")
    depth, height, width = shape
    phantom = draw_phantom(
        shape=(depth, height, width),
        seed=description.phantom.seed,
        touching=description.phantom.touching,
    )
    stacks: list[tuple[str, Pixels]] = [("labels", phantom.labels), ("image", phantom.image)]
    if description.phantom.touching:
        stacks.insert(0, ("instances", phantom.instances))
    root = Path(description.root)
    root.mkdir(parents=True, exist_ok=True)
    # Runs that start at the same time wait for each other here.
    with FileLock(root / ".lock"):
        for name, pixels in stacks:
            path = root / f"{name}.tif"
            if not path.exists():
                write_stack(path, pixels, description.volumes[0].voxel_size)
            elif not _holds(path, pixels):
                raise FibsegError(
                    f"{path}: not the phantom of this shape and seed; delete it, "
                    "or give another data.root."
                )


def _holds(path: Path, pixels: Pixels) -> bool:
    """Whether a file holds these pixels (Z, H, W)."""
    stack = open_stack(path)
    if stack.shape != pixels.shape:
        return False
    return all((image == slice_).all() for image, slice_ in zip(stack, pixels, strict=True))


def _check_shared_slices(
    description: DataDescription, slices: Mapping[str, Sequence[AnnotatedSlice]]
) -> None:
    owners = SliceOwners(description)
    for split in SPLITS:
        for annotated_slice in slices[split]:
            conflict = owners.conflict(annotated_slice, split)
            if conflict is not None:
                raise FibsegError(conflict)


def _check_classes_present(train: Sequence[AnnotatedSlice], names: Sequence[str]) -> None:
    # A class that is missing in training is never predicted, and no patch is centred on it.
    present = set[int]()
    for annotated_slice in train:
        present.update(np.unique(annotated_slice.labels).tolist())
    missing = [name for index, name in enumerate(names, 1) if index not in present]
    if missing:
        raise FibsegError(
            f"data: class {', '.join(missing)} does not occur in the training slices; "
            "give training slices that show it, or leave it out of data.classes."
        )


def _check_grey_levels(
    description: DataDescription, slices: Mapping[str, Sequence[AnnotatedSlice]]
) -> None:
    """Refuse volumes of which one grey range leaves too little, as 8 bits beside 16."""
    if len(description.volumes) < 2 or description.intensity.per == "slice":
        return
    training: list[Pixels] = []
    tissue: dict[int, list[Pixels]] = {}
    for split in SPLITS:
        for annotated in slices[split]:
            grey, without_padding = sample_slice(annotated.image, annotated.in_mask)
            tissue.setdefault(annotated.volume, []).append(without_padding)
            if split == "train":
                training.append(grey)
    summaries = {
        f"volume {volume}, {description.volumes[volume].image}": summary_of_samples(samples)
        for volume, samples in sorted(tissue.items())
        if any(sample.size for sample in samples)
    }
    few = few_levels(grey_range(training, description.intensity), summaries)
    if few is not None:
        raise FibsegError(few)


def neighbours_hash(slices: Mapping[str, Sequence[AnnotatedSlice]]) -> str | None:
    """Hash the neighbours that networks see with the slices; None without `data.context`.

    They are no part of `data_hash`: runs with and without them are of one data set.
    """
    pictures = [
        picture for split in SPLITS for entry in slices[split] for picture in entry.neighbours
    ]
    if not pictures:
        return None
    return hashlib.sha256("".join(map(picture_digest, pictures)).encode()).hexdigest()[:16]


def data_hash(slices: Mapping[str, Sequence[AnnotatedSlice]], class_names: Sequence[str]) -> str:
    """Hash the classes, and every pixel and label of the three splits, to 16 hexadecimal digits."""
    # The order of the classes counts: it decides which index a label becomes.
    digest = hashlib.sha256("\n".join(class_names).encode())
    for split in SPLITS:
        for annotated_slice in slices[split]:
            image = annotated_slice.image
            place = f"{annotated_slice.volume} {annotated_slice.z}"
            # Bytes alone would not tell an image from its reshaped copy, or uint16 from int16.
            digest.update(f"{split} {place} {image.dtype} {image.shape}".encode())
            digest.update(image.tobytes())
            digest.update(annotated_slice.labels.tobytes())
    # 64 bits tell data sets apart, and fit into the name of a folder.
    return digest.hexdigest()[:16]


def instances_hash(slices: Mapping[str, Sequence[AnnotatedSlice]]) -> str | None:
    """Hash the objects of the slices; None where no class has objects.

    Ids that another program has dealt out anew give the same hash. They are no part of `data_hash`:
    runs with and without objects are of one data set.
    """
    digest = hashlib.sha256()
    objects = [entry.objects for split in SPLITS for entry in slices[split]]
    if all(numbers is None for numbers in objects):
        return None
    for numbers in objects:
        digest.update(b"" if numbers is None else numbers.tobytes())
    return digest.hexdigest()[:16]
