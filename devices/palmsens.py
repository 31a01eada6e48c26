"""PalmSens potentiostats that run MethodSCRIPT: EmStat4 HR, EmStat Pico.

Sources: MethodSCRIPT manual 1.8; PalmSens's own examples (MethodSCRIPT_Examples: package format, status
bits, current ranges, EIS and OCP scripts, serial settings) and SDK (error codes). The limits of the models
are those of the manual's appendix B as quoted by other public clients. Lines end with LF; the instrument
echoes the first character of a command; a script's output ends with an empty line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Literal, TypeVar

from devices.instrument import Identity
from devices.potentiostat import ImpedancePoint, ImpedanceSweep, Potentiostat
from ssblab.links import Framing, InstrumentError, LinkSettings, ProtocolError, Refusal, line

__all__ = [
    "EmStatPico",
    "Output",
    "PalmSens",
    "Variable",
    "cell_off_script",
    "decode_firmware",
    "decode_output",
    "decode_package",
    "decode_potential",
    "decode_started",
    "decode_value",
    "encode_literal",
    "encode_script",
    "error_text",
    "impedance_script",
    "potential_script",
    "script_output",
]

T = TypeVar("T")

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
_TIMING, _OVERLOAD, _UNDERLOAD = 1, 2, 4  # 8, the overload warning, leaves a good reading

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

_DEAF_S = 0.15  # after an error the instrument ignores its input for up to 0.1 s
_ABORT_S = 10.0  # an abort takes effect after the sample that is being taken


@dataclass(frozen=True)
class _Model:
    """What a model can do in high-speed mode, the one for impedance."""

    name: str
    potential_V: tuple[float, float]
    frequency_Hz: tuple[float, float]
    amplitude_V: float
    current_A: tuple[float, float]
    current_ranges: dict[int, str]


_EMSTAT4_RANGES = {9: "100 nA", 12: "1 uA", 15: "10 uA", 18: "100 uA", 21: "1 mA", 24: "10 mA", 27: "100 mA"}
_PICO_RANGES = {
    128: "100 nA", 129: "1 uA", 130: "6 uA", 131: "13 uA", 132: "25 uA", 133: "50 uA", 134: "100 uA",
    135: "200 uA", 136: "1 mA", 137: "5 mA",
}  # fmt: skip
_LOWEST_Hz = 1e-3  # no public figure: the lowest frequency that is worth waiting for
_MODELS = {
    "es4_hr": _Model("EmStat4 HR", (-6.0, 6.0), (_LOWEST_Hz, 200e3), 0.9, (100e-9, 100e-3), _EMSTAT4_RANGES),
    "espico": _Model("EmStat Pico", (-1.7, 2.0), (_LOWEST_Hz, 200e3), 0.429, (100e-9, 5e-3), _PICO_RANGES),
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


def impedance_script(sweep: ImpedanceSweep, highest_Hz: float, current_A: tuple[float, float]) -> list[str]:
    """Script of a sweep: one package of time, frequency and impedance for each point.

    Parameters
    ----------
    highest_Hz : float
        Bandwidth of the instrument.
    current_A : tuple of float
        Smallest and largest current range.
    """
    bias, low, high = (encode_literal(x) for x in (sweep.bias_V, *current_A))
    span = encode_literal(max(4, math.ceil(abs(sweep.bias_V) + math.sqrt(2) * sweep.amplitude_V)))
    numbers = (sweep.amplitude_V, sweep.frequency_start_Hz, sweep.frequency_end_Hz)
    arguments = " ".join(map(encode_literal, numbers))
    return [
        "var t",
        "var f",
        "var r",
        "var i",
        "timer_start",
        "set_pgstat_chan 0",
        "set_pgstat_mode 3",
        f"set_max_bandwidth {encode_literal(highest_Hz)}",
        f"set_range_minmax da {bias} {bias}",
        f"set_range ba {high}",
        f"set_autoranging ba {low} {high}",
        f"set_range ab {span}",
        f"set_autoranging ab {span} {span}",
        f"set_e {bias}",
        "cell_on",
        f"meas_loop_eis f r i {arguments} {sweep.points}i {bias}",
        "timer_get t",
        *_package("t", "f", "r", "i"),
        "endloop",
        *_CELL_OFF_AT_THE_END,
    ]


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


def _package(*variables: str) -> list[str]:
    return ["pck_start", *(f"pck_add {name}" for name in variables), "pck_end"]


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
    # Decimal: the value is the nearest number to what the instrument printed, whatever the prefix.
    return float(Decimal(int(text[:7], 16) - _OFFSET).scaleb(_PREFIXES[text[7]]))


def decode_package(text: str) -> tuple[Variable, ...]:
    """Decode a package, such as "PdcDF5DFF4u;cc896D904m,10,287"."""
    if not text.startswith("P"):
        raise ProtocolError(f"{text!r} is no package")
    return tuple(map(_variable, text[1:].split(";")))


def _variable(text: str) -> Variable:
    match = _VARIABLE.fullmatch(text)
    if match is None:
        raise ProtocolError(f"{text!r} is no variable of a package")
    status, index = 0, None
    for item in match[3].split(",")[1:]:
        if re.fullmatch(r"1[0-9A-F]", item):
            status = int(item[1:], 16)
        elif re.fullmatch(r"2[0-9A-F]{2}", item):
            index = int(item[1:], 16)
        elif not re.fullmatch(r"[0-9A-F]{2,}", item):
            raise ProtocolError(f"{item!r} is no metadata")
    return Variable(match[1], decode_value(match[2]), status, index)


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
    if re.fullmatch(r"C\d{4}|-|L|\+", text):
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


def decode_potential(reply: bytes) -> float | None:
    """Decode the whole output of `potential_script`: the last potential in V, or None if the cell is on."""
    code = _error_code(reply)
    if reply.startswith(b"e\n") and code == _CELL_IS_ON:
        return None
    if code is not None or not (reply.startswith(b"e\n") and reply.endswith(b"\n\n")):
        raise _not_whole(reply)
    outputs = [decode_output(text + b"\n") for text in reply[2:-2].split(b"\n")]
    if [output.kind for output in outputs] != ["loop", *["package"] * (len(outputs) - 2), "loop end"]:
        raise ProtocolError("not one measurement loop")
    values = [variable.value for output in outputs for variable in output.variables if variable.type == "ab"]
    if not values:
        raise ProtocolError("no potential")
    return values[-1]


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


class PalmSens(Potentiostat):
    """EmStat4 HR.

    On opening, and after each loss of the link, whatever script runs is aborted and the cell switched off:
    nobody would get its data. There is no command that tells whether the cell is on; the proof that it is off
    is an open-circuit reading, which the instrument refuses (error 0014) while the cell is on.
    """

    model = "EmStat4 HR"
    device_type: ClassVar[str] = "es4_hr"
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=2.0, serial="921600 8N1", wake=b"\nZ\n")

    def __init__(self, **kwargs: Any) -> None:
        self._limits = _MODELS[self.device_type]
        self._began = math.nan
        self._last_s = -math.inf
        super().__init__(**kwargs)
        self.sweep_bias.narrow(*self._limits.potential_V)
        self.sweep_frequency.narrow(*self._limits.frequency_Hz)
        self.sweep_amplitude.narrow(0.0, self._limits.amplitude_V)

    def identify(self) -> Identity:
        """Ask for type, firmware and serial number."""
        kind, version = self.link.ask(b"t\n", script_output(b"*\n"), decode_firmware)
        if kind != self.device_type:
            raise self.wrong(_MODELS[kind].name if kind in _MODELS else kind)
        serial = self.link.ask(b"i\n", script_output(b"\n"), decode_serial)
        return Identity("PalmSens", self._limits.name, serial=serial, firmware=version)

    def read_at_rest(self) -> None:
        """Read the potential at open circuit.

        Raises
        ------
        InstrumentError
            If the cell is on, or the instrument reports a fault.
        """
        command = encode_script(potential_script())
        potential_V = self._exchange(lambda: self.link.ask(command, script_output(b"\n\n"), decode_potential))
        if potential_V is None:
            self.clock.sleep(_DEAF_S)
            self.record(cell=1.0, potential=math.nan, current=math.nan, quality="invalid")
            raise self.refused("the cell is on though nothing runs")
        quality = "ok" if math.isfinite(potential_V) else "invalid"
        self.record(cell=0.0, potential=potential_V, current=0.0, quality=quality)

    def begin_sweep(self, sweep: ImpedanceSweep) -> None:
        """Load the sweep's script and run it."""
        script = impedance_script(sweep, self._limits.frequency_Hz[1], self._limits.current_A)
        command = encode_script(script)
        self._exchange(lambda: self.link.order(command, script_output(b"\n"), decode_started))
        self._began = self.clock.now()
        self._last_s = -math.inf

    def listen(self) -> bool:
        """Take over the lines that have come; the script's timer, begun with the script, gives the times."""
        for data in self.link.receive_waiting(line(b"\n")):
            try:
                output = decode_output(data)
                if output.kind == "package":
                    self._take_package(output.variables)
            except Refusal as error:
                self.clock.sleep(_DEAF_S)
                raise self.refused(str(error)) from error
            except ProtocolError as error:
                raise self.link.failed(f"{data!r} makes no sense ({error})") from error
            if output.kind == "end":
                return True
        return False

    def switch_off(self) -> None:
        """Abort what runs, switch the cell off with a script of its own, and prove it by a reading."""
        self._abort()
        self._cell_off()
        self.read_at_rest()

    def _resynchronise(self) -> None:
        self._abort()
        super()._resynchronise()
        self._cell_off()

    def _abort(self) -> None:
        """Abort the script that runs, if any, and wait for its end."""
        # No order of the link: that one takes the lines of a running script for stale replies.
        self.link.send(b"Z\n")
        if self.link.receive(abort_acknowledged, command=b"Z\n").endswith(b"Z\n"):
            self.link.receive(script_ended, timeout_s=_ABORT_S, command=b"Z\n")
        else:
            self.clock.sleep(_DEAF_S)

    def _cell_off(self) -> None:
        command = encode_script(cell_off_script())
        self._exchange(lambda: self.link.order(command, script_output(b"\n\n"), decode_finished))

    def _exchange(self, exchange: Callable[[], T]) -> T:
        """Do an exchange; after a refusal wait until the instrument listens again."""
        try:
            return exchange()
        except InstrumentError:
            self.clock.sleep(_DEAF_S)
            raise

    def _take_package(self, variables: tuple[Variable, ...]) -> None:
        found = {variable.type: variable for variable in variables}
        if not {"eb", "dc", "cc", "cd"} <= found.keys():
            raise ProtocolError("not a package of an impedance sweep")
        if not found["eb"].value > self._last_s:
            raise ProtocolError("a point came twice")
        self._last_s = found["eb"].value
        status = found["cc"].status | found["cd"].status
        point = ImpedancePoint(
            self._began + found["eb"].value,
            found["dc"].value,
            found["cc"].value,
            found["cd"].value,
            _status(status),
        )
        index = found["cc"].range
        self.add_point(point, self._limits.current_ranges.get(-1 if index is None else index, ""))


class EmStatPico(PalmSens):
    """EmStat Pico: a smaller range of potential and current, and another speed of the serial line."""

    model = "EmStat Pico"
    device_type = "espico"
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=2.0, serial="230400 8N1", wake=b"\nZ\n")


def _status(bits: int) -> Literal["ok", "overload", "underload", "timing"]:
    if bits & _OVERLOAD:
        return "overload"
    if bits & _UNDERLOAD:
        return "underload"
    return "timing" if bits & _TIMING else "ok"
