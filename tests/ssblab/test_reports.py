"""The page of a run, read as a browser and as a reader would."""

import ast
import math
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray

from ssblab.catalog import RunData
from ssblab.cli.arguments import Call
from ssblab.quantities import BadInput
from ssblab.reports import write_picture, write_report
from ssblab.reports.text import duration, moment, rounded
from ssblab.results import figures_of_merit
from ssblab.station import load_station

BEGIN_S = 1.7e9
FIGURES = "plans.moisture_figures:figures_of_merit"
HOSTILE = "<script>alert('$x$ & \"y\"')</script>"
STREAMS = (
    "impedance_before", "conditioning", "zero", "exposure", "purge",
    "impedance_after", "heating", "impedance_heated", "safe_state",
)  # fmt: skip


class Page(HTMLParser):
    """What a browser makes of a page: its tags, ids, references and text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]


def stream(begin_s: float, period_s: float, **columns: tuple[Any, str]) -> xarray.Dataset:
    """Make a stream of columns given as values (one, or one for each event) and unit."""
    count = max(np.size(values) for values, _ in columns.values())
    times = BEGIN_S + begin_s + period_s * np.arange(count)
    data = {
        key: ("time", np.broadcast_to(values, count), {"units": unit})
        for key, (values, unit) in columns.items()
    }
    return xarray.Dataset(data, coords={"time": ("time", times, {"units": "s"})})


def spectrum(begin_s: float, resistance_ohm: float) -> xarray.Dataset:
    frequency_Hz = np.geomspace(2e5, 1, 54)
    omega = 2 * np.pi * frequency_Hz
    z_ohm = 20 + (resistance_ohm - 20) / (1 + (1j * omega * 1e-5) ** 0.9) + 1 / (2e-5 * (1j * omega) ** 0.95)
    z_ohm *= 1 + 1e-3 * np.random.default_rng(1).standard_normal(len(omega))
    return stream(
        begin_s,
        1.0,
        cell_frequency=(frequency_Hz, "Hz"),
        cell_z_real=(z_ohm.real, "ohm"),
        cell_z_imag=(z_ohm.imag, "ohm"),
        cell_status=("ok", ""),
    )


def gas(begin_s: float, count: int, h2s_ppb: Any, **columns: tuple[Any, str]) -> xarray.Dataset:
    wave = np.sin(np.arange(count))
    columns = {
        "sensor_concentration": (h2s_ppb + wave, "ppb"),
        "sensor_quality": (np.where(np.arange(count) == 5, "invalid", "ok"), ""),
        "glovebox_dew_point": (-20 + 0.3 * wave, "degC"),
        "alicat_flow": (500.0, "mL/min"),
        **columns,
    }
    return stream(begin_s, 10.0, **columns)


def moisture_run(upto: str = "safe_state", **start: Any) -> RunData:
    """Make a moisture exposure of a station with device names of its own, that got as far as a stream."""
    ramp = np.linspace(0, 1, 60)
    streams = {
        "impedance_before": spectrum(0, 40.0),
        "conditioning": gas(100, 40, 10.0, glovebox_dew_point=(np.linspace(10, -20, 40), "degC")),
        "zero": gas(500, 30, 10.0),
        "exposure": gas(800, 120, 1000 + 2000 * np.exp(-np.arange(120) / 30)),
        "purge": gas(2000, 60, 10 + 1000 * np.exp(-np.arange(60) / 3)),
        "impedance_after": spectrum(2700, 52.0),
        "heating": stream(
            2800,
            30.0,
            oven_temperature=(30 + 140 * ramp, "degC"),
            pirani_pressure=(1e5 * np.exp(-10 * ramp), "Pa"),
        ),
        "impedance_heated": spectrum(5000, 45.0),
        "safe_state": safe_state(5, 5, ""),
    }
    recorded = {name: streams[name] for name in STREAMS[: STREAMS.index(upto) + 1]} | {
        "safe_state": streams["safe_state"]
    }
    roles = (
        ("box", "glovebox"),
        ("vessel", "vessel"),
        ("mfc", "alicat"),
        ("h2s", "sensor"),
        ("furnace", "oven"),
    )
    document = {
        "uid": "f89bb645-13b3-4c45-accc-a1330c6ca0f6",
        "time": BEGIN_S,
        "station": "sim",
        "versions": {"ssblab": "0.1.0"},
        "time_kind": "VirtualClock",
        "plan_name": "moisture_exposure",
        "sample": {
            **load_station("sim").samples["argyrodite-01"].metadata(),
            "note": HOSTILE,
        },
        "arguments": {
            "dew_point": "-20 degC",
            "exposure": "1200 s",
            "vacuum": "20 Pa",
            "measure_at": "30 degC",
        },
        "devices": {**dict(roles), "gauge": "pirani", "potentiostat": "cell"},
        "figures_of_merit": FIGURES,
        "h2s_relative_accuracy": 0.15,
        "dew_point_accuracy_K": 2.0,
        "dew_point_tolerance_K": 2.0,
        "purge_flow_mL_min": 500.0,
        **start,
    }
    stop = {"time": BEGIN_S + 14528.2, "exit_status": "success", "reason": ""}
    return RunData(document, stop, recorded)


def without_spectra(run: RunData) -> RunData:
    """Leave out what takes long to fit."""
    kept = {name: dataset for name, dataset in run.streams.items() if not name.startswith("impedance")}
    return RunData(run.start, run.stop, kept)


def safe_state(steps: int, confirmed: int, problem: str) -> xarray.Dataset:
    return stream(
        5100,
        1.0,
        safe_state_steps=(steps, "1"),
        safe_state_confirmed=(confirmed, "1"),
        safe_state_problem=(problem, ""),
    )


def count_run(**start: Any) -> RunData:
    """Make a run of a plan that is none of ours, with names that nobody would choose in good faith."""
    columns: dict[str, Any] = {
        "det": ([1.0, math.nan, 3.0], "degC"),
        f"det_{HOSTILE}": ([1, 2, 3], "$"),
        "shutter": ([True, False, True], ""),
        "label": (["a", "b", "c"], ""),
    }
    document = {"uid": "0", "time": BEGIN_S, "plan_name": "count", "plan_args": {"num": 3}, **start}
    stop = {"time": BEGIN_S + 3.0, "exit_status": "success", "reason": ""}
    image = xarray.Dataset({"camera": (("time", "y", "x"), np.zeros((1, 2, 2)))}, coords={"time": [BEGIN_S]})
    return RunData(
        document,
        stop,
        {"primary": stream(0, 1.5, **columns), "baseline": stream(0, 1, det=(1.0, "")), "image": image},
    )


@pytest.fixture
def page_of(tmp_path: Path) -> Callable[[RunData], Page]:
    return lambda run: Page(write_report(run, tmp_path / "page.html"))


@pytest.fixture(scope="module")
def whole_page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of an exposure that went well."""
    return Page(write_report(moisture_run(), tmp_path_factory.mktemp("report") / "page.html"))


