"""The load test: its figures on numbers that are known, what it says, and a short one against a real service."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import theilslopes
from tests.server.real_service import TOKEN, running_service
from typer.testing import CliRunner

from persam.cli.main import app
from persam.server.load.clients import PROBES, Burst, Load, LoadRequest, LoadTest
from persam.server.load.measure import findings_of, memory_growth, theil_sen
from persam.server.load.setup import CONCEPTS, SIZES, LoadedService, drawn_photos, photos_in, reference_of

ABOUT = {
    "model": "tiny",
    "fingerprint": "f",
    "machine": "a CPU",
    "dtype": "float32",
    "clients": 2,
    "seconds": 60,
    "sent": "9 photos",
}


def asked(kind: str, start: float, seconds: float, **more: object) -> LoadRequest:
    return LoadRequest(kind, start, seconds=seconds, **more)


def load(**changes: object) -> Load:
    """Seen of two clients in ten minutes, who are twice as slow as one, with memory that grows by 60 MB an hour."""
    values: dict[str, object] = {
        "alone": [asked("segment", n, 0.1) for n in range(10)],
        "together": [*(asked("segment", n / 2, 0.2) for n in range(120)), asked("album", 10, 20.0, photos=12)],
        "memory": [(n * 5, 500_000_000 + round(n * 5 * 60e6 / 3600)) for n in range(121)],
        "rounds": [(9.0, 10.0), (9.2, 10.0), (9.4, 10.0)],
        "burst": Burst([asked("segment", 0, 3.0, refused=2) for _ in range(8)], 3.0, 4.0),
    }
    return Load(**(values | changes))  # type: ignore[arg-type]


class TestFigures:
    def test_what_is_told(self) -> None:
        found = findings_of(load(), ABOUT)
        rows = {row["requests"]: row for row in found.rows}
        assert rows["1 client, segment"]["p50_ms"] == pytest.approx(100)
        assert rows["2 clients, segment"]["p95_ms"] == pytest.approx(200)
        assert rows["2 clients, album"]["photos"] == 12
        assert rows["burst of 8"]["refused"] == 16
        assert found.about["throughput"].mean == pytest.approx(0.92)
        assert found.about["throughput"].low <= 0.92 <= found.about["throughput"].high
        assert found.about["memory_growth"]["slope"] == pytest.approx(60, rel=0.01)
        assert found.about["lost"] == found.about["differ"] == 0
        assert found.about["burst"]["recovery_seconds"] == 4.0
        json.dumps(found.to_dict())

    def test_a_table_and_a_picture(self, tmp_path: Path) -> None:
        found = findings_of(load(), ABOUT)
        assert "throughput over that of the bare loop | 0.920" in found.to_markdown()
        found.write(tmp_path)
        with Image.open(tmp_path / "serve.png") as picture:
            assert picture.width > 800

    def test_lost_ones_are_counted_and_named(self) -> None:
        lost = asked("segment", 3.0, 0.1, problem="status 500: {}")
        found = findings_of(load(together=[asked("segment", 0, 0.1), lost]), ABOUT)
        assert found.about["lost"] == 1
        assert any("status 500" in note for note in found.notes)
        assert [row["lost"] for row in found.rows] == [0, 1, 0]

    def test_memory_of_a_service_elsewhere_is_not_known(self) -> None:
        found = findings_of(load(memory=[], burst=None), ABOUT)
        assert found.about["memory_growth"] is None
        assert "growth" not in found.to_markdown().split("|")

    @given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=12))
    def test_slope_is_that_of_scipy(self, values: list[float]) -> None:
        x = np.arange(len(values), dtype=float)
        assert theil_sen(x, np.array(values)) == pytest.approx(theilslopes(values, x).slope)

    def test_peaks_are_no_growth(self) -> None:
        memory = [(float(n), 500_000_000 + (200_000_000 if n % 10 == 0 else 0)) for n in range(400)]
        growth = memory_growth(memory)
        assert growth is not None
        assert growth["slope"] == 0

    def test_a_short_time_tells_no_growth(self) -> None:
        growth = memory_growth([(float(n), 500_000_000 + 1_000_000 * n) for n in range(60)])
        assert growth is not None
        assert (growth["slope"], growth["last"]) == (None, pytest.approx(557, abs=1))
        assert memory_growth([(0.0, 5)] * 3) is None


class TestPhotos:
    def test_drawn(self) -> None:
        photos = drawn_photos(4)
        sizes = [Image.open(io.BytesIO(each.data)).size for each in photos]
        assert sizes == list(SIZES)
        assert [each.concepts for each in photos] == [CONCEPTS[:1], CONCEPTS[:1], CONCEPTS, CONCEPTS[:1]]
        assert photos[:1] == drawn_photos(1)

    def test_reference(self) -> None:
        photo, mask = (Image.open(io.BytesIO(each)) for each in reference_of(1))
        assert photo.size == mask.size
        assert 0.05 < np.asarray(mask).mean() < 0.3

    def test_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(reference_of(0)[0])
        (tmp_path / "b.txt").write_text("no photo")
        assert [each.name for each in photos_in(tmp_path, 5)] == ["000-a.png"]

    def test_photos_of_one_name_are_told_apart(self, tmp_path: Path) -> None:
        for disc, name in enumerate(("one", "other")):
            (tmp_path / name).mkdir()
            (tmp_path / name / "a.png").write_bytes(reference_of(disc)[0])
        found = photos_in(tmp_path, 5)
        assert len({each.name for each in found}) == len({each.data for each in found}) == 2


class TestBurst:
    def test_a_request_that_fails_at_once_is_lost_and_not_quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        test = LoadTest(LoadedService("http://127.0.0.1:9"), drawn_photos(1), clients=1, seconds=1)
        monkeypatch.setattr("persam.server.load.clients.PATIENCE", 0.3)
        over = SimpleNamespace(done=lambda: True)
        assert test._recovery(test.photos[0], 10.0, [over]) is None  # type: ignore[list-item]
        assert len(test.load.lost) > PROBES
        assert "ConnectError" in str(test.load.lost[0].problem)


class TestCommand:
    @pytest.mark.parametrize(
        ("arguments", "code", "said"),
        [
            (["--url", "somewhere"], 2, "--url takes the address of a service"),
            (["--photos", "{tmp}"], 1, "has no photos"),
            (["--photos", "{tmp}/none"], 1, "has no photos"),
            (["--photos", "{tmp}/damaged"], 1, "b.png"),
        ],
    )
    def test_mistakes(self, tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
        if "damaged" in arguments[-1]:
            (tmp_path / "damaged").mkdir()
            (tmp_path / "damaged" / "b.png").write_bytes(reference_of(0)[0][:1000])
        words = [each.format(tmp=tmp_path) for each in arguments]
        result = CliRunner().invoke(app, ["bench", "serve", *words])
        assert result.exit_code == code
        assert said in result.stderr
        assert "Traceback" not in result.output

    @pytest.mark.slow
    def test_a_short_one(self, tmp_path: Path) -> None:
        """Nothing is lost, all that is wanted is told, and the service has what it was taught."""
        with running_service(tmp_path) as service:
            arguments = ["bench", "serve", "--url", service.url, "--seconds", "5", "--clients", "3", "--json"]
            result = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "out")], env={"PERSAM_TOKEN": TOKEN})
            assert result.exit_code == 0, result.output
            found = json.loads(result.stdout)
            assert found["lost"] == found["differ"] == 0
            assert found["burst"]["refusals"] > 0
            assert found["burst"]["without_retry_after"] == 0
            assert found["burst"]["recovery_seconds"] is not None
            assert {each.name for each in (tmp_path / "out").iterdir()} >= {"metrics.json", "table.md", "serve.png"}
            with service.client() as client:
                assert {each["name"] for each in client.get("/v1/concepts").json()} >= set(CONCEPTS)

    def test_a_service_that_is_not_there(self) -> None:
        result = CliRunner().invoke(app, ["bench", "serve", "--url", "http://127.0.0.1:9", "--seconds", "1"])
        assert result.exit_code == 1
        assert "no service at http://127.0.0.1:9" in result.stderr
