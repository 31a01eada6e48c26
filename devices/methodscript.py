"""MethodSCRIPT, the language of PalmSens potentiostats: scripts for all techniques, and their output.

Sources: MethodSCRIPT manual 1.8; PalmSens's own examples (MethodSCRIPT_Examples: package format, status bits,
current ranges, a script for each measurement loop) and SDK (error codes, grammar, the script
battery_cycling with its limits in the loop). The limits of the models are those of the manual's appendix B as
quoted by public clients. Those of the Nexus are the maker's headline figures (10 V, 1 A, 1 MHz) and the table
of ranges of MethodSCRIPT_Examples, whose scripts of 2025 apply to EmStat4 and Nexus alike: mode 3 with a
bandwidth of 1 MHz for spectra, mode 6 as galvanostat. Lines end with LF; the instrument echoes the first
character of a command; the output of a script ends with an empty line.

A positive current oxidises at the working electrode. With the cell's positive at the working electrode it
charges the cell: battery_cycling charges with a positive current until the upper potential is reached.

A package holds 28 bits of each value: the timer counts in microseconds for 134 s, then in milliseconds for
37 h, then in seconds.

Not verified: the shortest interval (we take what the line can carry); from which interval on the current
range may change by itself (we take 0.05 s); the largest alternating voltage of the Nexus (we take that of the
EmStat4).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Literal

from devices.families.techniques import (
    ConstantCurrent,
    ConstantPotential,
    CyclicVoltammetry,
    GalvanostaticImpedanceSweep,
    ImpedanceSweep,
    LinearSweep,
    OpenCircuit,
    Technique,
)
from ssblab.links import Framing, ProtocolError, Refusal, line

__all__ = [
    "MODELS",
    "Model",
    "Output",
    "Variable",
    "abort_acknowledged",
    "cell_off_script",
    "decode_finished",
    "decode_firmware",
    "decode_output",
    "decode_package",
    "decode_potential",
    "decode_serial",
    "decode_started",
    "decode_value",
    "encode_literal",
    "encode_script",
    "error_text",
    "potential_script",
    "script_ended",
    "script_output",
    "technique_script",
]

_OFFSET = 1 << 27
_LONGEST_LINE = 255
_DIGITS = 7
_PREFIXES = {
    "a": -18, "f": -15, "p": -12, "n": -9, "u": -6, "m": -3, " ": 0, "i": 0,
    "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18,
}  # fmt: skip
_LITERAL_PREFIXES = ("E", "P", "T", "G", "M", "k", "", "m", "u", "n", "p", "f", "a")
_VALUE = re.compile(r"[0-9A-F]{7}[afpnum ikMGTPE]")
_VARIABLE = re.compile(r"([a-z]{2})(.{8})((?:,[^,;]*)*)")
_ERROR = re.compile(rb"([A-Za-z]?)!([0-9A-F]{4})(?:: ?Line ?(\d+)(?:, ?Col ?(\d+))?)?\n")
_ERROR_AHEAD = re.compile(rb"(?m)^[A-Za-z]?![0-9A-F]{4}[^\n]*\n\n?")
_ABORTED = re.compile(rb"(?m)^Z(?:![0-9A-F]{4})?\n")
_FIRMWARE = re.compile(rb"t([a-z0-9_]{6})(\d{2,4})#[^\n]*\n[A-Z]\*\n")
_SERIAL = re.compile(rb"i(\S+)\n")
_OVERLOAD = 2  # bit of the status; 8, the overload warning, leaves a good reading

_CELL_IS_ON = 0x0014
_ERRORS = {
    0x0002: "unknown type of variable",
    0x0003: "unknown command",
    0x0004: "unknown register",
    0x0006: "not possible now: a script runs, or none",
    0x0007: "unexpected value of an argument",
    0x0008: "line too long",
    0x0009: "timeout",
    0x000F: "potential not allowed",
    0x0010: "a variable became nan or infinite",
    0x0011: "frequency not allowed",
    0x0012: "amplitude not allowed",
    _CELL_IS_ON: "no open-circuit measurement while the cell is on",
    0x001B: "not supported by this instrument",
    0x001F: "technique not licensed",
    0x0021: "unknown potentiostat mode",
    0x0023: "not allowed in this potentiostat mode",
    0x0032: "critical overload of the cell, measurement ended to prevent damage",
    0x0052: "bytes lost on the serial line",
    0x005A: "the timing asked for can't be met",
    0x0080: "the counter electrode oscillates",
    0x4001: "unknown script command",
    0x4004: "unexpected character",
    0x4005: "script too long",
    0x400B: "measurement loop in a measurement loop",
    0x4018: "unexpected end of the script",
    0x401B: "package commands in the wrong order",
    0x4026: "variable declared twice",
    0x4027: "needs the cell to be on",
    0x4028: "needs the cell to be off",
    0x4039: "malformed number",
    0x4200: "argument must not be negative",
    0x4201: "argument must not be positive",
    0x4202: "argument must not be zero",
    0x4203: "argument must be negative",
    0x4204: "argument must be positive",
    0x4205: "argument out of bounds",
    0x4206: "argument not possible on this instrument",
    0x420B: "variable not declared",
    0x7FFF: "fatal error, switch the instrument off and on",
}


@dataclass(frozen=True)
class _Mode:
    """A mode of the potentiostat: its number in a script, its potentials, and its bandwidth."""

    number: int
    low_V: float
    high_V: float
    window_V: float
    bandwidth_Hz: float


@dataclass(frozen=True)
class Model:
    """What a model can do.

    Attributes
    ----------
    name : str
        On the name plate.
    potential_V : tuple of float
        Lowest and highest.
    frequency_Hz : tuple of float
        Of impedance spectra.
    amplitude_V : float
        Largest alternating voltage, rms.
    current_A : tuple of float
        Full scale of the smallest current range, and the largest current.
    current_ranges : dict
        Index in the metadata of a package -> what users call it.
    modes : tuple
        In the order of preference; a spectrum needs the first.
    galvanostat : bool
        Whether it can control a current.
    shortest_interval_s : float
        Between readings of a course: what the line carries at 60 bytes a reading.
    """

    name: str
    potential_V: tuple[float, float]
    frequency_Hz: tuple[float, float]
    amplitude_V: float
    current_A: tuple[float, float]
    current_ranges: dict[int, str]
    modes: tuple[_Mode, ...]
    galvanostat: bool
    shortest_interval_s: float

    def mode(self, low_V: float, high_V: float, bandwidth_Hz: float) -> int:
        """Number of the mode that can apply all potentials of a technique.

        Raises
        ------
        ValueError
            If none can.
        """
        for mode in self.modes:
            fits = mode.low_V <= low_V and high_V <= mode.high_V and high_V - low_V <= mode.window_V
            if fits and bandwidth_Hz <= mode.bandwidth_Hz:
                return mode.number
        raise ValueError(
            f"the {self.name} can't apply {low_V:g} to {high_V:g} V at a bandwidth of {bandwidth_Hz:.3g} Hz"
        )


def _one_mode(
    name: str,
    potential_V: float,
    current_A: tuple[float, float],
    ranges: dict[int, str],
    highest_Hz: float = 200e3,
) -> Model:
    mode = _Mode(3, -potential_V, potential_V, 2.0 * potential_V, highest_Hz)
    return Model(
        name,
        (-potential_V, potential_V),
        (_LOWEST_Hz, highest_Hz),
        0.9,
        current_A,
        ranges,
        (mode,),
        galvanostat=True,
        shortest_interval_s=1e-3,
    )


_EMSTAT4_RANGES = {
    3: "1 nA", 6: "10 nA", 9: "100 nA", 12: "1 uA", 15: "10 uA", 18: "100 uA", 21: "1 mA", 24: "10 mA",
    27: "100 mA",
}  # fmt: skip
_PICO_RANGES = {
    0: "100 nA", 1: "2 uA", 2: "4 uA", 3: "8 uA", 4: "16 uA", 5: "32 uA", 6: "63 uA", 7: "125 uA",
    8: "250 uA", 9: "500 uA", 10: "1 mA", 11: "5 mA",
    128: "100 nA", 129: "1 uA", 130: "6 uA", 131: "13 uA", 132: "25 uA", 133: "50 uA", 134: "100 uA",
    135: "200 uA", 136: "1 mA", 137: "5 mA",
}  # fmt: skip
# Two circuits measure 1 mA and 10 mA, a transimpedance amplifier (tia) and a shunt. From 32 on: galvanostat.
_NEXUS_RANGES = {
    16: "100 pA", 0: "1 nA", 1: "10 nA", 2: "100 nA", 3: "1 uA", 4: "10 uA", 5: "100 uA", 6: "1 mA (tia)",
    7: "10 mA (tia)", 8: "1 mA", 9: "10 mA", 10: "100 mA", 11: "1 A",
    32: "1 nA", 33: "10 nA", 34: "100 nA", 35: "1 uA", 36: "10 uA", 37: "100 uA", 38: "1 mA (tia)",
    39: "10 mA (tia)", 40: "1 mA", 41: "10 mA", 42: "100 mA", 43: "1 A",
}  # fmt: skip
_LOWEST_Hz = 1e-3  # no public figure: the lowest frequency that is worth waiting for

#: By the type that an instrument tells.
MODELS = {
    "es4_hr": _one_mode("EmStat4 HR", 6.0, (100e-9, 100e-3), _EMSTAT4_RANGES),
    "es4_lr": _one_mode("EmStat4 LR", 3.0, (1e-9, 10e-3), _EMSTAT4_RANGES),
    "nexus1": _one_mode("Nexus", 10.0, (100e-12, 1.0), _NEXUS_RANGES, highest_Hz=1e6),
    "espico": Model(
        "EmStat Pico",
        (-1.7, 2.0),
        (_LOWEST_Hz, 200e3),
        0.429,
        (100e-9, 3e-3),
        _PICO_RANGES,
        (
            _Mode(3, -1.7, 2.0, 1.214, 200e3),
            _Mode(2, -1.25, 2.0, 2.2, 100.0),
            _Mode(4, -1.7, 2.0, 2.6, 100.0),
        ),
        galvanostat=False,
        shortest_interval_s=3e-3,
    ),
}


@dataclass(frozen=True)
class Variable:
    """One value of a package.

    Attributes
    ----------
    type : str
        Two letters: "dc" frequency, "cc" and "cd" impedance, "ab" potential, "eb" time.
    value : float
        In SI units; nan where the instrument has none.
    status : int
        Bits: 1 timing not met, 2 overload, 4 underload, 8 close to overload.
    range : int or None
        Index of the range.
    """

    type: str
    value: float
    status: int = 0
    range: int | None = None

    @property
    def saturated(self) -> bool:
        """Whether the value is beyond its range."""
        return bool(self.status & _OVERLOAD)


@dataclass(frozen=True)
class Output:
    """One line that a running script sends.

    Attributes
    ----------
    kind : {"package", "loop", "loop end", "scope", "text", "end"}
        "end" is the empty line after the script; "scope" begins or ends a scan or a plain loop.
    variables : tuple of Variable
        Of a package.
    text : str
        Of a `send_string`; the technique's number for a loop.
    """

    kind: Literal["package", "loop", "loop end", "scope", "text", "end"]
    variables: tuple[Variable, ...] = ()
    text: str = ""


def encode_literal(value: float) -> str:
    """Write a number as MethodSCRIPT does: an integer with an SI prefix, rounded to seven digits.

    Raises
    ------
    ValueError
        If the number is not finite, or too large or too small for the prefixes.
    """
    if not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    if value == 0:
        return "0"
    exact = Decimal(f"{value:.{_DIGITS - 1}e}")
    for prefix in _LITERAL_PREFIXES:
        scaled = exact.scaleb(-_PREFIXES[prefix or " "])
        if scaled == scaled.to_integral_value():
            if abs(scaled) >= 1 << 31:
                break
            return f"{int(scaled)}{prefix}"
    raise ValueError(f"{value!r} does not fit a MethodSCRIPT number")


def encode_script(lines: Sequence[str]) -> bytes:
    """Command that loads and runs a script.

    Raises
    ------
    ValueError
        If a line is empty, which would end the script, or longer than 255 characters.
    """
    for text in lines:
        if not text.strip() or len(text) > _LONGEST_LINE or "\n" in text or not text.isascii():
            raise ValueError(f"no line of a script: {text[:80]!r}")
    return ("e\n" + "".join(f"{text}\n" for text in lines) + "\n").encode("ascii")


def technique_script(task: Technique, model: Model) -> list[str]:
    """Script of a technique, with its limits in it; one package for each point or reading.

    The packages of a spectrum hold time, frequency and impedance, those of a course a count, time, potential
    and current. Where a limit is met that the technique does not end with, the script says which, in a
    string, and ends.

    Raises
    ------
    ValueError
        If the model can't do that.
    """
    match task:
        case ImpedanceSweep():
            return _impedance_script(task, model)
        case GalvanostaticImpedanceSweep():
            return _galvanostatic_impedance_script(task, model)
        case OpenCircuit():
            loop = _loop("meas_loop_ocp p", task.interval_s, task.duration_s)
            return _course_script(_open_circuit_setup(model, task.interval_s), loop, "p")
        case ConstantCurrent():
            loop = _loop("meas_loop_cp p i", task.current_A, task.interval_s, task.duration_s)
            return _course_script(_galvanostat_setup(task, model), loop, "pi", _window_tests("p", task))
        case ConstantPotential():
            loop = _loop("meas_loop_ca p i", task.potential_V, task.interval_s, task.duration_s)
            levels_V: tuple[float, ...] = (task.potential_V,)
        case LinearSweep():
            levels_V = (task.start_V, task.end_V)
            loop = _loop("meas_loop_lsv p i", *levels_V, task.step_V, task.rate_V_s)
        case CyclicVoltammetry():
            levels_V = (task.start_V, task.vertex_1_V, task.vertex_2_V)
            loop = _loop("meas_loop_cv p i", *levels_V, task.step_V, task.rate_V_s)
            loop += f" nscans({int(task.cycles)})"
    end_A = task.end_current_A if isinstance(task, ConstantPotential) else None
    setup = _potentiostat_setup(levels_V, task.interval_s, task.current_limit_A, model)
    return _course_script(setup, loop, "pi", _current_tests(task.current_limit_A, end_A))


def _impedance_script(sweep: ImpedanceSweep, model: Model) -> list[str]:
    bias = encode_literal(sweep.bias_V)
    low, high = map(encode_literal, model.current_A)
    span = encode_literal(max(4, math.ceil(abs(sweep.bias_V) + math.sqrt(2) * sweep.amplitude_V)))
    loop = _spectrum_loop("meas_loop_eis f r i", sweep.amplitude_V, sweep, sweep.bias_V)
    return [
        *(f"var {name}" for name in "tfri"),
        "timer_start",
        "set_pgstat_chan 0",
        "set_pgstat_mode 3",
        f"set_max_bandwidth {encode_literal(model.frequency_Hz[1])}",
        f"set_range_minmax da {bias} {bias}",
        f"set_range ba {high}",
        f"set_autoranging ba {low} {high}",
        f"set_range ab {span}",
        f"set_autoranging ab {span} {span}",
        f"set_e {bias}",
        "cell_on",
        loop,
        "timer_get t",
        *_package("tfri"),
        "endloop",
        *_CELL_OFF_AT_THE_END,
    ]


def _galvanostatic_impedance_script(sweep: GalvanostaticImpedanceSweep, model: Model) -> list[str]:
    loop = _spectrum_loop("meas_loop_geis f r i", sweep.amplitude_A, sweep, sweep.bias_A)
    names = ("eac", "edc", "iac", "idc")
    return [
        *(f"var {name}" for name in ("t", "f", "r", "i", *names)),
        "timer_start",
        *_current_control(
            sweep.bias_A,
            abs(sweep.bias_A) + math.sqrt(2) * sweep.amplitude_A,
            (sweep.potential_min_V, sweep.potential_max_V),
            max(sweep.frequency_start_Hz, sweep.frequency_end_Hz),
        ),
        f"{loop} eis_acdc({' '.join(names)})",
        "timer_get t",
        *_package("tfri"),
        *_window_tests("edc", sweep, say="potential limit"),
        "endloop",
        *_CELL_OFF_AT_THE_END,
    ]


def _course_script(setup: list[str], loop: str, measured: str, tests: Sequence[str] = ()) -> list[str]:
    """Script of a course: `measured` names the variables that the loop writes."""
    return [
        *(f"var {name}" for name in ("n", "t", "a", *measured)),
        "store_var n 0i ja",
        "timer_start",
        *setup,
        loop,
        "timer_get t",
        "add_var n 1i",
        *_package("nt" + measured),
        *tests,
        "endloop",
        *_CELL_OFF_AT_THE_END,
    ]


def _open_circuit_setup(model: Model, interval_s: float) -> list[str]:
    bandwidth_Hz = _bandwidth_Hz(interval_s)
    return [
        "set_pgstat_chan 0",
        f"set_pgstat_mode {model.mode(0.0, 0.0, bandwidth_Hz)}",
        f"set_max_bandwidth {encode_literal(bandwidth_Hz)}",
        "set_range_minmax da 0 0",
        "set_range ab 4",
        "set_autoranging ab 4 4",
    ]


def _potentiostat_setup(
    levels_V: Sequence[float], interval_s: float, limit_A: float, model: Model
) -> list[str]:
    low_V, high_V = min(levels_V), max(levels_V)
    bandwidth_Hz = _bandwidth_Hz(interval_s)
    high = encode_literal(limit_A)
    low = encode_literal(min(model.current_A[0], limit_A)) if interval_s >= _RANGING_S else high
    return [
        "set_pgstat_chan 0",
        f"set_pgstat_mode {model.mode(low_V, high_V, bandwidth_Hz)}",
        f"set_max_bandwidth {encode_literal(bandwidth_Hz)}",
        f"set_range_minmax da {encode_literal(low_V)} {encode_literal(high_V)}",
        f"set_range ba {high}",
        f"set_autoranging ba {low} {high}",
        f"set_e {encode_literal(levels_V[0])}",
        "cell_on",
    ]


def _galvanostat_setup(task: ConstantCurrent, model: Model) -> list[str]:
    largest_A = max(abs(task.current_A), model.current_A[0])
    window_V = (task.potential_min_V, task.potential_max_V)
    return _current_control(task.current_A, largest_A, window_V, _bandwidth_Hz(task.interval_s))


def _current_control(
    current_A: float, largest_A: float, window_V: tuple[float, float], bandwidth_Hz: float
) -> list[str]:
    low, high = map(encode_literal, window_V)
    span = encode_literal(max(map(abs, window_V)))
    largest = encode_literal(largest_A)
    return [
        "set_pgstat_chan 0",
        "set_pgstat_mode 6",
        f"set_max_bandwidth {encode_literal(bandwidth_Hz)}",
        f"set_range_minmax ab {low} {high}",
        f"set_range ab {span}",
        f"set_autoranging ab {span} {span}",
        f"set_range db {largest}",
        f"set_autoranging db {largest} {largest}",
        f"set_i {encode_literal(current_A)}",
        "cell_on",
    ]


def _window_tests(name: str, task: ConstantCurrent | GalvanostaticImpedanceSweep, say: str = "") -> list[str]:
    """End the loop where a potential has left its window."""
    low, high = map(encode_literal, (task.potential_min_V, task.potential_max_V))
    return [*_test(f"{name} > {high}", say), *_test(f"{name} < {low}", say)]


def _current_tests(limit_A: float, end_A: float | None) -> list[str]:
    """End the loop where the current's magnitude has reached its limit, or fallen below its end."""
    tests = ["copy_var i a", "if a < 0", "mul_var a -1", "endif"]
    tests += _test(f"a >= {encode_literal(limit_A)}", "current limit")
    if end_A is not None:
        tests += _test(f"a < {encode_literal(end_A)}")
    return tests


