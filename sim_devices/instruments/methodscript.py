"""MethodSCRIPT: the parser and the interpreter of a PalmSens instrument, without its electrochemistry.

Sources: MethodSCRIPT manual 1.8 (commands, literals, package format, errors), the maker's example scripts
(MethodSCRIPT_Examples) and the tables of commands and errors in the maker's SDK. A line of a script is one
command; `#` begins a comment. Literals are integers with an SI prefix, or with `i` for whole numbers.

Not in these sources, and chosen here: `set_script_output 0` silences packages and strings but not the marks
of loops; scans are counted from 0; the time that a plain loop takes each time.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

__all__ = [
    "TECHNIQUES",
    "Aborted",
    "Bench",
    "Command",
    "LoopEnded",
    "ParseError",
    "Point",
    "Points",
    "Program",
    "Script",
    "ScriptError",
    "Value",
    "encode_value",
    "parse",
]

_OFFSET = 1 << 27
_LONGEST_LINE = 255
_EXPONENTS = {
    "a": -18, "f": -15, "p": -12, "n": -9, "u": -6, "m": -3, " ": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15,
    "E": 18,
}  # fmt: skip
_LITERAL = re.compile(r"([+-]?\d+)([afpnumkMGTPEi]?)")
_WHOLE = re.compile(r"0x([0-9A-Fa-f]+)i?|0b([01]+)i?")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_REFERENCE = re.compile(r"([a-z][a-z0-9_]*)(?:\[([a-z0-9_]+)\])?")
_TYPE = re.compile(r"[a-j][a-z]")
_OPTION = re.compile(r"([a-z_]+)\(([^)]*)\)")
_WORD = re.compile(r'f?"[^"]*"|[a-z_]+\([^)]*\)|[^\s"]+')
_ON_FINISHED = "on_finished:"
_ITERATION_S = 1e-4  # of a plain loop

#: Number that a measurement loop's first line tells (manual, table of techniques).
TECHNIQUES = {
    "meas_loop_lsv": 0x0000,
    "meas_loop_cv": 0x0005,
    "meas_loop_ca": 0x0007,
    "meas_loop_cp": 0x000A,
    "meas_loop_ocp": 0x000B,
    "meas_loop_eis": 0x000D,
    "meas_loop_geis": 0x000E,
}

_CONDITION = ("value", "operator", "value")
#: Arguments of each command: new variable, variable written, variable read, value, whole number, type, text.
_COMMANDS: dict[str, tuple[str, ...]] = {
    "var": ("new",),
    "array": ("new", "whole"),
    "store_var": ("out", "value", "type"),
    "copy_var": ("in", "out"),
    "add_var": ("out", "value"),
    "sub_var": ("out", "value"),
    "mul_var": ("out", "value"),
    "div_var": ("out", "value"),
    "alter_vartype": ("out", "type"),
    "int_to_float": ("out",),
    "float_to_int": ("out",),
    "loop": _CONDITION,
    "endloop": (),
    "breakloop": (),
    "if": _CONDITION,
    "elseif": _CONDITION,
    "else": (),
    "endif": (),
    "abort": (),
    "wait": ("value",),
    "timer_start": (),
    "timer_get": ("out",),
    "pck_start": (),
    "pck_add": ("in",),
    "pck_end": (),
    "send_string": ("text",),
    "set_script_output": ("value",),
    "set_pgstat_chan": ("whole",),
    "set_pgstat_mode": ("value",),
    "set_max_bandwidth": ("value",),
    "set_acquisition_frac": ("value",),
    "set_acquisition_frac_autoadjust": ("value",),
    "set_range": ("type", "value"),
    "set_range_minmax": ("type", "value", "value"),
    "set_autoranging": ("type", "value", "value"),
    "set_e": ("value",),
    "set_i": ("value",),
    "set_int": ("value",),
    "cell_on": (),
    "cell_off": (),
    "meas": ("value", "out", "type"),
    "meas_loop_lsv": ("out", "out", *["value"] * 4),
    "meas_loop_cv": ("out", "out", *["value"] * 5),
    "meas_loop_ca": ("out", "out", *["value"] * 3),
    "meas_loop_cp": ("out", "out", *["value"] * 3),
    "meas_loop_ocp": ("out", *["value"] * 2),
    "meas_loop_eis": ("out", "out", "out", *["value"] * 5),
    "meas_loop_geis": ("out", "out", "out", *["value"] * 5),
}
#: Commands that take optional arguments, and which.
_OPTIONS = {
    "meas_loop_cv": ("nscans",),
    "meas_loop_eis": ("eis_acdc",),
    "meas_loop_geis": ("eis_acdc",),
    "cell_on": ("ocp",),
}
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

#: How long a point of a measurement takes, and what takes it then.
Point = tuple[float, Callable[[], None]]
Points = Generator[Point, None, None]


class ParseError(Exception):
    """A script that can't be loaded: error code, line and column."""

    def __init__(self, code: int, line: int, column: int = 1) -> None:
        super().__init__(code, line, column)
        self.code = code
        self.line = line
        self.column = column


