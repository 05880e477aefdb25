"""Every data set that can be named: where it is had, the folder that is expected, and its protocol.

Nothing heavy is imported before a data set is read or asked for its options, so that lists are printed at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from persam.benchmark.datasets.options import Option, options_of
from persam.errors import UsageError

if TYPE_CHECKING:
    from persam.benchmark.episodes import Episode, Loaded

#: How the published protocol sums photos up: intersection and union pooled per object, then the mean over objects
#: (PerSeg); pooled per class, then the mean over classes of a fold and over folds (HSNet); J&F per object of a video,
#: then the mean over objects (DAVIS), or over those of seen and of unseen categories, then the mean of these
#: (YouTube-VOS); IoU per photo, then the mean over photos.
Measure = Literal["object-pooled", "class-pooled", "j-and-f", "seen-unseen", "image"]


@dataclass(frozen=True)
class DatasetEntry:
    """One data set.

    Attributes:
        name: as on the command line: ``perseg``.
        title: as in papers: ``PerSeg``.
        reader: the function that reads it, ``module:function`` in this package; called with the root and options.
        origin: paper and page, in words and URL.
        layout: the folder that is expected, as unpacked.
        protocol: what is asked of a method, and how it is summed up.
        measure: the same for programs.
        licence: its terms, as far as known.
        is_video: whether its photos are frames of clips, through which objects can be followed.
    """

    name: str
    title: str
    reader: str
    origin: str
    layout: str
    protocol: str
    measure: Measure
    licence: str
    is_video: bool = False

    @cached_property
    def read_with(self) -> Callable[..., Loaded]:
        """The reader, which is imported now."""
        module, function = self.reader.split(":")
        found: Callable[..., Loaded] = getattr(import_module(f"persam.benchmark.datasets.{module}"), function)
        return found

    @cached_property
    def options(self) -> tuple[Option, ...]:
        """What a caller may choose, from the reader's signature."""
        return options_of(self.read_with)

    def read(self, root: Path, **options: Any) -> Loaded:
        """Read it. Options that are None count as not given.

        Raises:
            UsageError: the folder is laid out otherwise, or an option is unknown or out of range.
        """
        known = {option.name: option for option in self.options}
        given = {name: value for name, value in options.items() if value is not None}
        for name, value in given.items():
            if name not in known:
                raise UsageError(f"{self.title} takes no {name}; it takes {', '.join(known)}.")
            known[name].check(value, self.title)
        if not root.is_dir():
            title = self.title.removeprefix("a folder of ").removesuffix(" folder")
            raise UsageError(f"There is no folder {root}; give the folder of {title}, with {self.layout}.")
        return self.read_with(root, **given)