def _test(condition: str, say: str = "") -> list[str]:
    told = [f'send_string "{say}"'] if say else []
    return [f"if {condition}", *told, "breakloop", "endif"]


def _loop(command: str, *numbers: float) -> str:
    return " ".join([command, *map(encode_literal, numbers)])


def _spectrum_loop(
    command: str, amplitude: float, sweep: ImpedanceSweep | GalvanostaticImpedanceSweep, bias: float
) -> str:
    frequencies = _loop(command, amplitude, sweep.frequency_start_Hz, sweep.frequency_end_Hz)
    return f"{frequencies} {sweep.points}i {encode_literal(bias)}"


def _bandwidth_Hz(interval_s: float) -> float:
    return max(_LOWEST_BANDWIDTH_Hz, _BANDWIDTHS / interval_s)


def potential_script() -> list[str]:
    """Script that reads the potential at open circuit; it fails with error 0014 if the cell is on."""
    return [
        "var p",
        "set_pgstat_chan 0",
        "set_pgstat_mode 3",
        "set_max_bandwidth 60",
        "set_range_minmax da 0 0",
        "set_range ab 4",
        "set_autoranging ab 4 4",
        "meas_loop_ocp p 100m 200m",
        *_package("p"),
        "endloop",
        *_CELL_OFF_AT_THE_END,
    ]