class ScriptError(Exception):
    """What ends a running script: error code and line."""

    def __init__(self, code: int, line: int) -> None:
        super().__init__(code, line)
        self.code = code
        self.line = line


class Aborted(Exception):
    """`Z` was received, or the script said `abort`."""


class LoopEnded(Exception):
    """`Y` was received."""


class _LoopBroken(Exception):
    """The script said `breakloop`."""


@dataclass(frozen=True)
class Command:
    """One line of a script.

    Attributes
    ----------
    line : int
        Counted from 1.
    options : mapping
        Name of an optional argument -> its words: `nscans(3)`.
    blocks : tuple
        Of a loop or a condition: pairs of a condition (empty: always) and the commands under it.
    """

    line: int
    name: str
    arguments: tuple[str, ...] = ()
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    blocks: tuple[tuple[tuple[str, ...], tuple[Command, ...]], ...] = ()


@dataclass(frozen=True)
class Program:
    """A script that was loaded: what runs, and what runs after its end."""

    main: tuple[Command, ...]
    finish: tuple[Command, ...]


@dataclass
class Value:
    """Value of a variable, with its two-letter type and the metadata that a package gives with it."""

    type: str = "aa"
    number: float = 0.0
    whole: bool = False
    metadata: str = ""


class Bench(Protocol):
    """The instrument that a script runs in."""

    def script_time_s(self) -> float:
        """Monotonic time at which the script stands."""

    def send(self, text: str) -> None:
        """Send a line of output."""

    def points(self, script: Script, command: Command) -> Points:
        """Check a measurement loop's arguments, and give its points."""

    def single(self, script: Script, command: Command) -> Point:
        """Check the arguments of `meas`, and give its point."""

    def do(self, script: Script, command: Command) -> None:
        """Do a command of the potentiostat."""


def encode_value(value: float, *, whole: bool = False) -> str:
    """Eight characters: 28 bits with an offset of 2**27 as hexadecimal digits, then an SI prefix."""
    if not math.isfinite(value):
        return "     nan"
    if whole:
        return f"{round(value) + _OFFSET:07X}i"
    for prefix, exponent in _EXPONENTS.items():
        scaled = value / 10.0**exponent
        if abs(scaled) < _OFFSET - 1:
            return f"{round(scaled) + _OFFSET:07X}{prefix}"
    return "     nan"


def parse(lines: Sequence[str]) -> Program:
    """Turn lines into a program.

    Raises
    ------
    ParseError
        With what is wrong first.
    """
    parser = _Parser()
    for number, raw in enumerate(lines, start=1):
        if len(raw) > _LONGEST_LINE:
            raise ParseError(0x0008, number)
        text = raw if raw.strip().startswith("send_string") else raw.split("#", 1)[0]
        if text.strip():
            parser.take(number, text)
    return parser.end(len(lines))


