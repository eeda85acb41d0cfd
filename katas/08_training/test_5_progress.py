import io
import os
import re

import numpy as np
import pytest
from katas.layers import Linear
from katas.losses import MSELoss
from katas.optimizers import SGD
from katas.training import Batches, Objective, Progress, train_epoch


class File(io.StringIO):
    """A file in which readers see only flushed text."""

    seen = ""

    def flush(self) -> None:
        self.seen = self.getvalue()


class Terminal(File):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        return True

    def screen(self) -> list[str]:
        """The lines that one sees, without the spaces at their ends: \\r goes back, \\x1b[K erases what follows."""
        lines, column = [""], 0
        for part in re.findall(r"\r|\n|\x1b\[[0-9]*K|[^\r\n\x1b]+", self.seen):
            if part == "\n":
                lines.append("")
            elif part[0] == "\x1b":
                lines[-1] = "" if part == "\x1b[2K" else lines[-1][:column]
            elif part != "\r":
                lines[-1] = lines[-1][:column].ljust(column) + part + lines[-1][column + len(part) :]
            column = column + len(part) if part.isprintable() else 0 if part in "\r\n" else column
        return [line.rstrip() for line in lines]


class Clock:
    """A clock that stands still until a spec moves it."""

    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_a_terminal_shows_how_far_the_epoch_is():
    """step(share, loss) draws one line: epoch 2/4, the loss, a bar [##########..........] of 20 characters, and 50%."""
    file, clock = Terminal(), Clock()
    progress = Progress(file, clock)
    progress.begin(4, done=1)
    clock.seconds += 30
    progress.step(0.5, 0.12345)
    (line,) = file.screen()
    for part in ("epoch 2/4", "loss 0.1235", "[##########..........]", "50%"):
        assert part in line


@pytest.mark.parametrize(
    ("done", "share", "seconds", "left"),
    [
        (0, 0.5, 30, "3:30 left"),
        (2, 0.5, 30, "1:30 left"),
        (0, 0.01, 36, "3:59:24 left"),
        (3, 1.0, 59, "0:00 left"),
        (3, 0.9, 540, "1:00 left"),
        (3, 0.5, 3600, "1:00:00 left"),
    ],
)
def test_the_time_left_is_for_all_epochs(done, share, seconds, left):
    """The time left is for all remaining epochs: seconds since begin() × epochs left / epochs done since begin(), as m:ss or
    h:mm:ss.
    """
    file, clock = Terminal(), Clock()
    progress = Progress(file, clock)
    progress.begin(4, done=done)
    clock.seconds += seconds
    progress.step(share, 0.5)
    assert f" {left}" in file.screen()[-1]


def test_finished_epochs_count_for_the_time_left():
    """In the middle of the second of four epochs, after 90 seconds, the time left is 2.5 epochs of 60 seconds."""
    file, clock = Terminal(), Clock()
    progress = Progress(file, clock)
    progress.begin(4)
    clock.seconds += 60
    progress.end_epoch(0.5, None, 60.0)
    clock.seconds += 30
    progress.step(0.5, 0.5)
    assert "2:30 left" in file.screen()[-1]


def test_it_is_drawn_ten_times_a_second_at_most():
    """Progress draws at most ten times a second: of 100,000 steps in ten seconds about a hundred, and the first at once."""
    file, clock = Terminal(), Clock()
    progress = Progress(file, clock)
    progress.begin(1)
    drawn = 0
    for step in range(100_000):
        before = file.tell()
        progress.step(step / 100_000, 0.5)
        drawn += file.tell() > before
        clock.seconds += 1 / 10_000
        assert step or drawn
    assert 50 <= drawn <= 101


def test_a_finished_epoch_leaves_a_line():
    """end_epoch(loss, metric, seconds) ends the line with the results. The next epoch uses the next line, and shows the metric
    until there is a newer one.
    """
    file, clock = Terminal(), Clock()
    progress = Progress(file, clock)
    progress.begin(3)
    progress.step(0.9, 0.7)
    progress.end_epoch(0.5, 0.875, 75.0)
    progress.step(0.1, 0.4)
    first, second = file.screen()
    assert first == "epoch 1/3  loss 0.5000  validation 0.8750  1:15"
    assert second.startswith("epoch 2/3  loss 0.4000  validation 0.8750  [##..................]  10%")