def cell_off_script() -> list[str]:
    """Script that switches the cell off, whatever happened before."""
    return ["cell_off"]


_CELL_OFF_AT_THE_END = ("on_finished:", "cell_off")
_RANGING_S = 0.05  # a course with readings closer than this keeps its current range
_BANDWIDTHS = 6.0  # of the potentiostat, over readings per second, as in the maker's examples
_LOWEST_BANDWIDTH_Hz = 10.0


def _package(names: str) -> list[str]:
    return ["pck_start", *(f"pck_add {name}" for name in names), "pck_end"]


def script_output(end: bytes) -> Framing:
    """Frame output that ends with `end`, or with an error line and the empty line that may follow it."""
    whole = line(end)

    def length(buffer: bytes) -> int | None:
        error = _ERROR_AHEAD.search(buffer)
        return error.end() if error else whole(buffer)

    return length


def abort_acknowledged(buffer: bytes) -> int | None:
    """Frame the acknowledgement of an abort, with what a script had sent before it."""
    match = _ABORTED.search(buffer)
    return match.end() if match else None


def script_ended(buffer: bytes) -> int | None:
    """Frame the rest of a script's output, up to its empty line or its error."""
    return 1 if buffer.startswith(b"\n") else script_output(b"\n\n")(buffer)