def _number(literal: str) -> float | None:
    if match := _WHOLE.fullmatch(literal):
        return float(int(match[1], 16) if match[1] else int(match[2], 2))
    if match := _LITERAL.fullmatch(literal):
        return float(f"{match[1]}e{_EXPONENTS.get(match[2], 0)}")
    return None


@dataclass
class _Open:
    """A loop or condition whose end has not come yet."""

    line: int
    name: str
    arguments: tuple[str, ...]
    options: Mapping[str, tuple[str, ...]]
    blocks: list[tuple[tuple[str, ...], list[Command]]]

    @property
    def is_loop(self) -> bool:
        return self.name != "if"

    def close(self) -> Command:
        blocks = tuple((condition, tuple(commands)) for condition, commands in self.blocks)
        return Command(self.line, self.name, self.arguments, self.options, blocks)


class _Parser:
    def __init__(self) -> None:
        self._declared: set[str] = set()
        self._open: list[_Open] = []
        self._package = False
        self._main: list[Command] = []
        self._finish: list[Command] | None = None

    def take(self, number: int, text: str) -> None:
        words = [(match[0], match.start() + 1) for match in _WORD.finditer(text)]
        name, column = words[0]
        if name == _ON_FINISHED:
            if self._open or self._finish is not None:
                raise ParseError(0x400C, number, column)
            self._finish = []
            return
        if name.startswith("cell_on("):  # the only command that can be written without a blank before it
            name = "cell_on"
        if name not in _COMMANDS:
            raise ParseError(0x4001, number, column)
        options = self._options(number, name, words[1:])
        arguments = [word for word in words[1:] if not _OPTION.fullmatch(word[0])]
        self._check_arguments(number, name, arguments, len(text.rstrip()) + 1)
        self._place(number, column, Command(number, name, tuple(word for word, _ in arguments), options))

    def end(self, last: int) -> Program:
        if self._open or self._package:
            raise ParseError(0x4018, last)
        return Program(tuple(self._main), tuple(self._finish or ()))

    def _options(
        self, number: int, name: str, words: Sequence[tuple[str, int]]
    ) -> dict[str, tuple[str, ...]]:
        found = {}
        for word, column in words:
            if match := _OPTION.fullmatch(word):
                if match[1] not in _OPTIONS.get(name, ()):
                    raise ParseError(0x4008, number, column)
                found[match[1]] = tuple(match[2].split())
        return found

    def _check_arguments(self, number: int, name: str, arguments: list[tuple[str, int]], end: int) -> None:
        kinds = _COMMANDS[name]
        if len(arguments) < len(kinds):
            raise ParseError(0x4004, number, end)
        if len(arguments) > len(kinds):
            raise ParseError(0x420A, number, arguments[len(kinds)][1])
        for kind, (word, column) in zip(kinds, arguments, strict=True):
            if (code := self._wrong(kind, word)) is not None:
                raise ParseError(code, number, column)

    def _wrong(self, kind: str, word: str) -> int | None:
        match kind:
            case "new":
                if not _NAME.fullmatch(word):
                    return 0x402B
                if word in self._declared:
                    return 0x4026
                self._declared.add(word)
                return None
            case "type":
                return None if _TYPE.fullmatch(word) else 0x0002
            case "text":
                return None if word.endswith('"') else 0x4004
            case "operator":
                return None if word in _COMPARE else 0x4004
            case "whole":
                return None if _number(word) is not None else 0x4039
            case "value" if not _REFERENCE.fullmatch(word):
                return None if _number(word) is not None else 0x4039
        match_ = _REFERENCE.fullmatch(word)
        return None if match_ and match_[1] in self._declared else 0x420B

    def _place(self, number: int, column: int, command: Command) -> None:
        name = command.name
        if name in ("pck_start", "pck_add", "pck_end"):
            if self._package == (name == "pck_start"):
                raise ParseError(0x401B, number, column)
            self._package = name != "pck_end"
        if name in TECHNIQUES or name in ("loop", "if"):
            self._begin(number, column, command)
        elif name in ("elseif", "else"):
            self._turn(number, column, command)
        elif name in ("endloop", "endif"):
            if not self._open or self._open[-1].is_loop != (name == "endloop"):
                raise ParseError(0x400E, number, column)
            closed = self._open.pop().close()
            self._block().append(closed)
        elif name == "breakloop" and not any(block.is_loop for block in self._open):
            raise ParseError(0x400E, number, column)
        else:
            self._block().append(command)

    def _begin(self, number: int, column: int, command: Command) -> None:
        if command.name in TECHNIQUES and any(block.name in TECHNIQUES for block in self._open):
            raise ParseError(0x400B, number, column)
        condition = () if command.name in TECHNIQUES else command.arguments
        self._open.append(_Open(number, command.name, command.arguments, command.options, [(condition, [])]))

    def _turn(self, number: int, column: int, command: Command) -> None:
        if not self._open or self._open[-1].is_loop or not self._open[-1].blocks[-1][0]:
            raise ParseError(0x400E, number, column)
        self._open[-1].blocks.append((command.arguments, []))

    def _block(self) -> list[Command]:
        if self._open:
            return self._open[-1].blocks[-1][1]
        return self._main if self._finish is None else self._finish