def test_the_last_validation_is_shown_until_there_is_another():
    """An epoch without validation (metric None) shows the latest metric. A new training begins without a metric."""
    file, clock = File(), Clock()
    progress = Progress(file, clock)
    progress.begin(3)
    for metric in (None, 0.875, None):
        progress.end_epoch(0.5, metric, 5.0)
    progress.begin(4, done=3)
    progress.end_epoch(0.5, None, 5.0)
    progress.begin(1)
    progress.end_epoch(0.5, None, 5.0)
    shown = [line.split("loss 0.5000  ")[1] for line in file.seen.splitlines()]
    assert shown == ["0:05", *["validation 0.8750  0:05"] * 3, "0:05"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.4, "0:00"), (0.6, "0:01"), (59.4, "0:59"), (59.6, "1:00"), (3599.6, "1:00:00"), (3600.4, "1:00:00")],
)
def test_times_are_rounded(seconds, shown):
    """Times are rounded to whole seconds: the time of an epoch, and the time left."""
    file, clock = Terminal(), Clock()
    progress = Progress(file, clock)
    progress.begin(2)
    clock.seconds += seconds
    progress.step(1.0, 0.5)
    assert f"  {shown} left" in file.screen()[-1]
    progress.end_epoch(0.5, None, seconds)
    assert file.screen()[0].endswith(f"loss 0.5000  {shown}")


@pytest.mark.parametrize(
    ("share", "bar", "percent"),
    [(0.0, 0, "  0%"), (0.024, 0, "  2%"), (2 / 3, 13, " 67%"), (0.69, 13, " 69%"), (0.997, 19, "100%")],
)
def test_the_bar_has_whole_twentieths(share, bar, percent):
    """The percentage is rounded to whole percents. The bar has a # for each twentieth that is done."""
    file = Terminal()
    Progress(file, Clock()).step(share, 0.5)
    assert f"  [{'#' * bar:.<20}] {percent}" in file.screen()[-1]


def test_another_training_begins_at_the_first_epoch():
    """begin() with done=0 counts epochs and time from the start, whatever this Progress has shown before."""
    file, clock = Terminal(), Clock()
    progress = Progress(file, clock)
    for epochs in (3, 2):
        progress.begin(epochs)
        clock.seconds += 10
        progress.step(0.5, 0.25)
        assert file.screen()[-1].startswith(f"epoch 1/{epochs}  loss 0.2500  [##########..........]  50%")
        assert f" 0:{10 * (2 * epochs - 1):02} left" in file.screen()[-1]
        progress.end_epoch(0.5, None, 20.0)
        assert file.screen()[-2] == f"epoch 1/{epochs}  loss 0.5000  0:20"


@pytest.mark.parametrize("zero", [0, 0.0, -0.25])
def test_a_validation_of_0_is_shown(zero):
    """A metric of 0 is not treated as None: it is shown, not the previous metric or nothing."""
    file = File()
    progress = Progress(file, Clock())
    progress.begin(3)
    for metric in (zero, 0.875, zero):
        progress.end_epoch(0.0, metric, 0.0)
    shown = [f"epoch {k}/3  loss 0.0000  validation {metric:.4f}  0:00" for k, metric in ((1, zero), (2, 0.875), (3, zero))]
    assert file.seen.splitlines() == shown


def test_an_empty_file_is_a_file(capsys):
    """A stream whose len() is 0, such as an empty buffer, is written to: it is not treated as if there were none."""

    class Empty(File):
        def __len__(self):
            return len(self.getvalue())

    file = Empty()
    Progress(file, Clock()).end_epoch(0.5, None, 5.0)
    assert file.seen == "epoch 1/1  loss 0.5000  0:05\n"
    assert capsys.readouterr().out == ""


def test_no_validation_shows_none():
    """With metric None, and none before, the line doesn't mention validation."""
    file = File()
    Progress(file, Clock()).end_epoch(0.5, None, 5.0)
    assert file.seen == "epoch 1/1  loss 0.5000  0:05\n"