def decode_value(text: str) -> float:
    """Decode the eight characters of a value: 28 bits as hexadecimal digits, then an SI prefix."""
    if text == "     nan":
        return math.nan
    if not _VALUE.fullmatch(text):
        raise ProtocolError(f"{text!r} is no value")
    number, exponent = int(text[:7], 16) - _OFFSET, _PREFIXES[text[7]]
    # Both powers are exact, so that this is the nearest number to what the instrument printed.
    return number / 10.0**-exponent if exponent < 0 else number * 10.0**exponent


def decode_package(text: str) -> tuple[Variable, ...]:
    """Decode a package, such as "PdcDF5DFF4u;cc896D904m,10,287"."""
    if not text.startswith("P"):
        raise ProtocolError(f"{text!r} is no package")
    return tuple(map(_variable, text[1:].split(";")))


def _variable(text: str) -> Variable:
    match = _VARIABLE.fullmatch(text)
    if match is None:
        raise ProtocolError(f"{text!r} is no variable of a package")
    return Variable(match[1], decode_value(match[2]), *_metadata(match[3]))


@lru_cache(maxsize=256)
def _metadata(text: str) -> tuple[int, int | None]:
    """Status and index of the range, from what follows a value."""
    status, index = 0, None
    for item in text.split(",")[1:]:
        if re.fullmatch(r"1[0-9A-F]", item):
            status = int(item[1:], 16)
        elif re.fullmatch(r"2[0-9A-F]{2}", item):
            index = int(item[1:], 16)
        elif not re.fullmatch(r"[0-9A-F]{2,}", item):
            raise ProtocolError(f"{item!r} is no metadata")
    return status, index


