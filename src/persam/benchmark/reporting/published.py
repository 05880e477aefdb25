"""Numbers that others printed, each with the protocol, the encoder and the source that it needs to be read with."""

from __future__ import annotations

from dataclasses import dataclass

PAPER = "PerSAM paper"  # arXiv 2305.03048
_SAM_H, _DINO, _UNSTATED = "SAM ViT-H", "DINOv2 for matching, SAM ViT-H", "not stated"


@dataclass(frozen=True)
class Published:
    """One published number.

    Attributes:
        data_set: name of the data set, as `persam bench` names it.
        metric: key of the figure that it stands beside, such as ``miou``.
        method: as its authors call it.
        value: in percent.
        encoder: what it was reached with; "" where the method has its own network.
        shots: references per object.
        protocol: how it was measured, as far as the source says.
        source: where it is printed.
        secondary: whether we know it from a later paper's table or a repository that ran the method, not from its
            authors.
    """

    data_set: str
    metric: str
    method: str
    value: float
    encoder: str
    shots: int
    protocol: str
    source: str
    secondary: bool = False


def published_for(data_set: str, shots: int | None = None) -> list[Published]:
    """What is known for a data set, the paper first; those with so many references per object, if given."""
    return [each for each in PUBLISHED if each.data_set == data_set and shots in {None, each.shots}]


def _perseg() -> list[Published]:
    whole = "40 objects, reference 00, IoU pooled per object, mean over objects"
    border = "40 objects, reference 00; the paper does not say whether boundary IoU is pooled or per image"
    rows: list[tuple[str, str, int, float, float]] = [
        ("PerSAM", _SAM_H, 1, 89.32, 71.67),
        ("PerSAM-F", _SAM_H, 1, 95.33, 77.92),
        ("PerSAM", "SAM ViT-L", 1, 86.61, 69.86),
        ("PerSAM-F", "SAM ViT-L", 1, 92.24, 75.36),
        ("PerSAM", "SAM ViT-B", 1, 63.98, 49.30),
        ("PerSAM-F", "SAM ViT-B", 1, 87.24, 69.36),
        ("PerSAM", _SAM_H, 3, 90.2, 73.6),
        ("PerSAM-F", _SAM_H, 3, 97.4, 79.1),
        ("SegGPT", "", 1, 94.3, 76.5),
        ("SegGPT", "", 3, 96.7, 78.4),
        ("SEEM", "", 1, 87.1, 55.7),
        ("Painter", "", 1, 56.4, 42.0),
        ("Visual Prompting", "", 1, 65.9, 25.5),
    ]
    found = [
        Published("perseg", metric, method, value, encoder, shots, protocol, PAPER)
        for method, encoder, shots, miou, biou in rows
        for metric, value, protocol in (("miou", miou, whole), ("biou", biou, border))
    ]
    found.append(Published("perseg", "miou", "Grounded-SAM", 93.2, _UNSTATED, 1, whole, PAPER))
    again = "the published code run again; " + whole
    course, dual = "CS4782 course reproduction (repository)", "Dual-TCR repository"
    found += [
        Published("perseg", "miou", "PerSAM", 89.32, _SAM_H, 1, again, course, secondary=True),
        Published("perseg", "miou", "PerSAM-F", 95.18, _SAM_H, 1, again, course, secondary=True),
        Published("perseg", "macc", "PerSAM", 92.19, _SAM_H, 1, again, course, secondary=True),
        Published("perseg", "macc", "PerSAM-F", 95.57, _SAM_H, 1, again, course, secondary=True),
        Published("perseg", "miou", "PerSAM", 89.16, _SAM_H, 1, again, dual, secondary=True),
        Published("perseg", "miou", "Dual-TCR", 93.4, _UNSTATED, 1, "as its repository prints it", dual),
        Published("perseg", "miou", "P2SAM", 95.7, _SAM_H, 1, "as its repository prints it", "Zch0414/p2sam"),
        Published("perseg", "miou", "FoundYou", 96.4, "SAM 2 S", 1, "IoU pooled per object", "ga1i13o/FoundYou"),
        Published(
            "perseg", "biou", "FoundYou", 85.6, "SAM 2 S", 1,
            "mean per image on masks resized to the model's square input: not comparable", "ga1i13o/FoundYou",
        ),
    ]  # fmt: skip
    return found


def _davis() -> list[Published]:
    protocol = "DAVIS 2017 val, semi-supervised, the mask carried on from frame to frame"
    lists = [
        ("PerSAM", 66.9, _DINO, PAPER, False),
        ("PerSAM", 62.8, _SAM_H, PAPER, False),
        ("PerSAM-F", 76.1, _DINO, PAPER, False),
        ("PerSAM-F", 73.4, _SAM_H, PAPER, False),
        ("PerSAM-F", 71.9, _UNSTATED, PAPER + ", first version", False),
        ("PerSAM + PIPS", 68.2, _DINO, PAPER, False),
        ("PerSAM-F + PIPS", 77.2, _DINO, PAPER, False),
        ("PerSAM-F", 59.7, _SAM_H, "Personalize-SAM issue 31, the published code run again", True),
        ("SegGPT", 75.6, "", "later tables", True),
        ("SEEM", 58.9, "", "later tables", True),
        ("Painter", 34.6, "", "later tables", True),
        ("SAM-PT", 76.6, "", "later tables", True),
        ("SAM 2", 90.7, "", "later tables", True),
    ]
    return [
        Published("davis", "jf", method, value, encoder, 1, protocol, source, secondary)
        for method, value, encoder, source, secondary in lists
    ]


