"""The text of a program, read into steps: a superset of PyBaMM's experiment strings.

What PyBaMM documents means the same here.  What its parser lets through by accident and would read against
the words is refused: negative rates, "Hold at 1C" (a discharge), "Charge at 4.2 V" (a hold of -4.2 V), a
signed current such as "< 1 A" in a charge.  Source: PyBaMM 26.10, `pybamm.step.string`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, NoReturn

from ssblab.quantities import BadInput
from ssblab.steps.model import (
    CURRENT_UNITS,
    QUANTITIES,
    SET_POINTS,
    Amount,
    Comparison,
    Condition,
    Current,
    Direction,
    Hold,
    Impedance,
    Log,
    Loop,
    Program,
    Rest,
    SetPoint,
    Step,
    Sweep,
    Wait,
    While,
)
from ssblab.steps.units import CANONICAL, UNITS, converted, names_of

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_UNIT = re.compile(rf"(?:{'|'.join(map(re.escape, sorted(UNITS, key=len, reverse=True)))})(?![\w/%^])")
_C_FRACTION = re.compile(rf"C\s*/\s*({_NUMBER.pattern})(?![\w/%])")
_QUANTITY = re.compile(
    r"(?P<name>voltage|(?:negative|positive) potential|current|capacity|time|\|dV/dt\||dV/dt|temperature"
    r"|pressure|(?:relative )?humidity|dew point|H2S|H2O|O2)(?![\w/|])",
    re.IGNORECASE,
)
_COMPARISON = re.compile(r"(?P<less><|below\b)|(?P<more>>|above\b)", re.IGNORECASE)
_VERSUS = re.compile(r"vs\.?\s+([A-Za-z][^\s,;:()]*)")
_BETWEEN = re.compile(r"\s*(?:;|,\s*then\b)\s*", re.IGNORECASE)
_NAMES = {name.lower(): name for name in QUANTITIES} | {"relative humidity": "humidity"}

# The quantity that a unit alone tells.  A temperature may be a dew point, and ppm may be of any gas.
_TOLD_BY_UNIT = {
    "V": "voltage",
    **dict.fromkeys(CURRENT_UNITS, "current"),
    **dict.fromkeys(QUANTITIES["capacity"], "capacity"),
    "degC": "temperature",
    "MPa": "pressure",
    "%RH": "humidity",
}

_TYPED = {
    "\N{MINUS SIGN}": "-",
    "\N{GREEK SMALL LETTER MU}": "u",
    "\N{GREEK CAPITAL LETTER OMEGA}": "Ohm",
    "cm^2": "cm2",
}

_EXAMPLES = {
    "step": "Charge at 0.1C until 4.2 V",
    "current": "Charge at 0.1C until 4.2 V; Discharge at 0.1 mA/cm2 for 1 h; Hold at 4.2 V until C/50",
    "hold": "Hold at 4.2 V until C/50; Hold pressure at 20 MPa within 2 % for 10 min",
    "end": "Rest for 1 h; Charge at 0.1C for 12 h or until 4.2 V or 10 mAh",
    "condition": "Wait until dew point < -40 degC for 10 min, at most 2 h",
    "log": "Rest for 1 h (60 s period); Charge at 1C until 4.2 V (every 10 s, 5 mV)",
    "sweep": "Sweep from 2.5 V to 5 V at 0.1 mV/s",
    "eis": "EIS from 1 MHz to 10 mHz at 10 mV, 10 points per decade",
    "repeat": "Repeat 3 times: Rest for 1 h",
    "while": "While dew point < -40 degC, else pause: Rest for 1 h",
    "limits": "Limits: voltage > 2.5 V, voltage < 4.3 V, temperature < 60 degC",
}


@dataclass(frozen=True)
class _Line:
    """A line of a program: where it stands, how far it is indented, what it says."""

    number: int
    indent: int
    text: str


class _Amounts(NamedTuple):
    """What kind of amount is expected: how it is called, and its units."""

    what: str
    units: tuple[str, ...]

    def said(self) -> str:
        names = names_of(*self.units)
        return f"{self.what} in {', '.join(names if len(names) <= 16 else self.units)}"


_RATE = _Amounts("a rate", (*CURRENT_UNITS, "W", "Ohm"))
_TIME = _Amounts("a time", ("s",))
_VOLTAGE = _Amounts("a voltage", ("V",))


def parse(text: str) -> Program:
    """Read a program.

    Parameters
    ----------
    text : str
        A step a line, or several on one, with ";" or ", then" between them.  Lines below "Repeat 3 times:"
        and "While dew point < -40 degC, else pause:" are indented.  "Limits: ..." comes first.  "#" begins
        a comment.

    Returns
    -------
    Program

    Raises
    ------
    BadInput
        With the place, what was expected there, and an example.
    """
    lines = _lines(text)
    limits: tuple[Condition, ...] = ()
    if lines and re.match(r"\s*limits\s*:", lines[0].text, re.IGNORECASE):
        limits = _Reader(lines.pop(0)).limits()
    if not lines:
        raise BadInput(f"there is no step in the program: write one, like '{_EXAMPLES['step']}'")
    try:
        return Program(_block(lines, lines[0].indent), limits)
    except RecursionError:
        raise BadInput("the loops are nested too deeply: write them one after the other") from None


def parse_step(text: str) -> Step:
    """Read one step, which may be a loop with the steps in it; errors as in `parse`."""
    program = parse(text)
    if program.limits or len(program.steps) != 1:
        raise BadInput(f"{text!r} is not one step but {len(program.steps)}; `parse` reads a program")
    return program.steps[0]


def parse_conditions(text: str) -> tuple[Condition, ...]:
    """Read conditions with commas between them, as limits are written; errors as in `parse`."""
    lines = _lines(f"Limits: {text}")
    if len(lines) != 1:
        raise BadInput(f"{text!r}: conditions stand on one line, like '{_EXAMPLES['limits']}'")
    return _Reader(lines[0]).limits()


def parse_amount(text: str, *units: str, name: str) -> Amount:
    """Read a single amount, such as a rate "0.1C" or a potential "4.25 V vs Li/Li+".

    Parameters
    ----------
    text : str
    *units : str
        Canonical units allowed.
    name : str
        Of the argument, for the message.

    Raises
    ------
    BadInput
        With what was expected.
    """
    wanted = _Amounts("an amount", units)
    reader = _Reader(_Line(1, 0, text.strip()))
    try:
        amount = reader.amount(wanted, "current")
    except BadInput:
        amount = None
    if amount is None or reader.at < len(reader.text):
        raise BadInput(f"{name}={text!r}: write {wanted.said()}")
    return amount


def _lines(text: str) -> list[_Line]:
    """Split a text; full-width characters and the typographic minus are what word processors write."""
    plain = unicodedata.normalize("NFKC", text)
    for typed, meant in _TYPED.items():
        plain = plain.replace(typed, meant)
    lines = []
    for number, line in enumerate(plain.expandtabs(4).splitlines(), start=1):
        bare = line.split("#")[0].rstrip()
        if bare.strip():
            lines.append(_Line(number, len(bare) - len(bare.lstrip()), bare))
    return lines


def _block(lines: list[_Line], indent: int) -> tuple[Step, ...]:
    """Read the lines of one indentation, and take them off the list."""
    steps: list[Step] = []
    while lines and lines[0].indent >= indent:
        line = lines.pop(0)
        if line.indent > indent:
            _Reader(line).fail("a line as far to the left as the one before", "repeat")

        def below(line: _Line = line) -> tuple[Step, ...]:
            if not lines or lines[0].indent <= line.indent:
                reader = _Reader(line)
                reader.at = len(line.text)
                reader.fail("steps, on this line or indented on the next ones", "repeat")
            return _block(lines, lines[0].indent)

        steps.extend(_Reader(line).steps(below))
    return tuple(steps)


class _Reader:
    """Reads one line from left to right."""

    def __init__(self, line: _Line) -> None:
        self.line = line
        self.text = line.text
        self.at = line.indent

    # What a line is made of.

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Go past a pattern, if it stands here."""
        while self.at < len(self.text) and self.text[self.at] == " ":
            self.at += 1
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found

    def word(self, *words: str) -> bool:
        """Go past one of these words, if it stands here."""
        return self.take(_words(words)) is not None

    def need(self, word: str, example: str) -> None:
        if not self.word(word):
            self.fail(f"'{word}'", example)

    def fail(self, expected: str, example: str) -> NoReturn:
        while self.at < len(self.text) and self.text[self.at] == " ":
            self.at += 1
        raise BadInput(
            f"line {self.line.number}, column {self.at + 1}: expected {expected}\n"
            f"  {self.text}\n  {' ' * self.at}^\n"
            f"for example: {_EXAMPLES[example]}"
        )

    def refuse(self, begin: int, why: str, example: str) -> NoReturn:
        """Refuse what has been read from `begin` on."""
        self.at = begin
        self.fail(why, example)

    def whole(self, what: str, example: str) -> int:
        begin = self.at
        found = self.take(_NUMBER)
        if found is None or not found.group().isdecimal() or not 0 < int(found.group()) < 10**9:
            self.refuse(begin, f"{what}, a whole number from 1", example)
        return int(found.group())

    def amount(self, wanted: _Amounts, example: str) -> Amount:
        """Read a number and a unit of the kind that is wanted, and what a potential is against."""
        begin = self.at
        if fraction := self.take(_C_FRACTION):
            divisor = float(fraction[1])
            if divisor == 0:
                self.refuse(begin, "a number other than 0 after 'C/'", example)
            value, unit = 1 / divisor, "C"
        else:
            number = self.take(_NUMBER)
            if number is None:
                self.fail(wanted.said(), example)
            found = self.take(_UNIT)
            if found is None:
                self.fail(f"a unit, for {wanted.said()}", example)
            value, unit = converted(float(number.group()), found.group()), UNITS[found.group()][0]
        if unit not in wanted.units:
            self.refuse(begin, wanted.said(), example)
        versus = self.take(_VERSUS) if unit == "V" else None
        return Amount(value, unit, versus[1] if versus else None)

    def duration_s(self, example: str) -> float:
        begin = self.at
        value = self.amount(_TIME, example).value
        if value <= 0:
            self.refuse(begin, "a time above 0", example)
        return value

    # Statements.

    def steps(self, below: Callable[[], tuple[Step, ...]]) -> list[Step]:
        """Read the steps on this line; a loop without steps on its line gets those `below` it."""
        steps = [self.step(below)]
        while self.take(_BETWEEN) and self.at < len(self.text):
            steps.append(self.step(below))
        if self.at < len(self.text):
            self.fail("the end of the step, ';' or ', then'", "step")
        return steps

    def step(self, below: Callable[[], tuple[Step, ...]]) -> Step:
        """Read one step, and say where it stands if it contradicts itself."""
        begin = self.at
        try:
            return self.statement(below)
        except BadInput as error:
            if str(error).startswith("line "):
                raise
            where = f"line {self.line.number}, column {begin + 1}: "
            raise BadInput(f"{where}{error}\n  {self.text}") from None

    def statement(self, below: Callable[[], tuple[Step, ...]]) -> Step:
        if self.word("repeat"):
            return self.repeat(below)
        if self.word("while"):
            return self.while_(below)
        if self.word("CCCV"):
            return self.current(hold=True)
        if self.word("CC"):
            return self.current()
        if self.ahead("charge", "discharge", "pulse"):
            return self.current()
        if self.word("CV"):
            self.word("at")
            return self.hold(self.amount(_VOLTAGE, "hold"))
        if self.word("hold"):
            return self.hold_or_set(waits=True)
        if self.word("set"):
            return self.hold_or_set(waits=False)
        if self.word("rest", "OCV"):
            return Rest(*self.ends("rest"))
        if self.word("wait"):
            self.need("until", "condition")
            return Wait(self.all_of("condition"), *self.wait_times())
        if self.word("sweep"):
            return self.sweep()
        if self.word("EIS", "impedance"):
            return self.impedance()
        self.fail("Charge, Discharge, Hold, Rest, Sweep, EIS, Set, Wait, Repeat or While", "step")

    def repeat(self, below: Callable[[], tuple[Step, ...]]) -> Loop:
        cycles = self.whole("how many times", "repeat")
        if not self.word("times", "time"):
            self.fail("'times'", "repeat")
        return Loop(cycles, self.inside("repeat", below))

    def while_(self, below: Callable[[], tuple[Step, ...]]) -> While:
        conditions = self.all_of("while")
        self.word(",")
        self.need("else", "while")
        otherwise: Literal["pause", "stop"] = "pause" if self.word("pause") else "stop"
        if otherwise == "stop" and not self.word("stop"):
            self.fail("'pause' or 'stop'", "while")
        return While(conditions, self.inside("while", below), otherwise)

    def inside(self, example: str, below: Callable[[], tuple[Step, ...]]) -> tuple[Step, ...]:
        self.need(":", example)
        return tuple(self.steps(below)) if self.at < len(self.text) else below()

    def current(self, *, hold: bool = False) -> Current:
        pulse = self.word("pulse")
        direction: Direction = "charge" if self.word("charge") else "discharge"
        if direction == "discharge" and not self.word("discharge"):
            self.fail("'charge' or 'discharge'", "current")
        pulse = self.word("pulse") or pulse
        self.need("at", "current")
        begin = self.at
        at = self.amount(_RATE, "current")
        if at.value <= 0:
            self.refuse(
                begin, f"a rate above 0: it has no sign, '{direction}' says which way it flows", "current"
            )
        to = None
        if self.word("to"):
            to = self.amount(_VOLTAGE, "current")
            if not (self.word("and hold") or hold):
                self.fail(f"'and hold'; to end there write 'until {to.text()}'", "current")
        elif hold:
            self.fail("'to' and the voltage that is held", "current")
        return Current(direction, at, to, *self.ends(direction), pulse)

    def hold_or_set(self, *, waits: bool) -> Step:
        name = self.take(_QUANTITY)
        quantity = _NAMES[name["name"].lower()] if name else None
        self.word("at", "to")
        begin = self.at
        to = self.amount(_Amounts("a voltage, a pressure, a temperature or a humidity", CANONICAL), "hold")
        quantity = quantity or _TOLD_BY_UNIT.get(to.unit)
        if waits and quantity == "voltage" and to.unit == "V":
            return self.hold(to)
        if quantity not in SET_POINTS or to.unit not in QUANTITIES[quantity]:
            self.refuse(
                begin, "a voltage, pressure, temperature or humidity; a current charges or discharges", "hold"
            )
        if not self.word("within"):
            if waits:
                self.fail(f"'within'; 'Set {quantity} to {to.text()}' does not wait for it", "hold")
            return SetPoint(quantity, to)
        within = self.amount(_Amounts("a tolerance", SET_POINTS[quantity]), "hold")
        return SetPoint(quantity, to, within, *self.wait_times())

    def hold(self, at: Amount) -> Hold:
        return Hold(at, *self.ends("hold"))

    def sweep(self) -> Sweep:
        start = self.amount(_VOLTAGE, "sweep") if self.word("from") else None
        self.need("to", "sweep")
        stop = self.amount(_VOLTAGE, "sweep")
        self.need("at", "sweep")
        return Sweep(start, stop, self.amount(_Amounts("a rate", ("V/s",)), "sweep"), self.log())

    def impedance(self) -> Impedance:
        frequency = _Amounts("a frequency", ("Hz",))
        self.need("from", "eis")
        first = self.amount(frequency, "eis")
        self.need("to", "eis")
        last = self.amount(frequency, "eis")
        self.need("at", "eis")
        amplitude = self.amount(_Amounts("an amplitude", ("V", "A")), "eis")
        if not self.ahead(", then") and self.word(","):
            points = self.whole("points per decade", "eis")
            self.need("points per decade", "eis")
            return Impedance(first.value, last.value, amplitude, points)
        return Impedance(first.value, last.value, amplitude)

    # Parts of steps.

    def ends(self, verb: str) -> tuple[tuple[Condition, ...], float | None, Log | None]:
        """Read "for 1 h or until 4.2 V or 5 mAh (60 s period)"."""
        until: list[Condition] = []
        for_s: float | None = None
        while True:
            if self.word("for"):
                if for_s is not None:
                    self.fail("one time only", "end")
                for_s = self.duration_s("end")
            elif self.word("until") or until:
                until.append(self.condition("end", verb=verb))
            elif for_s is None:
                self.fail("'for' and a time, or 'until' and a condition", "end")
            else:
                self.fail("'until' and a condition", "end")
            if not self.word("or") and not self.ahead("until"):
                return tuple(until), for_s, self.log()

    def ahead(self, *words: str) -> bool:
        """Say whether one of these words stands here."""
        at = self.at
        found = self.word(*words)
        self.at = at
        return found

    def log(self) -> Log | None:
        if not self.word("("):
            return None
        given: dict[str, float] = {}
        if self.word("every"):
            fields = {"s": "dt_s", "V": "dV_V", "A": "dI_A"}
            while not given or self.word(","):
                begin = self.at
                amount = self.amount(_Amounts("an interval", tuple(fields)), "log")
                if amount.value <= 0 or fields[amount.unit] in given:
                    self.refuse(begin, "an interval above 0, each kind once", "log")
                given[fields[amount.unit]] = amount.value
        else:
            given["dt_s"] = self.duration_s("log")
            self.need("period", "log")
        self.need(")", "log")
        return Log(**given)

    def limits(self) -> tuple[Condition, ...]:
        self.word("limits")
        self.word(":")
        limits = [self.condition("limits")]
        while self.word(","):
            limits.append(self.condition("limits"))
        if self.at < len(self.text.rstrip()):
            self.fail("',' or the end of the line", "limits")
        return tuple(limits)

    def all_of(self, example: str) -> tuple[Condition, ...]:
        conditions = [self.condition(example)]
        while self.word("and"):
            conditions.append(self.condition(example))
        return tuple(conditions)

    def wait_times(self) -> tuple[float | None, float | None]:
        for_s = self.duration_s("condition") if self.word("for") else None
        at_most = self.word(", at most", "at most")
        return for_s, self.duration_s("condition") if at_most else None

    def condition(self, example: str, *, verb: str | None = None) -> Condition:
        """Read a condition; `verb` is that of the step that it ends."""
        begin = self.at
        name = self.take(_QUANTITY)
        found = self.take(_COMPARISON)
        comparison: Comparison | None = None
        if found:
            comparison = "<" if found["less"] else ">"
        if name:
            quantity = _NAMES[name["name"].lower()]
            amount = self.amount(_Amounts(f"a {quantity}", QUANTITIES[quantity]), example)
        else:
            amount = self.amount(_Amounts("a condition", CANONICAL), example)
            told = _TOLD_BY_UNIT.get(amount.unit)
            if told is None:
                self.refuse(begin, f"what is {amount.text()}: one of {', '.join(QUANTITIES)}", example)
            quantity = told
        if amount.value <= 0 and quantity in ("current", "capacity"):
            self.refuse(begin, f"a {quantity} above 0: it has no sign here", example)
        if verb is not None and quantity == "current" and not name:
            self.as_pybamm(begin, verb, comparison, amount)
            comparison = "<"
        if comparison is None and verb is not None and quantity == "capacity":
            comparison = ">"
        if comparison is None and (verb is None or quantity != "voltage"):
            self.refuse(begin, f"'<' or '>' before {amount.text()}", "condition")
        return Condition(quantity, comparison, amount)

    def as_pybamm(self, begin: int, verb: str, comparison: Comparison | None, amount: Amount) -> None:
        """Refuse a comparison of currents that PyBaMM, whose discharge is positive, means otherwise."""
        same = comparison is None or (comparison == "<" and (amount.unit == "C" or verb == "discharge"))
        if not same:
            self.refuse(
                begin,
                f"'{amount.text()}' for a current falling to it, or 'current {comparison} {amount.text()}' "
                "for one without sign: PyBaMM means one with a sign",
                "end",
            )


_PATTERNS: dict[tuple[str, ...], re.Pattern[str]] = {}


def _words(words: tuple[str, ...]) -> re.Pattern[str]:
    """Any of these words or signs, in any case, with any space between two."""
    if words not in _PATTERNS:
        options = (
            r"\s*".join(map(re.escape, word.split())) + (r"\b" if word[-1].isalpha() else "")
            for word in words
        )
        _PATTERNS[words] = re.compile("|".join(options), re.IGNORECASE)
    return _PATTERNS[words]