def decode_output(data: bytes) -> Output:
    """Decode one line of a running script's output, with its line end.

    Raises
    ------
    Refusal
        For an error that ended the script.
    """
    if error := _ERROR.fullmatch(data):
        raise Refusal(_told(error))
    text = _ascii_line(data)
    if text.startswith("P"):
        return Output("package", decode_package(text))
    if re.fullmatch(r"M[0-9A-F]{4}", text):
        return Output("loop", text=text[1:])
    if re.fullmatch(r"C[0-9A-F]{4}|-|L|\+", text):
        return Output("scope")
    if text == "*":
        return Output("loop end")
    if text.startswith("T"):
        return Output("text", text=text[1:])
    if not text:
        return Output("end")
    raise ProtocolError(f"{text!r} is no output of a script")


def decode_started(reply: bytes) -> None:
    """Check the acknowledgement of a script that was loaded and begins to run."""
    if error := _ERROR.match(reply):
        raise Refusal(_told(error))
    if reply != b"e\n":
        raise ProtocolError("not the acknowledgement of a script")


def decode_finished(reply: bytes) -> None:
    """Check the whole output of a script that has nothing to tell."""
    if reply != b"e\n\n":
        raise _not_whole(reply)


def decode_potential(reply: bytes) -> Variable | None:
    """Decode the whole output of `potential_script`: the last potential, or None if the cell is on."""
    code = _error_code(reply)
    if reply.startswith(b"e\n") and code == _CELL_IS_ON:
        return None
    if code is not None or not (reply.startswith(b"e\n") and reply.endswith(b"\n\n")):
        raise _not_whole(reply)
    outputs = [decode_output(text + b"\n") for text in reply[2:-2].split(b"\n")]
    if [output.kind for output in outputs] != ["loop", *["package"] * (len(outputs) - 2), "loop end"]:
        raise ProtocolError("not one measurement loop")
    potentials = [variable for output in outputs for variable in output.variables if variable.type == "ab"]
    if not potentials:
        raise ProtocolError("no potential")
    return potentials[-1]


