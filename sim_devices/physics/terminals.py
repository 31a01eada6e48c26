"""What is wired to the terminals of a scanner: voltages behind a resistance, and thermocouples.

Sensitivities of thermocouples near room temperature: NIST ITS-90 tables, rounded, and taken as constant. The
voltage to which an open input of very high resistance floats is a placeholder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssblab.clock import Clock

__all__ = ["WiredTerminals", "Wiring"]

#: Of each type of thermocouple, uV/K at 25 degC; of type B at 1500 degC, where it is used.
_SENSITIVITY_UV_K = {
    "B": 11.3,
    "E": 61.0,
    "J": 51.7,
    "K": 40.5,
    "N": 26.8,
    "R": 6.0,
    "S": 6.0,
    "T": 40.7,
}
_FLOATING_V = 0.35
_FLOATS_ABOVE_OHM = 1e9


@dataclass
class Wiring:
    """What one channel is connected to; a channel with neither voltage nor temperature is open.

    Attributes
    ----------
    voltage_V : float or callable, optional
        Voltage of the source, or what tells it.
    source_ohm : float
        Resistance of the source: a reference electrode has much of it.
    temperature_C : float or callable, optional
        Temperature of a thermocouple, or what tells it.
    thermocouple : str
        Its type.
    offset_K : float
        What that thermocouple is off, at any temperature; IEC 60584-1 allows 1.5 K for types E, J, K, N of
        class 1 up to 375 degC, 0.5 K for T up to 125 degC.
    open : bool
        Whether a lead has come loose.
    """

    voltage_V: float | Callable[[], float] | None = None
    source_ohm: float = 0.0
    temperature_C: float | Callable[[], float] | None = None
    thermocouple: str = "K"
    offset_K: float = 0.0
    open: bool = False

    @property
    def is_open(self) -> bool:
        """Whether nothing is connected."""
        return self.open or (self.voltage_V is None and self.temperature_C is None)


class WiredTerminals:
    """The terminal block of a scanner.

    Parameters
    ----------
    clock : Clock
        Not used: what is wired moves itself.
    generator : numpy.random.Generator
        Of the noise.
    channels : mapping
        Number of a channel -> arguments of its `Wiring`. Channel 0 is the pair of terminals at the front.
        A text such as "cell.positive_potential_V" leads to a method of something connected.
    noise_V, noise_K : float
        Standard deviation of the readings.
    cold_junction_C : float
        Temperature of the terminals.
    cold_junction_error_K : float
        What the scanner takes it for too warm; placeholder, plausible -1 to 1.
    **connected
        By role, what the channels lead to.

    Attributes
    ----------
    wires : dict
        `Wiring` by number of the channel.
    """

    def __init__(
        self,
        clock: Clock,
        generator: np.random.Generator | None = None,
        *,
        channels: Mapping[int, Mapping[str, Any]],
        noise_V: float = 0.0,
        noise_K: float = 0.0,
        cold_junction_C: float = 25.0,
        cold_junction_error_K: float = 0.0,
        **connected: Any,
    ) -> None:
        self._generator = np.random.default_rng(0) if generator is None else generator
        self._noise_V = noise_V
        self._noise_K = noise_K
        self.cold_junction_C = cold_junction_C
        self.cold_junction_error_K = cold_junction_error_K
        self.wires = {
            int(channel): Wiring(**{key: _led(told, connected) for key, told in record.items()})
            for channel, record in channels.items()
        }

    def voltage_V(self, channel: int, input_ohm: float) -> float:
        """Voltage that an input with a resistance sees at a channel."""
        wire = self.wires.get(channel, Wiring())
        if wire.is_open:
            return _FLOATING_V if input_ohm > _FLOATS_ABOVE_OHM else 0.0
        divided = input_ohm / (input_ohm + wire.source_ohm)
        return self._source_V(wire) * divided + self._noise_V * float(self._generator.standard_normal())

    def temperature_C(self, channel: int, thermocouple: str) -> float:
        """Temperature that the voltage of a channel stands for at a thermocouple of that type.

        An open channel has no voltage, and so the temperature that the terminals are taken for.
        """
        wire = self.wires.get(channel, Wiring())
        terminals_C = self.cold_junction_C + self.cold_junction_error_K
        if wire.is_open:
            return terminals_C
        rise_K = self._source_V(wire) / (1e-6 * _SENSITIVITY_UV_K[thermocouple])
        return terminals_C + rise_K + self._noise_K * float(self._generator.standard_normal())

    def is_open(self, channel: int) -> bool:
        """Whether a test current finds no connection."""
        return self.wires.get(channel, Wiring()).is_open

    def _source_V(self, wire: Wiring) -> float:
        if wire.voltage_V is not None:
            return _now(wire.voltage_V)
        assert wire.temperature_C is not None
        rise_K = _now(wire.temperature_C) + wire.offset_K - self.cold_junction_C
        return 1e-6 * _SENSITIVITY_UV_K[wire.thermocouple] * rise_K


def _now(quantity: float | Callable[[], float]) -> float:
    return quantity() if callable(quantity) else quantity


def _led(told: Any, connected: Mapping[str, Any]) -> Any:
    role, _, method = str(told).partition(".")
    return getattr(connected[role], method) if role in connected else told
