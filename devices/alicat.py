"""Alicat MC-series mass-flow controllers, ASCII protocol (firmware 9v and later).

Source: Alicat serial communications primer; replies captured from an MC-500SCCM-D, firmware 10v20.0-R24
(fixtures of the public alicatlib client). Lines end with CR both ways; unit id A-Z.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from devices.families.mass_flow_controller import MassFlowController
from devices.instrument import About, Identity
from ssblab.links import LinkSettings, ProtocolError, Refusal, line

__all__ = ["Alicat", "Frame", "decode_frame", "decode_setpoint", "encode_setpoint"]

_KPA_PER_PSI = 6.894757
_REPLY = line(b"\r")
_STATUS_CODES = {"HLD", "LCK", "MOV", "VOV", "POV", "TOV", "OVR", "TMF", "EXH", "ADC", "OPL"}
_TOTALIZER_CODES = {"OVR", "TMF"}  # faults that leave the flow itself sound
_FAULT_CODES = {"MOV", "VOV", "POV", "TOV", "ADC"} | _TOTALIZER_CODES
_HELD = "HLD"
_NUMBER = re.compile(r"[+-]?\d+\.?\d*")
_SETPOINT_TOLERANCE_mL_min = 0.02  # the reply has two decimals


@dataclass(frozen=True)
class Frame:
    """One poll; flows as the instrument counts them, the gas it is calibrated for, and its status codes."""

    pressure_psia: float
    temperature_C: float
    volume_flow_mL_min: float
    mass_flow_mL_min: float
    setpoint_mL_min: float
    gas: str
    codes: tuple[str, ...]


def encode_setpoint(unit: str, flow_mL_min: float) -> bytes:
    """Command that sets the flow, in the instrument's unit (SCCM)."""
    return f"{unit}LS {flow_mL_min:.2f}\r".encode("ascii")


def decode_frame(reply: bytes, unit: str) -> Frame:
    """Decode the reply to a poll; status codes follow the gas."""
    words = _words(reply, unit)
    if len(words) < 6:
        raise ProtocolError(f"{len(words)} fields, not six or more")
    pressure, temperature, volume_flow, mass_flow, setpoint = map(_number, words[:5])
    codes = tuple(words[6:])
    if unknown := set(codes) - _STATUS_CODES:
        raise ProtocolError(f"unknown status {sorted(unknown)}")
    return Frame(pressure, temperature, volume_flow, mass_flow, setpoint, words[5], codes)


def decode_setpoint(reply: bytes, unit: str) -> float:
    """Decode the reply to a set-point command: the set point that the instrument holds now, in SCCM."""
    words = _words(reply, unit)
    if len(words) != 4 or words[3] != "SCCM":
        raise ProtocolError("not a set-point reply in SCCM")
    _number(words[0])
    return _number(words[1])


def decode_full_scale(reply: bytes, unit: str) -> float:
    """Decode the reply to a full-scale question, in SCCM."""
    words = _words(reply, unit)
    if len(words) != 3 or words[2] != "SCCM":
        raise ProtocolError("not a full scale in SCCM")
    return _number(words[0])


def decode_firmware(reply: bytes, unit: str) -> str:
    """Decode the reply to a version question, such as "10v20.0-R24"."""
    words = _words(reply, unit)
    if not words or not re.fullmatch(r"\d+v\S+", words[0]):
        raise ProtocolError("not a firmware version")
    return words[0]


def _words(reply: bytes, unit: str) -> list[str]:
    try:
        text = reply.decode("ascii").rstrip("\r")
    except UnicodeDecodeError:
        raise ProtocolError("not ASCII") from None
    if text.strip() == "?":
        raise Refusal("the instrument does not know the command")
    words = text.split()
    if not words or words[0] != unit:
        raise ProtocolError(f"not from unit {unit}")
    return words[1:]


def _number(word: str) -> float:
    if not _NUMBER.fullmatch(word):
        raise ProtocolError(f"{word!r} is no number")
    return float(word)


class Alicat(MassFlowController):
    """Alicat MC controller in SCCM.

    Parameters
    ----------
    unit : str
        Its unit id, A-Z.
    """

    model = "Alicat MC"
    relative_accuracy = 0.006  # of reading, down to a sixth of the full scale; MC-series data sheet
    about = About(
        maker="Alicat Scientific",
        models="MC, firmware 9v and later, one gas, in SCCM",
        protocol="Alicat ASCII",
        transport="RS-232 or RS-485, 19200 8N1",
        verified=(
            "replies captured from an MC-500SCCM-D, firmware 10v20.0-R24",
            "alicat 0.9 against the simulated instrument",
        ),
        unsupported="choosing the gas, totalizer, pressure control, other units than SCCM",
    )
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=1.0, serial="19200 8N1")

    def __init__(self, *, unit: str = "A", **kwargs: Any) -> None:
        self._unit = unit
        super().__init__(**kwargs)

    def identify(self) -> Identity:
        """Ask for the firmware; anything that is no Alicat does not answer with one."""
        firmware = self.link.ask(
            f"{self._unit}VE\r".encode(), _REPLY, lambda r: decode_firmware(r, self._unit)
        )
        return Identity("Alicat", "MC", firmware=firmware)

    def upload_limits(self) -> None:
        """Take the instrument's full scale over as upper limit; it cuts set points there by itself."""
        full_scale = self.link.ask(
            f"{self._unit}FPF 5\r".encode(), _REPLY, lambda r: decode_full_scale(r, self._unit)
        )
        self.flow_setpoint.narrow(0.0, full_scale)

    def poll(self) -> None:
        """Read flow, set point, gas temperature and pressure.

        Raises
        ------
        InstrumentError
            If the instrument reports a fault of its own.
        """
        if faults := _FAULT_CODES.intersection(self._read_frame().codes):
            raise self.refused(f"reports {' '.join(sorted(faults))}")

    def flow_despite_faults(self) -> float:
        """Read the flow now; NaN if its sensors are at fault."""
        frame = self._read_frame()
        doubtful = (_FAULT_CODES - _TOTALIZER_CODES).intersection(frame.codes)
        return math.nan if doubtful else frame.mass_flow_mL_min

    def release_valve(self) -> None:
        """Cancel a hold of the valve.

        Raises
        ------
        InstrumentError
            If it stays held.
        """
        if _HELD not in self._read_frame().codes:
            return
        frame = self.link.order(f"{self._unit}C\r".encode(), _REPLY, lambda r: decode_frame(r, self._unit))
        if _HELD in frame.codes:
            raise self.refused("keeps its valve held, though told to let go")

    def _read_frame(self) -> Frame:
        frame = self.link.ask(f"{self._unit}\r".encode(), _REPLY, lambda r: decode_frame(r, self._unit))
        self.record(
            flow=frame.mass_flow_mL_min,
            flow_setpoint=frame.setpoint_mL_min,
            gas_temperature=frame.temperature_C,
            gas_pressure=frame.pressure_psia * _KPA_PER_PSI,
            gas=frame.gas,
            state=" ".join(frame.codes),
            quality="invalid" if _FAULT_CODES.intersection(frame.codes) else "ok",
        )
        return frame

    def write_setpoint(self, flow_mL_min: float) -> None:
        """Tell the instrument the flow and check that it holds it."""
        command = encode_setpoint(self._unit, flow_mL_min)
        held = self.link.order(command, _REPLY, lambda r: decode_setpoint(r, self._unit))
        self.record(flow_setpoint=held)
        if abs(held - flow_mL_min) > _SETPOINT_TOLERANCE_mL_min:
            raise self.refused(f"holds {held:g} mL/min, told {flow_mL_min:g} mL/min")