def decode_firmware(reply: bytes) -> tuple[str, str]:
    """Decode the reply to `t`: type of instrument such as "es4_hr", and version such as "1.3.04"."""
    if error := _ERROR.match(reply):
        raise Refusal(_told(error))
    match = _FIRMWARE.fullmatch(reply)
    if match is None:
        raise ProtocolError("not a firmware of PalmSens")
    digits = match[2].decode("ascii")
    return match[1].decode("ascii"), ".".join(filter(None, (digits[0], digits[1], digits[2:])))


def decode_serial(reply: bytes) -> str:
    """Decode the reply to `i`."""
    if error := _ERROR.match(reply):
        raise Refusal(_told(error))
    match = _SERIAL.fullmatch(reply)
    if match is None or not match[1].isascii():
        raise ProtocolError("not a serial number")
    return match[1].decode("ascii")


def error_text(code: int) -> str:
    """What an error code means, in words."""
    return _ERRORS.get(code, "see appendix A of the MethodSCRIPT manual")


def _told(error: re.Match[bytes]) -> str:
    code = int(error[2], 16)
    where = ""
    if error[3]:
        where = f" in line {int(error[3])}" + (f", column {int(error[4])}" if error[4] else "")
    return f"reports error {code:04X}{where}: {error_text(code)}"


def _error_code(reply: bytes) -> int | None:
    error = _ERROR_AHEAD.search(reply)
    match = _ERROR.match(error[0]) if error else None
    return int(match[2], 16) if match else None


def _not_whole(reply: bytes) -> ProtocolError:
    """Error for output that is not what the script should have sent; a refusal if it says so."""
    for part in reply.removeprefix(b"e\n").splitlines(keepends=True):
        if error := _ERROR.fullmatch(part):
            return Refusal(_told(error))
    return ProtocolError("not the whole output of a script")


def _ascii_line(data: bytes) -> str:
    if not data.endswith(b"\n") or not data.isascii():
        raise ProtocolError(f"{data!r} is no line of text")
    return data[:-1].decode("ascii")
