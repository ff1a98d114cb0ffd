"""The command line: ``refine COMMAND [key=value ...] [--flag ...]``. Commands are imported when they run."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import NoReturn

import click

from refine import __version__
from refine.errors import RefineError
from refine.settings.arguments import SECTIONS, FlagsCommand, KeysCommand, configure

__all__ = ["SECTIONS", "cli", "configure", "main"]

HELP = """Next-scale generation: train, sample and score coarse-to-fine models of images, or of data of your own.

\b
  refine domains                                   what there is to model
  refine train domain=image                        train on the default data
  refine train domain=image data=mnist --run runs/mnist
  refine sample domain=image --num 64 --label 7    draw from the newest run
  refine sample run=runs/mnist --temperature 0.9
  refine inpaint run=runs/mnist image=3.png mask=mask.png   paint a part anew; also editing, super-resolution
  refine evaluate run=runs/mnist                  figures on held-out data
  refine ensemble domain=weather --members 50      forecasts
  refine regrid IN OUT --grid healpix:16           gridded data on another grid
  refine import var --vae FILE --var FILE --to RUN published weights
  refine reproduce table=all                      the paper's tables, measured
  refine study frontier domain=image              S scales against T diffusion steps
  refine inspect runs/mnist                       what a checkpoint is

key=value and --key value say the same, in any order. A key may be written by its last part where no other key has it:
num=64 is sample.num=64. A training that stopped goes on with: refine train run=FOLDER.

Environment: REFINE_DEBUG=1 (or --debug anywhere) shows tracebacks.
"""


class Group(click.Group):
    """Lists commands in the order of work."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=Group,
    help=HELP,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(__version__, prog_name="refine")