class Script:
    """A program under way on a bench.

    `steps` is a generator of the times (s) that pass before it is to be resumed. `Aborted` and `LoopEnded`
    are thrown into it where the instrument is told so.
    """

    def __init__(self, program: Program, bench: Bench) -> None:
        self._bench = bench
        self._variables: dict[str, list[Value]] = {}
        self._package: list[str] = []
        self._output = True
        self._timer_began = bench.script_time_s()
        self.in_loop = False  #: whether a measurement loop runs
        self.steps = self._run(program)

    def number(self, word: str) -> float:
        """Value of a literal or of a variable."""
        number = _number(word)
        return self.variable(word).number if number is None else number

    def variable(self, word: str) -> Value:
        """A variable, or an element of an array.

        Raises
        ------
        ScriptError
            400F if there is no such element.
        """
        match = _REFERENCE.fullmatch(word)
        assert match is not None  # the parser has seen to that
        values = self._variables[match[1]]
        index = round(self.number(match[2])) if match[2] else 0
        if not 0 <= index < len(values):
            raise ScriptError(0x400F, 0)
        return values[index]

    def store(self, word: str, kind: str, number: float, metadata: str = "") -> None:
        """Write a variable."""
        value = self.variable(word)
        value.type, value.number, value.whole, value.metadata = kind, number, False, metadata

    def _run(self, program: Program) -> Generator[float, None, None]:
        try:
            yield 0.0
            yield from self._block(program.main)
        except (Aborted, LoopEnded):
            pass
        yield from self._block(program.finish)

    def _block(self, commands: Iterable[Command]) -> Generator[float, None, None]:
        for command in commands:
            try:
                if command.name in TECHNIQUES:
                    yield from self._measure(command)
                elif command.name == "loop":
                    yield from self._repeat(command)
                elif command.name == "if":
                    yield from self._branch(command)
                elif command.name == "wait":
                    yield max(0.0, self.number(command.arguments[0]))
                elif command.name == "meas":
                    delay_s, take = self._bench.single(self, command)
                    yield delay_s
                    take()
                elif not self._do(command):
                    self._bench.do(self, command)
            except ScriptError as error:
                raise ScriptError(error.code, error.line or command.line) from None

    def _measure(self, command: Command) -> Generator[float, None, None]:
        points = self._bench.points(self, command)
        self.in_loop = True
        self._bench.send(f"M{TECHNIQUES[command.name]:04X}")
        try:
            for delay_s, take in points:
                yield delay_s
                take()
                yield from self._block(command.blocks[0][1])
        except (_LoopBroken, LoopEnded):
            pass
        except Aborted:
            self._end_loop(points)
            raise
        self._end_loop(points)

    def _end_loop(self, points: Points) -> None:
        points.close()  # which ends the scan that it is in
        self.in_loop = False
        self._bench.send("*")

    def _repeat(self, command: Command) -> Generator[float, None, None]:
        ((condition, block),) = command.blocks
        self._bench.send("L")
        try:
            while self._holds(condition):
                yield from self._block(block)
                yield _ITERATION_S
        except _LoopBroken:
            pass
        self._bench.send("+")

    def _branch(self, command: Command) -> Generator[float, None, None]:
        for condition, block in command.blocks:
            if self._holds(condition):
                yield from self._block(block)
                return

    def _holds(self, condition: tuple[str, ...]) -> bool:
        if not condition:
            return True
        left, compare, right = condition
        return _COMPARE[compare](self.number(left), self.number(right))

    def _do(self, command: Command) -> bool:
        """Do a command of the language itself; say whether it is one."""
        words = command.arguments
        match command.name:
            case "var":
                self._variables[words[0]] = [Value()]
            case "array":
                self._variables[words[0]] = [Value() for _ in range(round(self.number(words[1])))]
            case "store_var":
                self.store(words[0], words[2], self.number(words[1]))
                self.variable(words[0]).whole = self._is_whole(words[1])
            case "copy_var":
                source, target = self.variable(words[0]), self.variable(words[1])
                target.type, target.number = source.type, source.number
                target.whole, target.metadata = source.whole, source.metadata
            case "add_var" | "sub_var" | "mul_var" | "div_var":
                self._calculate(command.name, self.variable(words[0]), self.number(words[1]))
            case "alter_vartype":
                self.variable(words[0]).type = words[1]
            case "int_to_float" | "float_to_int":
                value = self.variable(words[0])
                value.whole = command.name == "float_to_int"
                value.number = math.trunc(value.number) if value.whole else value.number
            case "breakloop":
                raise _LoopBroken
            case "abort":
                raise Aborted
            case "timer_start":
                self._timer_began = self._bench.script_time_s()
            case "timer_get":
                self.store(words[0], "eb", self._bench.script_time_s() - self._timer_began)
            case "set_script_output":
                self._output = round(self.number(words[0])) in (1, 3)
            case "send_string":
                self._tell("T" + self._text(words[0]))
            case "pck_start":
                self._package = []
            case "pck_add":
                value = self.variable(words[0])
                text = encode_value(value.number, whole=value.whole)
                self._package.append(f"{value.type}{text}{value.metadata}")
            case "pck_end":
                self._tell("P" + ";".join(self._package))
            case _:
                return False
        return True

    def _tell(self, text: str) -> None:
        if self._output:
            self._bench.send(text)

    def _is_whole(self, word: str) -> bool:
        if _number(word) is None:
            return self.variable(word).whole
        return word.endswith("i") or bool(_WHOLE.fullmatch(word))

    def _calculate(self, name: str, value: Value, operand: float) -> None:
        if name == "div_var" and operand == 0:
            raise ScriptError(0x0028, 0)
        calculate = {
            "add_var": operator.add,
            "sub_var": operator.sub,
            "mul_var": operator.mul,
            "div_var": operator.truediv,
        }[name]
        number = calculate(value.number, operand)
        value.number = math.trunc(number) if value.whole else number

    def _text(self, word: str) -> str:
        text = word.removeprefix("f").strip('"')
        if not word.startswith("f"):
            return text
        return re.sub(r"\{([^}]*)\}", lambda match: f"{self.number(match[1]):g}", text)
