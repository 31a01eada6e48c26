"""A device that counts by itself, for tests of how plans measure."""

from dataclasses import dataclass

from devices.flyer import Column, Flyer, FlyingDevice, Row


@dataclass(frozen=True)
class Counting:
    """Counts seconds."""

    points: int = 10

    def longest_s(self):
        return self.points + 5.0

    def silence_s(self, rows):
        return 5.0


class Counter(FlyingDevice):
    """Counts by itself, with an output that is on as long."""

    family = "counter"

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.flyers = {"count": Flyer(self, "count", {"number": Column("1", "Seconds")})}
        self.starts = 0
        self.on = False
        self.fails_at = 1000

    def connect(self):
        pass

    def flyer(self, task):
        return self.flyers["count"]

    def check_task(self, task):
        pass

    def begin(self, task):
        self.starts += 1
        self.on = True
        self.began_s, self.began, self.given = self.clock.monotonic(), self.clock.now(), 0

    def listen(self):
        there = min(int(self.clock.monotonic() - self.began_s), self.running_task().points)
        self.add_rows([Row(self.began + n, {"number": float(n)}) for n in range(self.given + 1, there + 1)])
        self.given = there
        if there >= self.fails_at:
            raise self.refused("is out of order")
        self.on = there < self.running_task().points
        return not self.on

    def switch_off(self):
        self.on = False

    def read_at_rest(self):
        if self.on:
            raise self.refused("is on though nothing runs")