@click.pass_context
def cli(context: click.Context) -> None:
    """See HELP."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cli.command(cls=KeysCommand)
def train(arguments: Sequence[str]) -> None:
    """Train a model, or go on with run=FOLDER."""
    from refine.commands.train import run

    config = configure("train", arguments)
    try:
        run(config)
    except (KeyboardInterrupt, SystemExit) as error:
        if not _interrupted(error) or config.run is None:
            raise
        raise StoppedError(f"stopped; go on with: refine train run={shlex.quote(str(config.run))}") from error


@cli.command(cls=KeysCommand)
def sample(arguments: Sequence[str]) -> None:
    """Draw from a trained model.

    That is run=FOLDER, else the newest run of the domain, else the model that ships with it.
    """
    from refine.commands.sample import run

    run(configure("sample", arguments))


@cli.command(cls=KeysCommand)
def inpaint(arguments: Sequence[str]) -> None:
    """Paint a part of an image anew, and keep the rest.

    The model is run=FOLDER, else the newest run of the domain, else the one that ships with it. Codes of the known part
    are kept at every scale, the others are drawn.

    \b
      refine inpaint run=RUN image=cat.png mask=mask.png                    in-painting: white is painted, black is kept
      refine inpaint run=RUN image=cat.png mask=mask.png label=dog          editing: another class in its place
      refine inpaint run=RUN image=cat.png place=[8,8,16,16]                out-painting: around the image, put there
      refine inpaint run=RUN image=small.png keep_scales=3                  super-resolution: its coarse scales are kept
      refine inpaint run=RUN image=test:17 mask=mask.png num=8 seed=1       an item of the test split

    The mask has the size of the image, or of the model. Grey of 128 and more counts as white, transparent as black. An
    image of another size is resized on its short side and cropped to the centre, and its mask with it.
    """
    from refine.commands.inpaint import run

    run(configure("inpaint", arguments))


@cli.command(cls=KeysCommand)
def evaluate(arguments: Sequence[str]) -> None:
    """Score a trained model on held-out data.

    That is run=FOLDER, else the newest run of the domain, else the model that ships with it.
    """
    from refine.commands.evaluate import run

    run(configure("evaluate", arguments))


@cli.command(cls=KeysCommand)
def ensemble(arguments: Sequence[str]) -> None:
    """Forecast an ensemble into a zarr store, or go on where the same command stopped.

    The model is run=FOLDER, else the newest run of the domain, else the one that ships with it.
    """
    from refine.commands.ensemble import run

    config = configure("ensemble", arguments)
    with _goes_on():
        run(config)


@cli.command(cls=FlagsCommand)
@click.argument("source", metavar="IN")
@click.argument("out", metavar="OUT")
@click.option("--grid", required=True, metavar="GRID", help="healpix:NSIDE, gaussian:HxW or regular:HxW")
def regrid(source: str, out: str, grid: str) -> None:
    """Bring fields or forecasts onto another grid.

    Each cell of the new grid becomes the mean of what it covers, by area: constants stay, and so does the mean over the
    sphere. Memory holds one chunk at a time. What the way there and back loses is shown for every field.

    \b
      refine regrid era5_week week.zarr --grid healpix:16
      refine regrid "years/*.nc" small.zarr --grid gaussian:48x96
      refine regrid week.zarr week.nc --grid regular:181x360

    IN is zarr or netCDF: a path, a URL, a glob in quotes, or the name of a set. OUT ends in .zarr or .nc; one that is
    there already is never replaced.

    \b
    GRID is one of
      healpix:16               12 * 16**2 cells of equal area, in nested order
      gaussian:48x96           48 Gauss-Legendre latitudes, 96 longitudes
      regular:180x360          equal steps; an odd number of latitudes (181x360) has rows at the poles
      regular:720x1440:-89.75..90:0.5   other first and last latitudes, another first longitude
    """
    from refine.commands.regrid import run

    run(source, out, grid)


@cli.group("import", cls=Group)
def import_() -> None:
    """Make a run of weights that others published."""


@import_.command("var", cls=FlagsCommand)
@click.option("--vae", required=True, metavar="FILE", help="the tokenizer: vae_ch160v4096z32.pth")
@click.option("--var", required=True, metavar="FILE", help="the transformer: var_d16.pth ... var_d36.pth")
@click.option("--to", required=True, metavar="RUN", help="the run's folder, new or empty")
@click.option(
    "--scales", metavar="1,2,3,4", help="sides of the scales, where the file of the transformer does not tell"
)
@click.option("--folder", metavar="IMAGES", help="images to evaluate or train with, in a subfolder for each class")
def import_var(to: str, **given: str | None) -> None:
    """Weights of VAR, of any depth and schedule of scales.

    \b
      refine import var --vae vae_ch160v4096z32.pth --var var_d16.pth --to runs/var-d16
      refine sample run=runs/var-d16 --label 207

    Files of torch.save or safetensors, also training checkpoints of VAR; only tensors and plain data are read from
    them. Both are checked tensor by tensor before anything is written.
    """
    from refine.commands.import_weights import run

    run("var", to, given)


@cli.command(cls=FlagsCommand)
@click.option("--table", required=True, metavar="1|2|3|4|all", help="which of the paper's tables")
@click.option("--seeds", default="3", show_default=True, metavar="N", help="seeds 0 to N - 1")
@click.option("--train_size", default="60000", show_default=True, metavar="N", help="training images of the predictors")
@click.option("--out", default="reproduction", show_default=True, metavar="FOLDER", help="for what was measured")
def reproduce(table: str, seeds: str, train_size: str, out: str) -> None:
    """The paper's MNIST experiments, as its section 4 describes them: every cell of Tables 1 to 4, and every claim,
    beside what was measured, the floor that no such model can pass, and whether it was reproduced.

    \b
      refine reproduce table=all                    three seeds; about half an hour on one CPU core
      refine reproduce table=1 --seeds 1            pixel against latent denoising; a few minutes
      refine reproduce table=all train_size=1000    few updates: where the latent model is ahead; a few minutes

    Writes reproduction.json (figures and learning curves), tables-N.md and curves-N.png, N being train_size, which the
    autoencoder does not feel. What was stopped goes on with the next training, and nothing is measured twice.
    """
    from refine.commands.reproduce import run

    with _goes_on():
        run(table, seeds, train_size, out)


@cli.command(cls=FlagsCommand)
@click.argument("which", metavar="hypotheses|frontier")
@click.option("--domain", default="image", show_default=True, metavar="NAME", help="whose data, tasks and judge")
@click.option("--seeds", default="3", show_default=True, metavar="N", help="seeds 0 to N - 1")
@click.option("--updates", default="4000", show_default=True, metavar="N", help="of every training")
@click.option("--out", default="study", show_default=True, metavar="FOLDER", help="for what was measured, and the runs")
@click.option("--plot", metavar="FILE", help="draw what a study.json holds, and train nothing")
def study(which: str, domain: str, seeds: str, updates: str, out: str, plot: str | None) -> None:
    """What next-scale generation is worth: models that differ in one thing, trained with the same Transformer, data,
    parameters and operations, and judged by what they generate.

    \b
    hypotheses   a latent or pixels; categorical, bitwise or Gaussian heads; single, residual or product codes;
                 S = 1, 2, 3, 4, 6 scales: in generation, 4x super-resolution and in-painting of a half
    frontier     S scales against T = 2 to 250 steps of diffusion (of latents, of pixels, and of codes with an
                 absorbing state): Frechet distance against time and against evaluations of the network

    \b
      refine study hypotheses                       three seeds; about six CPU hours for both
      refine study frontier                         what both need is trained once
      refine study frontier --seeds 1 updates=200 --out quick
      refine study frontier --plot study/study.json --out pictures

    Writes study.json (all figures and curves), tables hypotheses.md or frontier.md, and pictures of the same name; with
    --plot only these, of the seeds and updates in FILE. What was stopped goes on where it stood, and nothing is
    measured twice.
    """
    from refine.commands.study import run

    with _goes_on():
        run(which, domain, seeds, updates, out, plot)


@cli.command()
@click.argument("folder", metavar="[RUN]", required=False)
def inspect(folder: str | None) -> None:
    """Tell what a checkpoint is.

    Its domain, scales, codes, parameters by part, figures and files. RUN is its folder; by default the newest run.
    """
    from refine.commands.inspect import run

    run(folder and folder.removeprefix("run="))


@cli.command()
def domains() -> None:
    """List the installed domains, broken ones too."""
    from refine.commands.domains import run

    run()


class StoppedError(Exception):
    """Ctrl-C, with what to do next."""


@contextlib.contextmanager
def _goes_on() -> Iterator[None]:
    """For work that the same command goes on with after Ctrl-C."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:
        if not _interrupted(error):
            raise
        raise StoppedError("stopped; the same command goes on with what is not finished") from error


def _interrupted(error: BaseException) -> bool:
    """Whether it is Ctrl-C, of which Lightning makes an exit."""
    return isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line. Exit code 0; 2 for what the user can mend, with one message; 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments or os.environ.get("REFINE_DEBUG", "0") not in ("", "0")
    try:
        code = cli.main([a for a in arguments if a != "--debug"], prog_name="refine", standalone_mode=False)
    except (RefineError, click.ClickException, OSError) as error:
        if debug:
            raise
        click.echo(f"error: {error.format_message() if isinstance(error, click.ClickException) else error}", err=True)
        code = 2
    except (StoppedError, click.Abort, KeyboardInterrupt) as error:
        if debug:
            raise
        click.echo(str(error) or "stopped", err=True)
        code = 130
    sys.exit(code if isinstance(code, int) else 0)
