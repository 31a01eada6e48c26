"""Moxa ioLogik E1214 remote I/O: six relays and six digital inputs, Modbus TCP.

Source: ioLogik E1200 user's manual, Modbus address and register map (editions of 2016 and later), and the
registers of an E1212 as printed by a client. What the E1200's manual leaves open is as in that of Moxa's
ioThinx 4510: relays can't be switched until the watchdog's alarm is cleared. They stay off then.

Relays are off after power-up, which is the default of the manual's power-on settings; the settings of the
watchdog are in permanent memory. Busy and failure are exceptions 6 and 4 of the Modbus specification.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from sim_devices.modbus import ModbusException, ModbusInstrument
from sim_devices.wire import Breakdown
from ssblab.clock import Clock

__all__ = ["Plant", "SimulatedMoxaE1214", "Transition"]

_CHANNELS = 6
_WATCHDOG_ALARM = 4144
_MODEL_NAME = range(5000, 5010)
_FIRMWARE = range(5029, 5031)
_FIRMWARE_BYTES = bytes([3, 1, 0, 0])
_DEVICE_FAILURE = 4


class Plant(Protocol):
    """What the board is wired to."""

    def switch(self, channel: int, on: bool) -> None:
        """Take notice of a relay, 0 to 5, that changed."""

    def input(self, channel: int) -> bool:
        """State of an input, 0 to 5."""


class Transition(NamedTuple):
    """A relay that changed, and when (laboratory time, s since 1970)."""

    time_s: float
    channel: int
    on: bool


class SimulatedMoxaE1214(ModbusInstrument):
    """Relays, inputs, name plate, and a watchdog that switches all relays off when nobody asks anything.

    Parameters
    ----------
    plant : Plant
        What hangs on its relays and inputs.
    watchdog_s : float
        Time without any request after which it trips; it counts from the first request on.

    Attributes
    ----------
    stuck : set of int
        Relays that do not follow, as a fault.
    transitions : list of Transition
        All changes of relays, in order.
    """

    latency_s = 0.005
    model_name = "E1214"
    breakdowns: tuple[Breakdown, ...] = ("busy", "error")

    def __init__(self, clock: Clock, plant: Plant, *, watchdog_s: float = 60.0) -> None:
        super().__init__(clock, unit=1, framing="tcp")
        self._plant = plant
        self._watchdog_s = watchdog_s
        self._relays = [False] * _CHANNELS
        self.stuck: set[int] = set()
        self.transitions: list[Transition] = []
        self.power_on()

    def power_on(self) -> None:
        """Have all relays off and the watchdog wait for the first request."""
        self._last_request_s: float | None = None
        self._alarm = False
        for channel in range(_CHANNELS):
            self._switch(channel, False, self.clock.now())

    def receive(self, buffer: bytearray) -> Iterator[bytes]:
        """Answer the whole frames in the buffer, after looking at the watchdog."""
        self.drop_if_abandoned()
        self._last_request_s = self.clock.now()
        yield from super().receive(buffer)

    def drop_if_abandoned(self) -> None:
        """Switch all relays off if the watchdog's time is over; the laboratory calls it as time passes."""
        if self._last_request_s is None or self._alarm:
            return
        tripped_s = self._last_request_s + self._watchdog_s
        if self.clock.now() >= tripped_s:
            self._alarm = True
            for channel in range(_CHANNELS):
                self._switch(channel, False, tripped_s)

    def read_coil(self, address: int) -> bool:
        """Relays and the watchdog's alarm."""
        self._check_health()
        if address in range(_CHANNELS):
            return self._relays[address]
        if address == _WATCHDOG_ALARM:
            return self._alarm
        raise ModbusException(2)

    def read_discrete_input(self, address: int) -> bool:
        """Digital inputs."""
        self._check_health()
        if address not in range(_CHANNELS):
            raise ModbusException(2)
        return self._plant.input(address)

    def read_input_register(self, address: int) -> int:
        """Name plate."""
        if address in _MODEL_NAME:
            text = self.model_name.encode("ascii").ljust(2 * len(_MODEL_NAME), b"\0")
            return _word(text, address - _MODEL_NAME[0])
        if address in _FIRMWARE:
            return _word(_FIRMWARE_BYTES, address - _FIRMWARE[0])
        raise ModbusException(2)

    def write_coils(self, address: int, values: list[bool]) -> None:
        """Switch relays, or clear the watchdog's alarm."""
        self._check_health()
        if address == _WATCHDOG_ALARM and len(values) == 1:
            self._alarm = self._alarm and not values[0]
            return
        if address + len(values) > _CHANNELS:
            raise ModbusException(2)
        if not self._alarm:
            for channel, value in enumerate(values, start=address):
                self._switch(channel, value, self.clock.now())

    def _switch(self, channel: int, on: bool, time_s: float) -> None:
        if self._relays[channel] == on or channel in self.stuck:
            return
        self._relays[channel] = on
        self.transitions.append(Transition(time_s, channel, on))
        self._plant.switch(channel, on)

    def _check_health(self) -> None:
        if self.broken("error"):
            raise ModbusException(_DEVICE_FAILURE)


def _word(data: bytes, index: int) -> int:
    return int.from_bytes(data[2 * index : 2 * index + 2], "big")
