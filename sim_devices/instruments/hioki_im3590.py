"""Simulated Hioki IM3590 chemical impedance analyzer: modes LCR and ANALYZER.

Written from the maker's list of commands and from a sample program for a sweep on a related model (after
`*RST`, the analyzer mode answers `:MEASure?` with frequency, first and third parameter of each point in one
line). ESR0 from bit 7 to bit 0: REF, COF (level not constant), LOF (limited), MOF, MUF (measured value over,
under), IDX, EOM, CEM, as another such sample names them.

Placeholders, for want of a page of the manual: initial settings, number of points (801), limits of levels,
waves per point at each speed, the marks of an overflow (9.99999E+28) and of what was not measured
(9.99999E+29), the format of `:BATTery:MONItor?`, that a change of a setting ends a sweep. The direct current
that a bias drives through the cell is not simulated.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from sim_devices.instruments.hioki_bt4560 import Cell, HiokiInstrument
from sim_devices.scpi import ScpiError, number
from ssblab.clock import Clock

__all__ = ["SimulatedIM3590"]

_OUTPUT_OHM, _LOW_Z_OHM = 100.0, 25.0
_OVERFLOW, _NOT_MEASURED = 9.99999e28, 9.99999e29
_NOT_CONSTANT, _LIMITED, _OVER, _INDEX, _END = 0x40, 0x20, 0x10, 0x04, 0x02
_FIRST, _SECOND = ("Z", "Y", "PHASe", "CS", "CP", "D", "LS", "LP"), ("Q", "RS", "G", "RP", "X", "B")
#: What `:MEASure:ITEM` can have answered, bit by bit of its three registers.
_ITEMS: tuple[tuple[str, ...], ...] = (_FIRST, _SECOND, ())


class SimulatedIM3590(HiokiInstrument):
    """An IM3590 at a cell.

    Parameters
    ----------
    cell : Cell
        What it measures.
    """

    identification = "HIOKI,IM3590,120500001,V2.04"
    latency_s = 0.01
    breakdowns = ("busy", "error", "over_range")
    _waves: ClassVar[dict[str, int]] = {"FAST": 1, "MEDIUM": 2, "SLOW": 4, "SLOW2": 8}

    def __init__(self, clock: Clock, cell: Cell) -> None:
        super().__init__(clock)
        self._cell = cell
        self._items = [5, 0, 0]
        self._list = (1000.0, 100e3, 11, "LOG")
        self._sweep: list[tuple[float, complex]] = []
        self._describe()
        self.power_on()

    @property
    def signal_V(self) -> float:
        """Alternating level that it puts out while it measures, and 0 while it waits."""
        self.update()
        running = self._due is not None or self.settings[":TRIGger"] == "INTERNAL"
        return self._output_V(self._now_Hz())[0] if running else 0.0

    @property
    def bias_V(self) -> float:
        """Direct voltage that it puts out."""
        return self.number_of(":DCBias:LEVel") if self.is_on(":DCBias") else 0.0

    def power_on(self) -> None:
        """Initial settings: mode LCR, internal trigger, 1 kHz, 1 V, bias off."""
        super().power_on()
        self._forget()

    def reset(self) -> None:
        """Initialise."""
        super().reset()
        self._forget()

    def changed(self) -> None:
        """End the sweep that runs; what was measured is no result any more."""
        super().changed()
        self._sweep = []

    def finish(self) -> None:
        """Take the results of the measurement that is over."""
        hertz = self._frequencies_Hz()
        self._sweep = [(f, self._measure(f)) for f in hertz]
        self._device_events[0] |= _INDEX | _END

    def _forget(self) -> None:
        self._items = [5, 0, 0]
        self._list = (1000.0, 100e3, 11, "LOG")
        self._sweep = []

    def _describe(self) -> None:
        self.words(":MODE", "LCR", "LCR", "ANALyzer", "CONTinuous")
        for i, default in enumerate(("Z", "OFF", "PHASe", "OFF"), start=1):
            self.words(f":PARameter{i}", default, *_FIRST, *_SECOND, "RDC", "T", "S", "E", "OFF")
        self.value(":FREQuency", 1000.0, 1e-3, 200e3)
        self.words(":LEVel", "V", "V", "CV", "CC")
        self.value(":LEVel:VOLTage", 1.0, 0.005, 5.0, ".3f")
        self.value(":LEVel:CVOLTage", 1.0, 0.005, 5.0, ".3f")
        self.value(":LEVel:CCURRent", 0.01, 1e-5, 0.05, ".5f")
        self.switch(":LIMiter")
        self.value(":LIMiter:CURRent", 0.1, 1e-5, 0.1, ".5f")
        self.value(":LIMiter:VOLTage", 5.0, 0.005, 5.0, ".3f")
        self.switch(":DCBias")
        self.value(":DCBias:LEVel", 0.0, -5.0, 5.0, ".2f")
        self.value(":RANGe", 5, 1, 12, ".0f")
        self.switch(":RANGe:AUTO", "ON")
        self.switch(":RANGe:LOWZ")
        self.words(":SPEEd", "MEDIUM", "FAST", "MEDium", "SLOW", "SLOW2")
        self.value(":AVERaging", 1, 1, 256, ".0f", off=True)
        self.words(":TRIGger", "INTERNAL", "INTernal", "EXTernal")
        self.value(":TRIGger:DELay", 0.0, 0.0, 9.9999, ".4f")
        self.switch(":BATTery")
        self.words(":BATTery:SPEEd", "MEDIUM", "FAST", "MEDium", "SLOW", "SLOW2")
        self.words(":BATTery:LFRequency", "60", "50", "60")
        self.switch(":BATTery:FINeadj")
        self.words(":SWEep:MAIN:SOURce", "FREQUENCY", "FREQuency", "V", "CV", "CC", "DCBias")
        self.value(":SWEep:PDELay", 0.0, 0.0, 99.9999, ".4f")
        self.words(":SWEep:TRIGger", "SEQUENTIAL", "SEQuential", "REPeat", "STEP")
        self.words(":SWEep:DISPlay", "GRAPH", "GRAPh", "NUMEric", "COMParator", "XY", changes=False)
        self.words(":SWEep:DRAW", "REAL", "REAL", "AFTer", changes=False)
        self.switch(":SEGMent")
        self.value(":MEASure:VALid", 0, 0, 255, ".0f", changes=False)
        self.words(":FORMat:DATA", "ASCII", "ASCii", "REAL", changes=False)
        self.switch(":FORMat:LONG", changes=False)
        self.words(":CIRCuit:ANALysis", "OFF", "OFF", "CHEMical", "ELECtric", changes=False)
        self.words(":JUDGment", "NORMAL", "NORMal", "COMParator", "BIN", changes=False)
        self.switch(":COMParator", changes=False)
        self.switch(":BIN", changes=False)
        self.switch(":DISPlay", "ON", changes=False)
        self.switch(":BEEPer:KEY", "ON", changes=False)
        self.words(":BEEPer:JUDGment", "OFF", "OFF", "IN", "NG", changes=False)
        self.words(":CORRection:OPEN:RETurn", "OFF", "OFF", "ALL", "SPOT", changes=False)
        self.words(":CORRection:SHORt:RETurn", "OFF", "OFF", "ALL", "SPOT", changes=False)
        self.switch(":CORRection:LOAD:RETurn", changes=False)
        self.words(":CORRection:CABLe", "0", "0", "1", "2", "4", changes=False)
        self.commands.update(
            {
                **self.common_hioki(),
                "*TRG": self._trigger,
                ":LIST:STARt:STOP": self._set_list,
                ":LIST:STARt:STOP?": self._list_text,
                ":MEASure?": self._results,
                ":MEASure:POINt?": self._result_of,
                ":MEASure:ITEM": self._set_items,
                ":MEASure:ITEM?": lambda: ",".join(map(str, self._items)),
                ":MONItor?": self._monitor,
                ":BATTery:MONItor?": self._battery_monitor,
                ":HEADer": self._set_headers,
                ":HEADer?": lambda: "ON" if self._headers else "OFF",
                ":TRANsmit:TERMinator": self._set_terminator,
                ":TRANsmit:TERMinator?": lambda: "0" if self._terminator == b"\n" else "1",
                ":PRESet": self.reset,
                ":SYSTem:SERIAlno?": lambda: self.identification.split(",")[2],
                ":SYSTem:DATE?": lambda: "26,01,01",
                ":SYSTem:TIME?": lambda: "12,00,00",
                ":CORRection:OPEN": self._correct,
                ":CORRection:SHORt": self._correct,
                ":CORRection:OPEN:ERRor?": lambda: "0",
                ":CORRection:SHORt:ERRor?": lambda: "0",
            }
        )

    def _set_headers(self, word: str) -> None:
        if word.upper() not in ("ON", "OFF"):
            raise ScpiError(-200)
        self._headers = word.upper() == "ON"

    def _set_terminator(self, word: str) -> None:
        self._terminator = b"\n" if number(word, 0, 1) == 0 else b"\r\n"

    def _set_items(self, *words: str) -> None:
        if not 1 <= len(words) <= 3:
            raise ScpiError(-109)
        self._items = [int(number(word, 0, 255)) for word in words] + [0] * (3 - len(words))

    def _set_list(self, first: str, last: str, points: str, spacing: str) -> None:
        kinds = {"LIN": "LINEAR", "LINEAR": "LINEAR", "LOG": "LOG"}
        if spacing.upper() not in kinds:
            raise ScpiError(-200)
        self._list = (
            number(first, 1e-3, 200e3), number(last, 1e-3, 200e3), int(number(points, 2, 801)),
            kinds[spacing.upper()],
        )  # fmt: skip
        self.changed()

    def _list_text(self) -> str:
        first, last, points, spacing = self._list
        return f"{first:.5E},{last:.5E},{points},{spacing}"

    def _correct(self, word: str) -> None:
        if word.upper() not in ("OFF", "ALL", "SPOT", "CANCEL"):
            raise ScpiError(-200)

    def _analyzing(self) -> bool:
        return self.settings[":MODE"] == "ANALYZER"

    def _frequencies_Hz(self) -> list[float]:
        if not self._analyzing():
            return [self.number_of(":FREQuency")]
        first, last, points, spacing = self._list
        space = np.geomspace if spacing == "LOG" else np.linspace
        return [_settable_Hz(float(f)) for f in space(first, last, points)]

    def _now_Hz(self) -> float:
        return self._frequencies_Hz()[0]

    def _trigger(self) -> None:
        if self.broken("busy"):
            raise ScpiError(-211)
        waves = self._waves[self.settings[":SPEEd"]]
        if self.settings[":AVERaging"] != "OFF":
            waves *= int(self.number_of(":AVERaging"))
        delay_s = self.number_of(":SWEep:PDELay") if self._analyzing() else 0.0
        delay_s += self.number_of(":TRIGger:DELay")
        self.start(sum(waves / f + delay_s + 0.02 for f in self._frequencies_Hz()))

    def _output_V(self, hertz: float) -> tuple[float, int]:
        """Alternating voltage of the generator at a frequency, and the bits of what it can't hold."""
        z = complex(self._cell.impedance(np.array([hertz]))[0])
        output_ohm = _LOW_Z_OHM if self.is_on(":RANGe:LOWZ") else _OUTPUT_OHM
        total_ohm = abs(z + output_ohm)
        mode = self.settings[":LEVel"]
        if mode == "V":
            volts = self.number_of(":LEVel:VOLTage")
        elif mode == "CV":
            volts = self.number_of(":LEVel:CVOLTage") * total_ohm / abs(z)
        else:
            volts = self.number_of(":LEVel:CCURRent") * total_ohm
        events = 0
        held_V = min(max(volts, 0.005), 5.0)
        if not math.isclose(held_V, volts):
            events |= _NOT_CONSTANT
        if self.is_on(":LIMiter"):
            at_cell = abs(z) if mode == "CC" else 1.0
            header = ":LIMiter:VOLTage" if mode == "CC" else ":LIMiter:CURRent"
            most_V = self.number_of(header) * total_ohm / at_cell
            if held_V > most_V * (1 + 1e-9):
                held_V, events = most_V, events | _LIMITED
        return held_V, events

    def _measure(self, hertz: float) -> complex:
        """Impedance at a frequency; not a number if it is beyond all ranges."""
        self._device_events[0] |= self._output_V(hertz)[1]
        if self.broken("over_range"):
            self._device_events[0] |= _OVER
            return complex(math.nan)
        return complex(self._cell.impedance(np.array([hertz]))[0])

    def _results(self) -> str | None:
        if self.broken("busy"):
            raise ScpiError(-200)
        self.wait_for_end()
        if self._analyzing():
            frequencies_Hz = self._frequencies_Hz()
            done = {i: z for i, (_, z) in enumerate(self._sweep)}
            return ",".join(self._point(f, done.get(i)) for i, f in enumerate(frequencies_Hz))
        if self.settings[":TRIGger"] == "INTERNAL":
            self.finish()
        z = self._sweep[0][1] if self._sweep else None
        shown = [
            name.upper()
            for mask, names in zip(self._items, _ITEMS, strict=True)
            for bit, name in enumerate(names)
            if mask & 1 << bit
        ]
        return ",".join(_shown(name, z, self.number_of(":FREQuency")) for name in shown)

    def _result_of(self, word: str) -> str:
        self.wait_for_end()
        index = int(number(word, 1, len(self._frequencies_Hz()))) - 1
        z = self._sweep[index][1] if index < len(self._sweep) else None
        return self._point(self._frequencies_Hz()[index], z)

    def _point(self, hertz: float, z: complex | None) -> str:
        names = [self.settings[f":PARameter{i}"] for i in (1, 3)]
        return ",".join([f"{hertz:.5E}", *(_shown(name, z, hertz) for name in names if name != "OFF")])

    def _monitor(self) -> str:
        hertz = self._now_Hz()
        volts = self._output_V(hertz)[0]
        z = complex(self._cell.impedance(np.array([hertz]))[0])
        amperes = volts / abs(z + _OUTPUT_OHM)
        return f"{amperes * abs(z):.3E},{amperes:.3E}"

    def _battery_monitor(self) -> str:
        if self.broken("busy") or not self.is_on(":BATTery"):
            raise ScpiError(-221)
        volts = self._cell.potential_V()
        return f"{_OVERFLOW:.5E}" if self.broken("over_range") or abs(volts) > 5.0 else f"{volts:.4f}"


