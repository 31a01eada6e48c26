"""LabJack T7 as a board of six relays and six inputs, Modbus TCP on port 502, most significant word first.

Source: the maker's table of registers (`ljm_constants.json`) and T-series datasheet, sections on digital
lines and on the watchdog. A line's own register (2000 + line) is only written here: reading it would make
the line an input. `DIO_STATE` (2800) tells the levels at the terminals and changes nothing.

The T7's watchdog drives the relay lines low when nothing has spoken to it for the time that the station file
says. It has no flag for that, so one spare line, the alive line, is high from connecting on and is driven
low with the relays: low, or no output (after a power cut), means that the relays were dropped. The line may
also serve the plant's own safety chain. The T7 itself would obey after a trip; the driver does not switch
relays on then before `clear_watchdog`.

Whatever program speaks to the T7 keeps its watchdog content, not this one alone. The watchdog's settings lie
in flash memory; they are written only if they differ.

A relay board on the lines must take high for on, and nothing may go on at the weak pull-up that the lines
have while they are inputs, from power-up until connecting.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from devices.families.relay_io import CHANNELS, RelayIO
from devices.instrument import About, Identity
from ssblab.links import InstrumentError, LinkSettings
from ssblab.links.modbus import ModbusClient, float_from_registers

__all__ = ["LabJackT7", "decode_uint32", "encode_uint32"]

_UNIT = 1
_LINES = 23
_ALL = (1 << _LINES) - 1

_LINE = 2000
_STATES, _DIRECTIONS = 2800, 2850
_TEST, _TEST_VALUE = 55100, 0x00112233
_PRODUCT, _T7 = 60000, 7.0
_FIRMWARE = 60004
_SERIAL_NUMBER = 60028

_WATCHDOG = 61600
_ADVANCED, _TIMEOUT, _STRICT, _RESET = 61602, 61604, 61610, 61620
_DIO_ENABLE, _DIO_STATE, _DIO_DIRECTION, _DIO_INHIBIT = 61630, 61632, 61634, 61636
_NAMES = {
    _ADVANCED: "advanced options",
    _TIMEOUT: "timeout",
    _STRICT: "strict mode",
    _RESET: "reset",
    _DIO_ENABLE: "line update",
    _DIO_STATE: "line states",
    _DIO_DIRECTION: "line directions",
    _DIO_INHIBIT: "line mask",
}


def decode_uint32(words: Sequence[int]) -> int:
    """Number of two registers, high half first."""
    high, low = words
    return high << 16 | low


def encode_uint32(value: int) -> tuple[int, int]:
    """Two registers of a number, high half first."""
    return value >> 16, value & 0xFFFF


class LabJackT7(RelayIO):
    """LabJack T7 or T7-Pro.

    Parameters
    ----------
    relay_lines, input_lines : sequence of int
        Digital lines (0 to 22: FIO0 is 0, EIO0 is 8, CIO0 is 16, MIO0 is 20) of relays 0 to 5 and of inputs
        0 to 5.
    alive_line : int
        Spare line that is high while the relays may be on.
    watchdog_s : int
        Time without any communication after which the T7 drops the relays, whole seconds.

    Raises
    ------
    ValueError
        If a line does not exist or is used twice, or the time is not a whole number above 0.
    """

    model = "LabJack T7"
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=1.0)
    about = About(
        maker="LabJack",
        models="T7, T7-Pro",
        protocol="Modbus TCP",
        transport="TCP 502",
        verified=("the maker's table of registers", "pymodbus against the simulated instrument"),
        unsupported="Analog inputs and outputs, counters, streaming. Relay boards that are on at low level. "
        "Reaction of an instrument to a wrong register is assumed.",
    )

    def __init__(
        self,
        *,
        name: str,
        relay_lines: Sequence[int] = (8, 9, 10, 11, 12, 13),
        input_lines: Sequence[int] = (0, 1, 2, 3, 4, 5),
        alive_line: int = 16,
        watchdog_s: int = 60,
        **kwargs: Any,
    ) -> None:
        lines = [*relay_lines, *input_lines, alive_line]
        if len(relay_lines) != CHANNELS or len(input_lines) != CHANNELS:
            raise ValueError(f"{name}: {CHANNELS} relay lines and {CHANNELS} input lines, please")
        if len(set(lines)) < len(lines) or not set(lines) <= set(range(_LINES)):
            raise ValueError(f"{name}: lines must be 0 to {_LINES - 1}, each used once, not {lines}")
        if not isinstance(watchdog_s, int) or watchdog_s <= 0:
            raise ValueError(f"{name}: watchdog_s must be whole seconds above 0, not {watchdog_s!r}")
        self._relay_lines = tuple(relay_lines)
        self._input_lines = tuple(input_lines)
        self._alive_line = alive_line
        self._watchdog_s = watchdog_s
        super().__init__(name=name, **kwargs)
        self._modbus = ModbusClient(self.link, _UNIT, "tcp")

    def identify(self) -> Identity:
        """Read the test value, which also tells the order of words, the product, and the serial number."""
        try:
            test = self._read(_TEST)
            product = self._read_float(_PRODUCT)
        except InstrumentError as error:
            raise self.wrong("a Modbus unit without the test register of a LabJack") from error
        if test != _TEST_VALUE:
            raise self.wrong(f"a Modbus unit whose test register holds {test:#010x}")
        if product != _T7:
            raise self.wrong(f"LabJack product {product:g}")
        firmware = f"{self._read_float(_FIRMWARE):.4f}"
        return Identity("LabJack", "T7", serial=str(self._read(_SERIAL_NUMBER)), firmware=firmware)

    def connect(self) -> None:
        """Open the link, identify, arm the watchdog, then make the relay lines outputs, and read once.

        Raises
        ------
        InstrumentError
            If the T7 does not hold the watchdog's settings.
        """
        self.link.open()
        self._arm()
        if not self._are_outputs():  # nobody has set the lines up since the T7 got its power
            self.write_clear()
        super().connect()

    def poll(self) -> None:
        """Read relays, inputs and the watchdog.

        Raises
        ------
        InstrumentError
            If the watchdog has tripped (it obeys again after `clear_watchdog`) or has been switched off, or a
            relay that this program relies on has dropped.
        """
        states = self._read(_STATES)
        self.record_board(_bits(states, self._relay_lines), _bits(states, self._input_lines))
        if self._read(_WATCHDOG) != 1:
            self.record(quality="invalid")
            raise self.refused("its watchdog has been switched off; clear_watchdog() arms it again")

    def read_relays(self) -> Sequence[bool]:
        """Ask for the levels at the terminals of the relay lines."""
        return _bits(self._read(_STATES), self._relay_lines)

    def write_relay(self, relay: int, on: bool) -> None:
        """Tell the T7 to drive one relay line; not high after the watchdog has tripped."""
        if on and self.has_tripped():
            raise self.trip_error()
        self._write_line(self._relay_lines[relay], on)

    def has_tripped(self) -> bool:
        """Ask whether the alive line is low, or any of the lines no output."""
        alive = self._read(_STATES) >> self._alive_line & 1
        return not (alive and self._are_outputs())

    def write_clear(self) -> None:
        """Arm the watchdog, drive all relay lines low, then the alive line high."""
        self._arm()
        for line in self._relay_lines:
            self._write_line(line, False)
        self._write_line(self._alive_line, True)

    def _arm(self) -> None:
        """Bring the watchdog's settings into the T7, switch it on, and read all back."""
        wanted = {
            _ADVANCED: 0,
            _TIMEOUT: self._watchdog_s,
            _STRICT: 0,
            _RESET: 0,
            _DIO_ENABLE: 1,
            _DIO_STATE: 0,
            _DIO_DIRECTION: self._outputs,
            _DIO_INHIBIT: _ALL & ~self._outputs,
        }
        differing = [address for address, value in wanted.items() if self._read(address) != value]
        if differing:
            self._write(_WATCHDOG, 0)  # its settings are locked while it is on
            for address in differing:
                self._write(address, wanted[address])
        if self._read(_WATCHDOG) != 1:
            self._write(_WATCHDOG, 1)
        wrong = [_NAMES[address] for address, value in wanted.items() if self._read(address) != value]
        if wrong:
            raise self.refused(f"its watchdog does not hold its {', '.join(wrong)}")
        if self._read(_WATCHDOG) != 1:
            raise self.refused("its watchdog can't be switched on")

    @property
    def _outputs(self) -> int:
        """One bit for each line that is driven."""
        return sum(1 << line for line in (*self._relay_lines, self._alive_line))

    def _are_outputs(self) -> bool:
        return self._read(_DIRECTIONS) & self._outputs == self._outputs

    def _read(self, address: int) -> int:
        return decode_uint32(self._modbus.read_registers(address, 2))

    def _read_float(self, address: int) -> float:
        return float_from_registers(self._modbus.read_registers(address, 2), "high first")

    def _write(self, address: int, value: int) -> None:
        self._modbus.write_registers(address, encode_uint32(value))

    def _write_line(self, line: int, high: bool) -> None:
        self._modbus.write_registers(_LINE + line, (int(high),))


def _bits(states: int, lines: Sequence[int]) -> list[bool]:
    return [bool(states >> line & 1) for line in lines]
