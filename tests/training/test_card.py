from __future__ import annotations

from pathlib import Path

import pytest
from tests.fakes import SMALL_TINY

from persam.models.identity.network import IdentityNetwork
from persam.models.tiny.architecture import PACKAGED_WEIGHTS, TinySam
from training.card import main


def test_the_card_tells_what_the_weights_tell(tmp_path: Path) -> None:
    history = {
        "photos_seen": 12345,
        "data": {"pets": 3, "voc": 4},
        "runs": [{"photos": 12345, "size": 64, "batch": 4, "lr": 1e-3, "device": "cpu", "minutes": 2.5}],
        "validation": {"size": 64, "score": 0.4, "click_iou": [0.51, 0.4, 0.6, 9]},
    }
    TinySam(SMALL_TINY).save(tmp_path / "w.safetensors", history)
    main(["--weights", str(tmp_path / "w.safetensors"), "--output", str(tmp_path / "card.md")])
    text = (tmp_path / "card.md").read_text()
    assert "12,345 views seen" in text
    assert "7 photos" in text
    assert "| click_iou | 0.510 | 0.400 to 0.600 | 9 |" in text
    assert "AUROC" not in text  # of presence, which was not measured
    assert "{" not in text


def test_the_packaged_card_is_of_the_packaged_weights_and_numbers(tmp_path: Path) -> None:
    main(["--output", str(tmp_path / "card.md")])
    packaged = PACKAGED_WEIGHTS.with_name("MODEL_CARD.md").read_text(encoding="utf-8")
    assert packaged == (tmp_path / "card.md").read_text(encoding="utf-8"), "run python -m training.card"


def test_an_identity_network_that_was_not_validated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = IdentityNetwork()
    network.history = {"runs": [{"cutouts": 1280, "minutes": 2.4}], "data": {}, "held_back": []}
    monkeypatch.setattr(IdentityNetwork, "load", lambda: network)
    main(["--output", str(tmp_path / "card.md")])
    text = (tmp_path / "card.md").read_text()
    assert "1,280 cutouts in 2 minutes" in text
    assert "- not validated" in text