def _settable_Hz(hertz: float) -> float:
    """Five digits, and no finer than 0.1 mHz."""
    return round(float(f"{hertz:.4E}"), 4)


def _shown(name: str, z: complex | None, hertz: float) -> str:
    if z is None:
        return f"{_NOT_MEASURED:.5E}"
    if math.isnan(z.real):
        return f"{_OVERFLOW:.5E}"
    omega = 2 * math.pi * hertz
    y = 1 / z
    values: dict[str, Callable[[], float]] = {
        "Z": lambda: abs(z),
        "Y": lambda: abs(y),
        "PHASE": lambda: math.degrees(cmath.phase(z)),
        "CS": lambda: -1 / (omega * z.imag),
        "CP": lambda: y.imag / omega,
        "D": lambda: -z.real / z.imag,
        "LS": lambda: z.imag / omega,
        "LP": lambda: -1 / (omega * y.imag),
        "Q": lambda: abs(z.imag / z.real),
        "RS": lambda: z.real,
        "G": lambda: y.real,
        "RP": lambda: 1 / y.real,
        "X": lambda: z.imag,
        "B": lambda: y.imag,
    }
    if name not in values:
        return f"{_NOT_MEASURED:.5E}"
    try:
        value = values[name]()
    except ZeroDivisionError:
        return f"{_OVERFLOW:.5E}"
    return f"{value:.3f}" if name == "PHASE" else f"{value:.5E}"
