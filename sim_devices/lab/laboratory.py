"""A laboratory that its station file describes: who sits where, and who feeds whom.

Things are what is measured or moved, such as a chamber or a cell; instruments are connected to them; samples
are what an operator puts into one of them. What is connected to the same thing sees the same physics. Nothing
ticks: a thing moves itself to the clock's time when it is looked at, so that idle days cost nothing.
"""

from __future__ import annotations

import importlib
import inspect
import zlib
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any

import numpy as np

from sim_devices.wire import SimulatedInstrument, Wires
from ssblab.clock import Clock

__all__ = ["Laboratory"]


class Laboratory:
    """Simulated instruments in front of the things they are connected to, on loopback wires.

    Parameters
    ----------
    clock : Clock
        Its time moves everything.
    seed : int
        Of all noise and scatter: the same seed gives the same data.
    things : mapping
        Name -> {class, connected, options}: a class of `sim_devices`, made with the clock, a random generator
        of its own, the options, and by role the other things it is connected to, which come before it.
    instruments : mapping
        Device name -> {class, connected, options}: a class of `sim_devices.instruments`, made with the clock,
        the things it is connected to (one name, or a list of them) and the options.
    samples : mapping
        Sample name -> {place, class, options}: the hidden truth of a sample. Its class has a method
        `of_sample`, which is given the clock, a random generator, the sample's record and the options; the
        thing `place` has a method `mount`.
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

    Notes
    -----
    A thing's name may be followed by a dot and the name of a part of it, as in `room.gas_line`.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        seed: int,
        things: Mapping[str, Mapping[str, Any]],
        instruments: Mapping[str, Mapping[str, Any]],
        samples: Mapping[str, Mapping[str, Any]] | None = None,
        base_port: int = 0,
    ) -> None:
        self._clock = clock
        self._seed = seed
        self._records = {"thing": things, "sample": samples or {}, "instrument": instruments}
        self._wires = Wires(clock)
        self._mounted: dict[str, str] = {}  # place -> sample
        self._lasting: dict[str, Any] = {}  # sample -> what it is, where it is used again
        self.things: dict[str, Any] = {}
        for name, record in things.items():
            roles = {role: self._part(other) for role, other in record.get("connected", {}).items()}
            self.things[name] = _find(record["class"])(
                clock, self._generator(name), **record.get("options", {}), **roles
            )
        self.instruments = {name: self._instrument(name, record) for name, record in instruments.items()}
        self.addresses = {
            name: self._wires.listen(instrument, base_port + i if base_port else 0)
            for i, (name, instrument) in enumerate(self.instruments.items())
        }

    def mount(self, sample: Mapping[str, Any]) -> None:
        """Put the sample of a record into its place, as the operator does.

        A cell is the same cell each time, with its history; a pellet is a fresh one each time.

        Raises
        ------
        ValueError
            If the laboratory does not know what the sample is made of.
        """
        name = sample["name"]
        record = self._records["sample"].get(name)
        if record is None:
            known = ", ".join(self._records["sample"]) or "none"
            raise ValueError(
                f"the simulated laboratory has no sample {name!r}: it has {known}; add it to `samples` "
                "in the simulated section of the station file"
            )
        place, kind = record["place"], _find(record["class"])
        if self._mounted.get(place) == name and name in self._lasting:
            return
        body = self._lasting.get(name) or kind.of_sample(
            self._clock, self._generator(f"sample {name}"), sample, **record.get("options", {})
        )
        if getattr(kind, "lasting", False):
            self._lasting[name] = body
        with self._wires.held():
            self.things[place].mount(body)
        self._mounted[place] = name

    def describe(self) -> Iterator[tuple[str, str, str, str, str]]:
        """Give kind, name, class, what it is connected to, and options of all there is."""
        for kind, records in self._records.items():
            for name, record in records.items():
                connected = record.get("connected", record.get("place", ""))
                if isinstance(connected, Mapping):
                    connected = [f"{role}: {other}" for role, other in connected.items()]
                told = ", ".join(f"{option}: {value}" for option, value in record.get("options", {}).items())
                yield (
                    kind,
                    name,
                    record["class"].rpartition(".")[2],
                    connected if isinstance(connected, str) else ", ".join(connected),
                    told,
                )

    def close(self) -> None:
        """Close all ports."""
        self._wires.close()

    def _instrument(self, name: str, record: Mapping[str, Any]) -> SimulatedInstrument:
        made_of = _find(record["class"])
        options = dict(record.get("options", {}))
        if "seed" in inspect.signature(made_of).parameters:
            options.setdefault("seed", int(self._generator(name).integers(2**32)))
        names = record.get("connected", [])
        parts = [self._part(other) for other in ([names] if isinstance(names, str) else names)]
        instrument: SimulatedInstrument = made_of(self._clock, *parts, **options)
        return instrument

    def _part(self, name: str) -> Any:
        thing, _, part = name.partition(".")
        if thing not in self.things:
            raise ValueError(f"nothing is called {thing!r} before what is connected to it")
        return attrgetter(part)(self.things[thing]) if part else self.things[thing]

    def _generator(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self._seed, zlib.crc32(name.encode())])


def _find(dotted: str) -> Any:
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)
