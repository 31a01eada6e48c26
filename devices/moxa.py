"""Moxa ioLogik E1214 remote I/O: six relays and six digital inputs, Modbus TCP.

Source: ioLogik E1200 user's manual, Modbus address and register map (addresses in decimal, editions of 2016
and later); model name, firmware and watchdog flag as captured from an E1212. The coils from 4112 on, which
older editions list as "safe status", are of peer-to-peer connections and say nothing about the watchdog.

The watchdog, its time and the relays' safe status (off) are set up on the board's web page; there is no
register for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from devices.families.relay_io import CHANNELS, RelayIO
from devices.instrument import About, Identity
from ssblab.links import InstrumentError, LinkSettings
from ssblab.links.modbus import ModbusClient

__all__ = ["MoxaE1214", "decode_firmware", "decode_text"]

_UNIT = 1
_RELAY_COILS = 0
_INPUTS = 0
_WATCHDOG_COIL = 4144
_MODEL_NAME, _MODEL_NAME_WORDS = 5000, 10
_FIRMWARE, _FIRMWARE_WORDS = 5029, 2


def decode_text(words: Sequence[int]) -> str:
    """Text of registers that hold two characters each, up to the first NUL; what is not ASCII is escaped."""
    data = b"".join(word.to_bytes(2, "big") for word in words)
    return data.split(b"\0")[0].decode("ascii", "backslashreplace").strip()


def decode_firmware(words: Sequence[int]) -> str:
    """Version in the first three bytes, such as "3.1.0"."""
    data = b"".join(word.to_bytes(2, "big") for word in words)
    return ".".join(str(byte) for byte in data[:3])


class MoxaE1214(RelayIO):
    """Moxa ioLogik E1214, on port 502."""

    model = "Moxa ioLogik E1214"
    about = About(
        maker="Moxa",
        models="ioLogik E1214",
        protocol="Modbus TCP",
        transport="TCP 502",
        verified=(
            "register map of the E1200 manual, 2016 and later",
            "name plate and watchdog flag of an E1212",
        ),
        unsupported="counters, pulse outputs, peer-to-peer; watchdog and safe states are set on its web page",
    )
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=1.0)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._modbus = ModbusClient(self.link, _UNIT, "tcp")

    def identify(self) -> Identity:
        """Read the model name."""
        try:
            name = decode_text(self._modbus.read_registers(_MODEL_NAME, _MODEL_NAME_WORDS, function=4))
        except InstrumentError as error:
            raise self.wrong("a Modbus unit without ioLogik model name") from error
        if name != "E1214":
            raise self.wrong(name)
        firmware = decode_firmware(self._modbus.read_registers(_FIRMWARE, _FIRMWARE_WORDS, function=4))
        return Identity("Moxa", "ioLogik E1214", firmware=firmware)

    def poll(self) -> None:
        """Read relays, inputs and the watchdog.

        Raises
        ------
        InstrumentError
            If the watchdog has tripped (the board obeys again after `clear_watchdog`), or a relay that this
            program relies on has dropped.
        """
        relays = self.read_relays()
        inputs = self._modbus.read_bits(_INPUTS, CHANNELS, function=2)
        self.record_board(relays, inputs)

    def read_relays(self) -> Sequence[bool]:
        """Ask for the state of all relays."""
        return self._modbus.read_bits(_RELAY_COILS, CHANNELS)

    def write_relay(self, relay: int, on: bool) -> None:
        """Tell the board to switch one relay."""
        self._modbus.write_bit(_RELAY_COILS + relay, on)

    def has_tripped(self) -> bool:
        """Ask for the watchdog's alarm flag."""
        return self._modbus.read_bits(_WATCHDOG_COIL, 1)[0]

    def write_clear(self) -> None:
        """Clear the watchdog's alarm flag, which is done by writing 1 to it."""
        self._modbus.write_bit(_WATCHDOG_COIL, True)