_ENTRIES = (
    DatasetEntry(
        name="perseg",
        title="PerSeg",
        reader="perseg:read_perseg",
        origin="Zhang et al., Personalize Segment Anything Model with One Shot (ICLR 2024, arXiv 2305.03048); "
        "https://github.com/ZrrSkywalker/Personalize-SAM",
        layout="Images/OBJECT/NN.jpg and Annotations/OBJECT/NN.png",
        protocol="40 objects; one photo (00) is the reference, the object is found in each other photo; intersection "
        "and union are pooled per object, then the mean over objects",
        measure="object-pooled",
        licence="research; the repository is under the MIT licence",
    ),
    DatasetEntry(
        name="fss",
        title="FSS-1000",
        reader="fss:read_fss",
        origin="Li et al., FSS-1000: A 1000-Class Dataset for Few-Shot Segmentation (CVPR 2020); "
        "https://github.com/HKUSTCV/FSS-1000",
        layout="CLASS/1.jpg and CLASS/1.png as unpacked, or CLASS/images/* and CLASS/masks/*; "
        "beside them or one folder up, the list of the 240 test classes, if you have it (test.txt)",
        protocol="first: each class's first photo is the reference, the class is found in its others. episodes "
        "(HSNet): every photo of the test classes once, with a random other photo of its class as reference. "
        "Intersection and union are pooled per class, then the mean over classes",
        measure="class-pooled",
        licence="research",
    ),
    DatasetEntry(
        name="davis",
        title="DAVIS",
        reader="davis:read_davis",
        origin="Perazzi et al. (CVPR 2016) and Pont-Tuset et al., The 2017 DAVIS Challenge (arXiv 1704.00675); "
        "https://davischallenge.org",
        layout="JPEGImages/480p/SEQUENCE/*.jpg, Annotations/480p/SEQUENCE/*.png, ImageSets/2016 or 2017/val.txt",
        protocol="frame 0 is the reference, the object is found in each later frame on its own, or followed "
        "(--propagate); 2016: one object per sequence, 2017: every object by itself; J&F per object, then the "
        "mean over objects",
        measure="j-and-f",
        licence="non-commercial research (CC BY-NC)",
        is_video=True,
    ),
    DatasetEntry(
        name="youtube-vos",
        title="YouTube-VOS",
        reader="youtube_vos:read_youtube_vos",
        origin="Xu et al., YouTube-VOS: A Large-Scale Video Object Segmentation Benchmark (ECCV 2018, arXiv "
        "1809.03327); https://youtube-vos.org",
        layout="JPEGImages/VIDEO/*.jpg, Annotations/VIDEO/*.png (every 5th frame, also below train/ or valid/), and "
        "meta.json with the categories",
        protocol="the first frame that shows an object is its reference, it is found in each later annotated frame on "
        "its own, or followed (--propagate); J and F per object, then the mean over objects of seen and of unseen "
        "categories",
        measure="seen-unseen",
        licence="annotations CC BY 4.0; videos non-commercial research",
        is_video=True,
    ),
    DatasetEntry(
        name="lvis92i",
        title="LVIS-92i",
        reader="coco:read_lvis",
        origin="Liu et al., Matcher (ICLR 2024, arXiv 2305.13310), on LVIS v1 (Gupta et al., CVPR 2019); "
        "https://www.lvisdataset.org and COCO 2017's photos from https://cocodataset.org",
        layout="lvis_v1_val.json in the folder or in annotations/; photos in train2017/ and val2017/ "
        "(also below images/ or coco/)",
        protocol="920 classes with at least two photos in 10 folds of 92; 2,300 random episodes a fold; intersection "
        "and union are pooled per class, then the mean over classes and folds",
        measure="class-pooled",
        licence="annotations CC BY 4.0; photos under their Flickr terms",
    ),
    DatasetEntry(
        name="coco20i",
        title="COCO-20i",
        reader="coco:read_coco",
        origin="Nguyen and Todorovic (ICCV 2019), episodes as in HSNet (Min et al., ICCV 2021), on COCO (Lin et al., "
        "ECCV 2014); https://cocodataset.org",
        layout="annotations/instances_val2014.json and val2014/*.jpg (or val2017, train2014; photos also below "
        "images/)",
        protocol="80 classes in 4 folds, class c in fold c mod 4; 1,000 random episodes a fold; intersection and "
        "union are pooled per class, then the mean over classes and folds",
        measure="class-pooled",
        licence="annotations CC BY 4.0; photos under their Flickr terms",
    ),
    DatasetEntry(
        name="pascal-part",
        title="PASCAL-Part",
        reader="pascal_part:read_pascal_part",
        origin="Chen et al., Detect What You Can (CVPR 2014), episodes as in Matcher (arXiv 2305.13310); "
        "http://roozbehm.info/pascal-parts/pascal-parts.html and the photos of VOC 2010, "
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/",
        layout="Annotations_Part/*.mat and JPEGImages/*.jpg (also below VOCdevkit/VOC2010/); "
        "ImageSets/Main/val.txt if you have it",
        protocol="parts of objects, on the object cut out by its box; 4 folds: animals, indoor, person, vehicles; "
        "2,500 random episodes a fold; intersection and union are pooled per class, then the mean over classes and "
        "folds",
        measure="class-pooled",
        licence="research; photos under their Flickr terms",
    ),
    DatasetEntry(
        name="paco-part",
        title="PACO-Part",
        reader="coco:read_paco",
        origin="Ramanathan et al., PACO (CVPR 2023), episodes as in Matcher (arXiv 2305.13310); "
        "https://github.com/facebookresearch/paco and COCO 2017's photos from https://cocodataset.org",
        layout="paco_lvis_v1_val.json in the folder or in annotations/; photos in train2017/ and val2017/ "
        "(also below images/ or coco/)",
        protocol="parts of objects (303 in the paper), on the object cut out by its box; 4 folds; 2,500 random "
        "episodes a fold; intersection and union are pooled per class, then the mean over classes and folds",
        measure="class-pooled",
        licence="annotations under the MIT licence; photos under their Flickr terms",
    ),
    DatasetEntry(
        name="tokyo-ms4i",
        title="Tokyo Multi-Spectral-4i",
        reader="tokyo:read_tokyo",
        origin="Bao et al., Visible and Thermal Images Fusion Architecture for Few-Shot Semantic Segmentation (2021), "
        "on the photos of Ha et al., MFNet (IROS 2017); https://www.mi.t.u-tokyo.ac.jp/static/projects/mil_multispectral/",
        layout="images/*.png (RGB, or RGB and thermal in four channels) and labels/*.png (class numbers); "
        "test.txt if you have it",
        protocol="16 classes in 4 folds of 4; 1,000 random episodes a fold, colour photos alone; intersection and "
        "union are pooled per class, then the mean over classes and folds",
        measure="class-pooled",
        licence="research",
    ),
    DatasetEntry(
        name="things",
        title="a folder of named things",
        reader="things:read_things",
        origin="yours, or any set that names the physical thing behind every mask id",
        layout="SET/STEM.webp (or .jpg, ...) and SET/STEM.png with ids (0 background, 255 not counted); objects.json "
        'or the JSON of --objects: {SET: {"items": {STEM: {"part": ..., "objects": [name of id 1, of id 2, ...]}}}}',
        protocol="the photo that a thing covers most of is the reference, it is found in each photo of another scene "
        "(what stands before __ in STEM); IoU per photo, then the mean",
        measure="image",
        licence="yours",
    ),
    DatasetEntry(
        name="folder",
        title="a folder of your own",
        reader="folder:read_folder",
        origin="yours",
        layout="images/* and masks/* of equal names, or OBJECT/images/* and OBJECT/masks/*, or photos with NAME_mask "
        "files beside them (also in folders by object)",
        protocol="one photo is the reference, the object is found in each other photo; IoU per photo, then the mean",
        measure="image",
        licence="yours",
    ),
    DatasetEntry(
        name="study",
        title="a study folder",
        reader="folder:read_study",
        origin="yours, as `persam study` makes and reads it",
        layout="CATEGORY/images/* and CATEGORY/gold/* (or CATEGORY/masks/*) of equal names",
        protocol="one photo of a category is the reference, its object is found in each other photo; IoU per photo, "
        "then the mean",
        measure="image",
        licence="yours",
    ),
)

