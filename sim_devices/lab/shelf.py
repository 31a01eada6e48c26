"""A laboratory that its station file describes: things, and simulated instruments connected to them.

One of everything stands on the shelf, so that every driver meets its instrument; what is connected to the
same thing sees the same physics.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from sim_devices.wire import SimulatedInstrument, Wires
from ssblab.clock import Clock

__all__ = ["ShelfLab"]


class ShelfLab:
    """Simulated instruments in front of the things they are connected to, on loopback wires.

    Parameters
    ----------
    clock : Clock
        Its time moves everything.
    seed : int
        Of all noise: the same seed gives the same data.
    things : mapping
        Name -> {class, options}: a class of `sim_devices.physics`, made with the clock, a random generator
        of its own and the options.
    instruments : mapping
        Device name -> {class, connected, options}: a class of `sim_devices.instruments`, made with the clock,
        the things it is connected to (one name, or a list of them) and the options.
    base_port : int
        First TCP port; the others follow. 0 takes free ones.

    Attributes
    ----------
    addresses : dict
        VISA resource name by device name.
    instruments : dict
        Simulated instrument by device name, for faults.
    things : dict
        The hidden truth, by name.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        seed: int,
        things: Mapping[str, Mapping[str, Any]],
        instruments: Mapping[str, Mapping[str, Any]],
        base_port: int = 0,
    ) -> None:
        self._wires = Wires(clock)
        self.things: dict[str, Any] = {
            name: _find(record["class"])(
                clock, np.random.default_rng([seed, zlib.crc32(name.encode())]), **record.get("options", {})
            )
            for name, record in things.items()
        }
        self.instruments: dict[str, SimulatedInstrument] = {
            name: _find(record["class"])(clock, *self._connected(record), **record.get("options", {}))
            for name, record in instruments.items()
        }
        self.addresses = {
            name: self._wires.listen(instrument, base_port + i if base_port else 0)
            for i, (name, instrument) in enumerate(self.instruments.items())
        }

    def mount(self, sample: Mapping[str, Any]) -> None:
        """Leave all things as the station file says: nobody changes samples at a shelf."""

    def close(self) -> None:
        """Close all ports."""
        self._wires.close()

    def _connected(self, record: Mapping[str, Any]) -> list[Any]:
        names = record.get("connected", [])
        return [self.things[name] for name in ([names] if isinstance(names, str) else names)]


def _find(dotted: str) -> Any:
    module, _, name = dotted.rpartition(".")
    if not module.startswith("sim_devices."):
        raise ValueError(f"{dotted!r} is no part of the simulated laboratory")
    return getattr(importlib.import_module(module), name)