# ----------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("value", "uncertainty", "text"),
    [
        pytest.param(0.5211791829, 0.003164987, "0.5212 ± 0.0032", id="below-one"),
        pytest.param(1234.56, 12.3, "1235 ± 12", id="integers"),
        pytest.param(-20.04, 0.15, "−20.04 ± 0.15", id="negative"),
        pytest.param(5.314856e-9, 4.618e-10, "(5.31 ± 0.46) × 10⁻⁹", id="small"),
        pytest.param(1234567.0, 8900.0, "(1.2346 ± 0.0089) × 10⁶", id="large"),
        pytest.param(123456.0, 789.0, "(1.2346 ± 0.0079) × 10⁵", id="no-digits-that-are-not-known"),
        pytest.param(1.0, 0.0996, "1.00 ± 0.10", id="uncertainty-rounds-up-a-place"),
        pytest.param(9.996, 0.05, "9.996 ± 0.050", id="keeps-zeros"),
        pytest.param(0.1697, 1.1337, "0.2 ± 1.1", id="uncertainty-above-value"),
        pytest.param(0.0, 0.02, "0.000 ± 0.020", id="zero"),
        pytest.param(np.float64(0.25), np.float64(0.012), "0.250 ± 0.012", id="numpy"),
        pytest.param(1e9, 1e-3, "(1.0000000000000 ± 0.0000000000010) × 10⁹", id="very-exact"),
        pytest.param(0.00226715679, None, "0.0022672", id="without-uncertainty"),
        pytest.param(2.5e-12, None, "2.5 × 10⁻¹²", id="small-without-uncertainty"),
        pytest.param(1200.0, 0.0, "1200 ± 0", id="exact"),
        pytest.param(1.5, math.nan, "1.5 ± unknown", id="uncertainty-unknown"),
        pytest.param(math.nan, math.nan, "not determined", id="nan"),
        pytest.param(math.inf, 1.0, "not determined", id="infinite"),
    ],
)
def test_a_value_is_rounded_to_two_digits_of_its_uncertainty(
    value: float, uncertainty: float | None, text: str
) -> None:
    assert rounded(value, uncertainty) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0.4 s"), (60, "1 min"), (14528.2, "4 h 2 min 8 s"), (90000, "1 d 1 h")]
)
def test_a_duration_is_read_at_a_glance(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_times_are_utc() -> None:
    assert moment(0.0) == "1970-01-01T00:00:00Z"


# ----------------------------------------------------------------------------------------- the whole page


def test_a_page_is_one_file_that_asks_for_nothing(
    whole_page: Page, page_of: Callable[[RunData], Page]
) -> None:
    for page in (whole_page, page_of(count_run())):
        assert not re.search(r"https?://", page.source)
        assert not page.tags.keys() & {"script", "link", "img", "iframe", "object"}
        assert not page.values("src")
        references = [*page.values("href"), *page.values("xlink:href")]
        assert all(reference.startswith("#") for reference in references)
        assert all(name.startswith("#") for name in re.findall(r"url\((.*?)\)", page.source))


def test_ids_are_unique_and_every_reference_has_its_target(whole_page: Page) -> None:
    ids = Counter(whole_page.values("id"))
    assert max(ids.values()) == 1
    wanted = {word for label in whole_page.values("aria-labelledby") for word in label.split()}
    wanted |= {reference[1:] for reference in whole_page.values("xlink:href")}
    wanted |= set(re.findall(r"url\(#(.*?)\)", whole_page.source))
    assert wanted <= ids.keys()


def test_a_page_tells_what_on_what_when_and_how_it_ended(whole_page: Page) -> None:
    assert "moisture_exposure on argyrodite-01" in whole_page.text
    assert "Expose a pellet to moist air" in whole_page.text
    assert "Exit status: success" in whole_page.text
    assert "Safe state: confirmed – 5 of 5 steps confirmed" in whole_page.text
    assert {"2023-11-14T22:13:20Z", "2023-11-15T02:15:28Z"} <= set(whole_page.values("datetime"))
    assert "4 h 2 min 8 s of laboratory time, which was simulated" in whole_page.text
    assert whole_page.values("lang") == ["en"]


def test_every_result_stands_on_the_page_with_value_and_definition(whole_page: Page) -> None:
    results = figures_of_merit(moisture_run())
    assert len(results) > 10
    for value in results.values():
        assert value.name in whole_page.text
        assert " ".join(value.definition.split()) in whole_page.text
        assert rounded(value.value, value.uncertainty) in whole_page.text


def test_pictures_have_captions_and_text_that_is_text(whole_page: Page) -> None:
    assert whole_page.tags["svg"] == whole_page.tags["figure"] == whole_page.tags["figcaption"] == 4
    for label in ("Z′ / Ω", "−Z″ / Ω", "H₂S / ppb", "dew point / °C", "temperature / °C", "pressure / Pa"):
        assert label in whole_page.text
    assert "set point −20 °C ± 2 K" in whole_page.text
    assert "1 of 120" not in whole_page.text
    assert "2 of 180 H₂S readings, not called sound by the instrument, left out" in whole_page.text
    assert re.search(r"after exposure: R = 5\d\.\d+ ± 0\.\d+ Ω", whole_page.text)


def test_streams_are_listed_with_their_period(whole_page: Page) -> None:
    assert "exposure 120 2023-11-14T22:26:40Z 2023-11-14T22:46:30Z 10 s" in whole_page.text


@pytest.mark.parametrize(
    "start",
    [
        pytest.param({}, id="note-of-the-sample"),
        pytest.param({"operator": HOSTILE, HOSTILE: 1}, id="metadata"),
        pytest.param({"plan_name": HOSTILE, "station": HOSTILE}, id="plan-and-station"),
        pytest.param({"arguments": {"dew_point": "-20 degC", HOSTILE: HOSTILE}}, id="arguments"),
        pytest.param({"arguments": {"dew_point": "-20 degC", "vacuum": HOSTILE}}, id="message-of-an-error"),
    ],
)
def test_what_the_laboratory_wrote_is_text_and_nothing_else(
    start: dict[str, Any], page_of: Callable[[RunData], Page]
) -> None:
    page = page_of(without_spectra(moisture_run(**start)))
    assert page.tags["script"] == 0
    assert HOSTILE in page.text


# ---------------------------------------------------------------------------------- runs that went wrong


def test_a_run_aborted_during_exposure_gets_a_page_of_what_there_is(
    page_of: Callable[[RunData], Page],
) -> None:
    run = moisture_run("exposure")
    run.stop.update(exit_status="abort", reason="interrupted by SIGINT")
    page = page_of(run)
    assert "Exit status: abort – interrupted by SIGINT" in page.text
    assert page.tags["svg"] == 3
    assert "conductivity_before" in page.text
    assert "conductivity_after" not in page.text
    assert "results that need what was not recorded are missing" in page.text


def test_a_spectrum_broken_off_is_drawn_without_a_fit(page_of: Callable[[RunData], Page]) -> None:
    run = moisture_run("impedance_after")
    run.streams["impedance_after"] = run.streams["impedance_after"].isel(time=slice(0, 5))
    page = page_of(run)
    assert "before: R = " in page.text
    assert "after exposure: R" not in page.text
    assert "after exposure" in page.text


def test_a_spectrum_with_inductive_leads_shows_its_arc(page_of: Callable[[RunData], Page]) -> None:
    run = moisture_run("impedance_before")
    leads = run.streams["impedance_before"]
    leads["cell_z_imag"] = leads["cell_z_imag"] + 6e-5 * leads["cell_frequency"]
    outside = re.search(r"(\d+) of 54, most of them", page_of(run).text)
    assert outside is not None
    assert int(outside[1]) < 30


def test_a_run_without_end_says_so(page_of: Callable[[RunData], Page]) -> None:
    run = moisture_run("conditioning")
    run.stop.clear()
    del run.streams["safe_state"]
    page = page_of(run)
    assert "Exit status: open – The run has no end" in page.text
    assert "Safe state: not recorded" in page.text


def test_a_run_without_any_data_gets_a_page(page_of: Callable[[RunData], Page]) -> None:
    page = page_of(RunData({"uid": "0", "time": BEGIN_S}, {}))
    assert "Nothing was recorded that could be drawn." in page.text


def test_a_safe_state_that_is_not_confirmed_is_told_with_its_problem(
    page_of: Callable[[RunData], Page],
) -> None:
    run = without_spectra(moisture_run())
    run.streams["safe_state"] = safe_state(5, 4, "furnace: no answer")
    page = page_of(run)
    assert "Safe state: not confirmed – 4 of 5 steps confirmed: furnace: no answer" in page.text
    assert "status bad" in page.values("class")


@pytest.mark.parametrize(
    ("run", "why"),
    [
        pytest.param(count_run(), "This plan has no figures of merit.", id="plan-without"),
        pytest.param(
            count_run(figures_of_merit="os:system"),
            "could not be computed: ValueError: run 0",
            id="no-function",
        ),
        pytest.param(
            count_run(figures_of_merit=FIGURES, sample={}),
            "is not enough for any figure",
            id="too-little",
        ),
    ],
)
def test_why_there_are_no_results_is_said(run: RunData, why: str, page_of: Callable[[RunData], Page]) -> None:
    assert why in page_of(run).text


def test_a_picture_that_fails_does_not_cost_the_page(page_of: Callable[[RunData], Page]) -> None:
    run = without_spectra(moisture_run(arguments={"dew_point": "-20 degC", "vacuum": "low"}))
    page = page_of(run)
    assert "This picture could not be drawn: vacuum='low'" in page.text
    assert page.tags["svg"] == 2


# ------------------------------------------------------------------------------------------- other plans


def test_a_run_of_any_plan_gets_its_columns_against_time(page_of: Callable[[RunData], Page]) -> None:
    page = page_of(count_run())
    assert "count" in page.text
    assert "Take one or more readings from detectors." in page.text
    assert page.tags["svg"] == 2
    for title in ("det / °C", f"det_{HOSTILE} / $", "shutter"):
        assert title in page.text
    assert "Not drawn: label." in page.text
    assert page.tags["script"] == 0
    assert "no command can be given" in page.text


def test_a_long_record_keeps_its_peak_and_makes_no_heavy_page(page_of: Callable[[RunData], Page]) -> None:
    values = np.random.default_rng(1).standard_normal(200_000)
    values[123_456] = 1e6
    run = count_run()
    run.streams.clear()
    run.streams["primary"] = stream(0, 1.0, det=(values, "V"))
    page = page_of(run)
    assert len(page.source) < 300_000
    assert "1e6" in page.text


# -------------------------------------------------------------------------------------------- repeating it


def test_the_command_on_the_page_is_one_that_ssblab_takes(page_of: Callable[[RunData], Page]) -> None:
    devices = {"box": "box", "h2s": "h2s"}
    page = page_of(without_spectra(moisture_run(devices=devices)))
    line = re.search(r"ssblab run .*? --station sim", page.text)
    assert line is not None
    program, command, plan, *words = shlex.split(line[0])
    assert (program, command, words[-2:]) == ("ssblab", "run", ["--station", "sim"])
    assert {"sample=argyrodite-01", "dew_point=-20 degC", "box=box"} <= set(words)
    Call(plan, words[:-2], load_station("sim"))


def test_the_lines_for_ipython_are_python(whole_page: Page) -> None:
    lines = re.search(r"s\.run\(moisture_exposure\(.*?\)\)", whole_page.text)
    assert lines is not None
    call = ast.parse(lines[0], mode="eval").body
    assert isinstance(call, ast.Call)
    assert "sample=s.samples['argyrodite-01'], dew_point='-20 degC'" in lines[0]


# ------------------------------------------------------------------------------------------------ pictures


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    path = write_picture(moisture_run(), tmp_path / "picture.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_picture_needs_an_exposure(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="H₂S and dew point"):
        write_picture(moisture_run("zero"), tmp_path / "picture.png")
    assert not list(tmp_path.iterdir())


def test_matplotlib_comes_with_the_first_picture_and_pyplot_never(tmp_path: Path) -> None:
    program = f"""
import sys
import ssblab.reports
from ssblab.catalog import RunData
assert "matplotlib" not in sys.modules
import numpy, pathlib, xarray
data = xarray.Dataset({{"a": ("time", [1.0, 2.0])}}, coords={{"time": [0.0, 1.0]}})
run = RunData({{"uid": "0", "time": 0.0}}, {{}}, {{"primary": data}})
ssblab.reports.write_report(run, pathlib.Path({str(tmp_path / "page.html")!r}))
assert "matplotlib" in sys.modules
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