def test_a_pipe_gets_plain_lines():
    """If file is not a terminal, Progress writes one line for each finished epoch, without control characters. It flushes each
    line, so that readers see it at once.
    """
    file, clock = File(), Clock()
    progress = Progress(file, clock)
    progress.begin(2)
    for _ in range(2):
        for share in (0.5, 1.0):
            clock.seconds += 10
            progress.step(share, 0.6)
        progress.end_epoch(0.5, 0.875, 20.0)
    text = "epoch {}/2  loss 0.5000  validation 0.8750  0:20\n"
    assert file.seen == text.format(1) + text.format(2)


@pytest.mark.parametrize("columns", [30, 80])
def test_a_line_never_wraps(columns, monkeypatch):
    """A line is cut to one less than the terminal's width: on a wrapped line, \\r returns only to its second half."""
    monkeypatch.setenv("COLUMNS", str(columns))
    file, clock = Terminal(), Clock()
    progress = Progress(file, clock)
    progress.begin(100_000, done=99_000)
    for share in (0.5, 0.75):
        clock.seconds += 20_000
        progress.step(share, 12345678.5)
    progress.end_epoch(12345678.5, 12345678.5, 20_000)
    longest = max(file.screen(), key=len)
    assert len(longest) < columns, f"{longest!r} has {len(longest)} characters"


def test_it_goes_to_stdout(capsys):
    """Without a file, Progress writes to the current sys.stdout."""
    Progress().end_epoch(0.5, None, 5.0)
    assert "loss 0.5000" in capsys.readouterr().out


@pytest.mark.parametrize("length", ["known", "unknown"])
def test_an_epoch_reports_its_progress(length, draw):
    """After each step, train_epoch(progress=…) calls step with the fraction of batches done, or 0 if data has no len(), and
    with the mean loss of the samples so far.
    """
    reports = []

    class Spy(Progress):
        def step(self, share, loss):
            reports.append((share, loss))

    network = Linear(4, 3)
    data = Batches(draw.normal(13, 4, dtype=np.float32), draw.normal(13, 3, dtype=np.float32), 2)
    spy = Spy(io.StringIO(), Clock())
    batches = data if length == "known" else iter(data)
    loss = train_epoch(Objective(network, MSELoss()), SGD(network.parameters(), lr=0.1), batches, accumulate=3, progress=spy)
    assert [share for share, _ in reports] == ([3 / 7, 6 / 7, 1.0] if length == "known" else [0.0] * 3)
    assert reports[-1][1] == loss


def test_steps_that_are_not_drawn_cost_next_to_nothing(budget):
    """Progress steps that draw nothing take at most 2% of the Python instructions of the epoch itself."""
    network = Linear(4, 3)
    model, optimizer = Objective(network, MSELoss()), SGD(network.parameters(), lr=1e-6)
    data = Batches(np.ones((40, 4), np.float32), np.ones((40, 3), np.float32), 2)
    progress = Progress(Terminal(), Clock())
    budget.steps(
        lambda: train_epoch(model, optimizer, data),
        lambda: [progress.step(0.5, 0.5) for _ in range(20)],
        limit=0.02,
    )


def test_the_width_is_that_of_now(monkeypatch):
    """A terminal that was made narrower gets shorter lines from then on."""
    file, width = Terminal(), [80]
    monkeypatch.setattr("shutil.get_terminal_size", lambda *_: os.terminal_size((width[0], 24)))
    progress = Progress(file, clock=lambda: 0.0)
    progress.begin(2)
    progress.end_epoch(1.0, None, 1.0)
    width[0] = 12
    progress.end_epoch(1.0, None, 1.0)
    first, second = [line for line in file.screen() if line]
    assert len(first) > 12
    assert len(second) <= 11


def test_lines_in_a_file_are_whole(monkeypatch):
    """Only a terminal's lines are cut: those of a log are not, however narrow the terminal is."""
    file = File()
    monkeypatch.setattr("shutil.get_terminal_size", lambda *_: os.terminal_size((12, 24)))
    progress = Progress(file, clock=lambda: 0.0)
    progress.begin(1)
    progress.end_epoch(0.5, 0.25, 61.0)
    assert "validation 0.2500  1:01" in file.seen
