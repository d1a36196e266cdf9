"""Records of public data sets: addresses, checksums, classes, splits.

An address stands here only where published programs load from it; for archives, this is torch-em
(https://github.com/constantinpape/torch-em), whose loaders also say how they are laid out. A
checksum stands here only where somebody published it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TORCH_EM = "torch-em"
"""Who published most of the checksums; the records themselves publish none."""


@dataclass(frozen=True)
class PublicFile:
    """A file of a record.

    Attributes:
        url: address.
        name: under which it is kept.
        sha256: checksum in hexadecimal digits; None where nobody published one.
        checksum_by: who published the checksum.
        largest: bytes that are too many for it, a generous bound: a body without a length may have
            no end.
    """

    url: str
    name: str
    sha256: str | None = None
    checksum_by: str | None = None
    largest: int = 4_000_000_000


@dataclass(frozen=True)
class PublicVolume:
    """A volume in the files of a record.

    Attributes:
        folder: that takes it.
        images: glob of its pictures in the unpacked archives, in natural order; or a file.
        labels: the same of the labels.
        split: split -> the part of its slices, from and to a share of them.
        values: grey value in the label files -> label value. Other values become 0. None: the
            labels stay as they are.
        numbered: whether labels are numbers of objects, of one class.
    """

    folder: str
    images: str
    labels: str
    split: Mapping[str, tuple[float, float]]
    values: Mapping[int, int] | None = None
    numbered: bool = False


@dataclass(frozen=True)
class PublicCrop:
    """An annotated crop of a large OME-Zarr image, both read by URL.

    Attributes:
        folder: that takes it.
        image: URL of the multiscale group of the image.
        labels: URL of the multiscale group of the labels, one class.
        split: split -> the part of its slices, from and to a share of them.
    """

    folder: str
    image: str
    labels: str
    split: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class PublicSet:
    """A public data set.

    Attributes:
        title: what it shows.
        page: where a person reads about it.
        citation: of the paper.
        terms: of use, as far as they are known.
        classes: class -> label value in the prepared files.
        voxel_size: (z, y, x) in nm.
        files: of the record.
        volumes: in these files.
        crops: that are read by URL.
        background: label values of no class.
        ignore: label value of unannotated pixels.
    """

    title: str
    page: str
    citation: str
    terms: str
    classes: Mapping[str, int]
    voxel_size: Sequence[float]
    files: Sequence[PublicFile] = ()
    volumes: Sequence[PublicVolume] = ()
    crops: Sequence[PublicCrop] = ()
    background: Sequence[int] = (0,)
    ignore: int | None = None


_LEARN = {"train": (0.0, 0.8), "validation": (0.8, 1.0)}
"""Splits of a volume that is not tested. The records have no validation slices."""

_TEST = {"test": (0.0, 1.0)}
_EPFL = (
    "https://documents.epfl.ch/groups/c/cv/cvlab-unit/www/data/%20ElectronMicroscopy_Hippocampus"
)
_CASSER = "Casser, Kang, Pfister, Haehn, MIDL 2020, arXiv:1812.06024"
_UNSTATED = "not stated in the files; see the page"
_HELA = "https://janelia-cosem-datasets.s3.amazonaws.com/jrc_hela-2/jrc_hela-2.zarr/recon-1"


def _plus_plus(name: str) -> list[PublicVolume]:
    """The two volumes of Lucchi++ and Kasthuri++, as their archives hold them."""
    return [
        PublicVolume(
            folder=folder.lower(),
            images=f"{name}/{folder}_In/*.png",
            labels=f"{name}/{folder}_Out/*.png",
            split=split,
            # 2 is painted where Kasthuri++ has no image.
            values={255: 1, 2: 255},
        )
        for folder, split in (("Train", _LEARN), ("Test", _TEST))
    ]


def _mitoem(folder: str, split: Mapping[str, tuple[float, float]]) -> PublicVolume:
    """A part of MitoEM: pictures of the whole volume, and numbered objects of some slices."""
    return PublicVolume(
        folder=folder.removesuffix("-v2").removeprefix("mito-"),
        images="im/*.png",
        labels=f"{folder}/*.tif",
        split=split,
        numbered=True,
    )


PUBLIC_SETS = {
    "lucchi": PublicSet(
        title="FIB-SEM of mouse hippocampus CA1, two volumes, mitochondria",
        page="https://www.epfl.ch/labs/cvlab/data/data-em/",
        citation="Lucchi, Li, Fua, CVPR 2013, doi:10.1109/CVPR.2013.259",
        terms=_UNSTATED,
        classes={"mitochondrion": 255},
        voxel_size=(5, 5, 5),
        files=[
            PublicFile(f"{_EPFL}/{name}.tif", f"{name}.tif")
            for name in ("training", "training_groundtruth", "testing", "testing_groundtruth")
        ],
        volumes=[
            PublicVolume("train", "training.tif", "training_groundtruth.tif", _LEARN),
            PublicVolume("test", "testing.tif", "testing_groundtruth.tif", _TEST),
        ],
    ),
    "lucchi_pp": PublicSet(
        title="Lucchi++: the volumes of lucchi, annotated anew",
        page="https://casser.io/connectomics/",
        citation=_CASSER,
        terms=_UNSTATED,
        classes={"mitochondrion": 1},
        voxel_size=(5, 5, 5),
        files=[
            PublicFile(
                url="http://www.casser.io/files/lucchi_pp.zip",
                name="lucchi_pp.zip",
                sha256="770ce9e98fc6f29c1b1a250c637e6c5125f2b5f1260e5a7687b55a79e2e8844d",
                checksum_by=TORCH_EM,
            )
        ],
        volumes=_plus_plus("Lucchi++"),
        ignore=255,
    ),
    "kasthuri_pp": PublicSet(
        title="Kasthuri++: serial-section SEM of mouse cortex, two volumes, mitochondria",
        page="https://casser.io/connectomics/",
        citation=_CASSER,
        terms=_UNSTATED,
        classes={"mitochondrion": 1},
        voxel_size=(30, 3, 3),
        files=[
            PublicFile(
                url="http://www.casser.io/files/kasthuri_pp.zip",
                name="kasthuri_pp.zip",
                sha256="bbb78fd205ec9b57feb8f93ebbdf1666261cbc3e0305e7f11583ab5157a3d792",
                checksum_by=TORCH_EM,
            )
        ],
        volumes=_plus_plus("Kasthuri++"),
        ignore=255,
    ),
    "drosophila_vnc": PublicSet(
        title="serial-section TEM of a Drosophila nerve cord, stack 1, three classes",
        page="https://github.com/unidesigner/groundtruth-drosophila-vnc",
        citation="Gerhard, Funke, Martel, Cardona, Fetter, doi:10.6084/m9.figshare.856713",
        terms="CC BY-NC-SA 3.0",
        classes={"mitochondrion": 1, "membrane": 2, "synapse": 3},
        voxel_size=(50, 4.6, 4.6),
        # Made anew by the server when it is asked for, so that a checksum might not last.
        files=[
            PublicFile(
                url="https://github.com/unidesigner/groundtruth-drosophila-vnc/archive/refs/heads/"
                "master.zip",
                name="drosophila_vnc.zip",
            )
        ],
        volumes=[
            PublicVolume(
                folder="stack1",
                images="groundtruth-drosophila-vnc-master/stack1/raw/*.tif",
                labels="groundtruth-drosophila-vnc-master/stack1/labels/*.png",
                # Those of data=vnc.
                split={"train": (0.0, 0.5), "validation": (0.5, 0.75), "test": (0.75, 1.0)},
                # Of its README: five directions of membranes, glia, mitochondria, synapses.
                values=dict.fromkeys((0, 32, 64, 96, 128), 2) | {159: 4, 191: 1, 223: 3, 255: 0},
            )
        ],
        background=(0, 4),
    ),
    "mitoem_rat": PublicSet(
        title="MitoEM-R: serial-section SEM of rat cortex, 500 annotated slices, mitochondria",
        page="https://mitoem.grand-challenge.org/",
        citation="Wei et al., MICCAI 2020, doi:10.1007/978-3-030-59722-1_7",
        terms=_UNSTATED,
        classes={"mitochondrion": 1},
        voxel_size=(30, 8, 8),
        files=[
            PublicFile(
                url="https://huggingface.co/datasets/pytc/EM30/resolve/main/EM30-R-im.zip",
                name="EM30-R-im.zip",
                sha256="6a2cac68adde5d01984542d3ee1d7753d1fa3e6eb2a042ce15ce297c95885bbe",
                checksum_by=TORCH_EM,
                # 1000 slices of 4096 x 4096 pixels are 16.8 GB before they are compressed.
                largest=20_000_000_000,
            ),
            PublicFile(
                url="https://huggingface.co/datasets/pytc/MitoEM/resolve/main/"
                "EM30-R-mito-train-val-v2.zip",
                name="EM30-R-mito-train-val-v2.zip",
                sha256="c56380ac575428a818bd293ca3509d1249999846c3702ccbf11d308acdd2ae86",
                checksum_by=TORCH_EM,
            ),
        ],
        # The published test slices have no labels: those of its validation are tested here.
        volumes=[_mitoem("mito-train-v2", _LEARN), _mitoem("mito-val-v2", _TEST)],
    ),
    "hela_crop": PublicSet(
        title="OpenOrganelle jrc_hela-2, crop 1: FIB-SEM of a HeLa cell, mitochondria",
        page="https://openorganelle.janelia.org/datasets/jrc_hela-2",
        citation="Heinrich et al., Nature 2021, doi:10.1038/s41586-021-03977-3",
        terms="CC BY 4.0",
        classes={"mitochondrion": 1},
        voxel_size=(5.24, 4, 4),
        crops=[
            PublicCrop(
                folder="crop1",
                image=f"{_HELA}/em/fibsem-uint8",
                labels=f"{_HELA}/labels/groundtruth/crop1/mito",
                split={"train": (0.0, 0.6), "validation": (0.6, 0.8), "test": (0.8, 1.0)},
            )
        ],
        ignore=255,
    ),
}
"""Name -> record."""