#: By name, in the order in which they are shown.
DATASETS: dict[str, DatasetEntry] = {entry.name: entry for entry in _ENTRIES}


def find_data_set(name: str) -> DatasetEntry:
    """The entry of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in DATASETS:
        raise UsageError(f"There is no data set {name}; there are {', '.join(DATASETS)}.")
    return DATASETS[name]


def read(name: str, root: Path, **options: Any) -> Loaded:
    """Read a data set by name: `DatasetEntry.read`.

    Raises:
        UsageError: there is no such data set, the folder is laid out otherwise, or an option is unknown.
    """
    return find_data_set(name).read(Path(root), **options)


# What one folder may hold by name: the photos that the modes are compared on.
_TOGETHER: dict[str, dict[str, Any]] = {"perseg": {}, "fss": {"split": "all"}, "davis": {"step": 8}}


# What is tried on a folder that nobody gave a name: the layouts that are known by themselves, in this order.
_RECOGNISED = ("davis", "perseg", "folder", "fss")


def read_together(root: Path) -> list[Episode]:
    """PerSeg, FSS and every 8th frame of DAVIS, as far as a folder holds them by name (`perseg/`, `fss/`, `davis/`).

    Raises:
        UsageError: none of them is there, one is not laid out as expected, or there is nothing but references.
    """
    here = _here(root)
    if not here:
        gone = "" if root.is_dir() else "is no folder, so it "
        raise UsageError(
            f"{root} {gone}holds none of the folders {', '.join(_TOGETHER)}, nor photos with their masks "
            f"({DATASETS['folder'].layout}); give the folder that does, or that of one data set with the name of the "
            "data set."
        )
    return [episode for name in here for episode in read(name, root / name, **_TOGETHER[name]).episodes]


def read_recognised(root: Path) -> Loaded | None:
    """The data set as which a folder itself is laid out, or None: it is none, or holds data sets by name.

    Raises:
        UsageError: it is one, but photos or masks in it are missing or of different sizes.
    """
    from persam.benchmark.datasets.layout import LayoutError

    if _here(root) or not root.is_dir():
        return None
    problems = []
    for name in _RECOGNISED:
        try:
            return read(name, root, **_TOGETHER.get(name, {}))
        except LayoutError:
            continue
        except UsageError as error:
            problems.append(error)  # another may read it
    if problems:
        raise problems[0]
    return None


def _here(root: Path) -> list[str]:
    return [name for name in _TOGETHER if (root / name).is_dir()]