def _few_shot() -> list[Published]:
    protocol = "HSNet's: IoU pooled per class, mean over classes, mean over folds"
    older = protocol + "; probably an older run with SAM's own encoder"
    rows: list[tuple[str, str, float, str, int, str, bool]] = [
        ("fss", "PerSAM", 81.6, _DINO, 1, PAPER, False),
        ("fss", "PerSAM", 74.9, _SAM_H, 1, PAPER, False),
        ("fss", "PerSAM-F", 86.3, _DINO, 1, PAPER, False),
        ("fss", "PerSAM-F", 79.4, _SAM_H, 1, PAPER, False),
        ("fss", "PerSAM", 82.3, _DINO, 5, PAPER, False),
        ("fss", "PerSAM-F", 89.8, _DINO, 5, PAPER, False),
        ("fss", "SegGPT", 85.6, "", 1, "later tables", True),
        ("fss", "Matcher", 87.0, "DINOv2-L, SAM ViT-H", 1, "Matcher's page", False),
        ("fss", "GF-SAM", 88.0, "DINOv2-L, SAM ViT-H", 1, "ANDYZAQ/GF-SAM", False),
        ("fss", "INSID3", 83.7, "DINOv3-L", 1, "measured by REBASE's authors", True),
        ("lvis92i", "PerSAM", 15.6, _DINO, 1, PAPER, False),
        ("lvis92i", "PerSAM-F", 18.4, _DINO, 1, PAPER, False),
        ("lvis92i", "SegGPT", 18.6, "", 1, "later tables", True),
        ("lvis92i", "Matcher", 33.0, "DINOv2-L, SAM ViT-H", 1, "Matcher's page", False),
        ("lvis92i", "GF-SAM", 35.2, "DINOv2-L, SAM ViT-H", 1, "ANDYZAQ/GF-SAM", False),
        ("lvis92i", "INSID3", 41.8, "DINOv3-L", 1, "visinf/INSID3", False),
        ("coco20i", "PerSAM", 47.9, _DINO, 1, PAPER, False),
        ("coco20i", "PerSAM-F", 50.6, _DINO, 1, PAPER, False),
        ("coco20i", "SegGPT", 56.1, "", 1, "later tables", True),
        ("coco20i", "Matcher", 52.7, "DINOv2-L, SAM ViT-H", 1, "Matcher's page", False),
        ("coco20i", "GF-SAM", 58.7, "DINOv2-L, SAM ViT-H", 1, "ANDYZAQ/GF-SAM", False),
        ("coco20i", "GF-SAM", 66.8, "DINOv2-L, SAM ViT-H", 5, "ANDYZAQ/GF-SAM", False),
        ("coco20i", "INSID3", 57.6, "DINOv3-L", 1, "visinf/INSID3", False),
        ("pascal-part", "PerSAM", 32.5, _DINO, 1, PAPER, False),
        ("pascal-part", "PerSAM-F", 32.9, _DINO, 1, PAPER, False),
        ("pascal-part", "SegGPT", 35.8, "", 1, "later tables", True),
        ("pascal-part", "Matcher", 42.9, "DINOv2-L, SAM ViT-H", 1, "Matcher's page", False),
        ("pascal-part", "GF-SAM", 44.5, "DINOv2-L, SAM ViT-H", 1, "ANDYZAQ/GF-SAM", False),
        ("pascal-part", "INSID3", 50.5, "DINOv3-L", 1, "visinf/INSID3", False),
        ("paco-part", "PerSAM", 22.5, _DINO, 1, PAPER, False),
        ("paco-part", "PerSAM-F", 22.7, _DINO, 1, PAPER, False),
        ("paco-part", "SegGPT", 13.5, "", 1, "later tables", True),
        ("paco-part", "Matcher", 34.7, "DINOv2-L, SAM ViT-H", 1, "Matcher's page", False),
        ("paco-part", "GF-SAM", 36.3, "DINOv2-L, SAM ViT-H", 1, "ANDYZAQ/GF-SAM", False),
        ("paco-part", "INSID3", 38.7, "DINOv3-L", 1, "visinf/INSID3", False),
        ("tokyo-ms4i", "PerSAM", 18.4, _DINO, 1, PAPER, False),
        ("tokyo-ms4i", "PerSAM-F", 25.6, _DINO, 1, PAPER, False),
    ]
    found = [
        Published(data_set, "miou", method, value, encoder, shots, protocol, source, secondary)
        for data_set, method, value, encoder, shots, source, secondary in rows
    ]
    # Two values of the same cell go round; both are printed.
    for data_set, value in (("fss", 71.2), ("coco20i", 23.0)):
        found.append(
            Published(data_set, "miou", "PerSAM", value, _UNSTATED, 1, older, "tables of Matcher, GF-SAM, REBASE", True)
        )
    return found


PUBLISHED: tuple[Published, ...] = (*_perseg(), *_davis(), *_few_shot())
