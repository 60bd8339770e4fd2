"""The verb of the miniature family: train. Reads options, trains, shows how far it is; decides nothing itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kinetics.cli.errors import ExitCode, one_line_errors
from kinetics.cli.option_types import count_option

if TYPE_CHECKING:
    from kinetics.mini.train import Trainer

app = typer.Typer(
    help="The miniature family: tiny models that solve a synthetic contest, to check the pipeline end to end.",
    no_args_is_help=True,
)


@app.callback()
def mini() -> None:
    """The miniature family: tiny models that solve a synthetic contest, to check the pipeline end to end."""


@app.command(epilog="Example: kinetics mini train --model mini-50k --out runs/mini-50k")
def train(
    model: Annotated[str, typer.Option(help="mini-50k, mini-200k or mini-800k.")] = "mini-50k",
    out: Annotated[Path | None, typer.Option(help="Folder of the model; runs/<model> if not given.")] = None,
    steps: Annotated[int, count_option("Training steps; 0: as many as the model that came along.")] = 0,
    threads: Annotated[int, count_option("CPU threads.", least=1, most=1024)] = 1,
) -> None:
    """Train a miniature from nothing. Interrupted, the same command goes on where it stopped."""
    from kinetics.machine.threads import cpu_threads
    from kinetics.mini.train import DEFAULT_STEPS, TrainingPlan
    from kinetics.mini.train import train as train_model
    from kinetics.results.store import check_writable

    with one_line_errors():
        plan = TrainingPlan(model=model, num_steps=steps or DEFAULT_STEPS.get(model, 1))
    folder = out or Path("runs") / model
    check_writable(folder, remedy="choose another with --out")
    shown = _TrainingProgress(plan.num_steps)
    try:
        with one_line_errors(), cpu_threads(threads):
            trainer = train_model(plan, folder, on_step=shown.update)
    except KeyboardInterrupt:
        shown.say(f"stopped; the same command goes on from {folder}")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    finally:
        shown.close()
    shown.say(f"{trainer.step} steps in {trainer.wall_s:.0f} s; {folder} holds the model")


class _TrainingProgress:
    """A bar on a terminal; everywhere one line per point of the learning curve."""

    def __init__(self, num_steps: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = Console(stderr=True, highlight=False)
        self._num_shown = 0
        columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=self._console, transient=True, disable=not self._console.is_terminal)
        self._task = self._bar.add_task("", total=num_steps)
        self._bar.start()

    def update(self, trainer: Trainer) -> None:
        """Show the step, and the last point of the curve once."""
        self._bar.update(self._task, completed=trainer.step)
        for point in trainer.curve[self._num_shown :]:
            right = "  ".join(f"{kind} {share:.1%}" for kind, share in point.accuracy.items())
            self.say(f"step {point.step}  {trainer.wall_s:.0f} s  loss {point.loss:.3f}  right: {right}")
        self._num_shown = len(trainer.curve)

    def say(self, text: str) -> None:
        """One line for people."""
        self._console.print(text, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.stop()
