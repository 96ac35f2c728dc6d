"""What the commands that search have in common: their flags, and the way to the results."""

import pathlib
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from absl import app, flags, logging

from fastscale_jax.arch import Architecture
from fastscale_jax.arch.architecture import validate
from fastscale_jax.cli.common import FAILURE, OK, Config, complain, print_table, usage_error
from fastscale_jax.cli.flag_parsing import define_config, parser
from fastscale_jax.search.jobs import Entry, Job

Own = Any  # the values of a command's own flags, as attributes


class Options(NamedTuple):
    """The flags that all have, as `--help` describes them."""

    config: Config
    output: pathlib.Path
    epochs: int
    storage: str
    name: str
    heartbeat_seconds: int


def _define(name: str, epochs: int) -> dict[str, flags.FlagHolder]:
    """Defines the flags that all searches have, by the fields of `Options`."""
    return {
        "config": define_config(),
        "output": flags.DEFINE_string(
            "output",
            "",
            "Folder for the runs and the results; all workers see it. Without it, runs/NAME.",
        ),
        "epochs": flags.DEFINE_integer(
            "epochs",
            epochs,
            "That each network is trained for; 0: as many as the config says.",
            lower_bound=0,
        ),
        "storage": flags.DEFINE_string(
            "storage",
            "",
            "Where workers agree who does what: postgresql://user@host/database, or sqlite:///FILE "
            "for those of one machine. Without it, a file in the output folder. Start the same "
            "command as often as there are workers; each takes a job that no other has.",
        ),
        "name": flags.DEFINE_string("name", name, "Of the search in that storage."),
        "heartbeat_seconds": flags.DEFINE_integer(
            "heartbeat_seconds",
            10,
            "Between signs of life of a worker; one that gave none for four times as long has lost "
            "its job to another.",
            lower_bound=1,
        ),
    }


def _read(common: Mapping[str, flags.FlagHolder]) -> Options:
    """What was given; without an output folder, one of the search's name, and there the storage."""
    options = Options(**{name: flag.value for name, flag in common.items()})
    output = pathlib.Path(options.output or f"runs/{options.name}")
    url = options.storage or f"sqlite:///{output / 'search.db'}"
    return options._replace(output=output, storage=url)


def search(options: Options, jobs: Sequence[Job], about: Mapping[str, Any]) -> list[Entry]:
    """Does the jobs of a search, together with other workers, and returns what came of them.

    Args:
        options: of the command.
        jobs: all of them.
        about: what is searched, for workers to agree on; the recipe is added.

    Raises:
        DataError: the images are no good.
        SaveError: a checkpoint cannot be written.
        OSError: the output cannot be written.
        StorageError: the storage cannot be reached.
        ValueError: the networks cannot be trained with this config, or the study is another one.
    """
    # here, and not at the top, so that --help does not wait for JAX
    from fastscale_jax.runs.run import source_of
    from fastscale_jax.search.board import Board
    from fastscale_jax.search.ledger import Ledger
    from fastscale_jax.search.training import recipe_of, short
    from fastscale_jax.search.work import work
    from fastscale_jax.train.recipe import Recipe
    from fastscale_jax.utils.compiling import default_folder, keep_compiled_programs

    data = Recipe.from_config(options.config).data
    if not data.batch_size:
        raise ValueError("a search needs a batch size that is a number: all networks share it")
    if options.config.init_from:
        raise ValueError("a search begins with random weights: give no --config.init_from")
    config = short(options.config, options.epochs)
    Recipe.from_config(config)  # the shorter schedule may be none
    for job in jobs:
        validate(job.network)
    source_of(jobs[0].network, data)  # so that what is wrong with it is said before all else
    keep_compiled_programs(default_folder())
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"--output={options.output} cannot be made: {error.strerror}") from error
    with (
        Ledger(
            options.storage,
            options.name,
            jobs,
            {**about, "recipe": recipe_of(config)},
            heartbeat_seconds=options.heartbeat_seconds,
        ) as ledger,
        Board() as board,
    ):
        return work(ledger, config, options.output / "runs" / options.name, board)


def write_config(options: Options, name: str, network: Architecture, about: str) -> pathlib.Path:
    """Writes a config file for a network, with the schedule of the command's own config.

    Raises:
        OSError: it cannot be written.
    """
    from fastscale_jax.search import config_file

    path = options.output / f"{name}.py"
    config_file.write(path, network, options.config, about)
    return path


def run(
    name: str,
    main: Callable[[Options, Own], int],
    define: Callable[[], Mapping[str, flags.FlagHolder]],
    *,
    epochs: int = 10,
) -> None:
    """The entry point of a command that searches. Defines its flags, which no import may do.

    Args:
        name: of the study, and of the output folder, where none is given.
        main: of the command.
        define: defines the flags that it has beside the common ones, by name.
        epochs: of a network's schedule, where no number is given.
    """
    common, own = _define(name, epochs), define()

    def guarded(argv: Sequence[str]) -> int:
        del argv
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.FATAL)
        given = types.SimpleNamespace(**{name: flag.value for name, flag in own.items()})
        return _run(lambda options: main(options, given), _read(common))

    app.run(guarded, flags_parser=parser(common["config"]))


def _run(main: Callable[[Options], int], options: Options) -> int:
    try:
        from fastscale_jax.checkpoints.checkpoint import SaveError
        from fastscale_jax.data.sources.bad_images import DataError
        from fastscale_jax.runs.interrupt import PREEMPTED, Preempted
        from fastscale_jax.search.storage import StorageError
        from fastscale_jax.search.work import NoMemoryError
    except ModuleNotFoundError as error:
        return usage_error(
            f"{error.name} is not installed; pip install 'fastscale_jax[search]' brings it"
        )
    try:
        return main(options)
    except (
        DataError,
        NoMemoryError,
        SaveError,
        StorageError,
    ) as error:  # the first is a ValueError
        complain(str(error))
        return FAILURE
    except ValueError as error:
        return usage_error(str(error))
    except OSError as error:
        complain(f"{error.filename or options.output}: {error.strerror or error}")
        return FAILURE
    except (KeyboardInterrupt, Preempted) as error:
        complain("interrupted; the same command goes on")
        return PREEMPTED if isinstance(error, Preempted) else FAILURE


def report(entries: Sequence[Entry], lines: Sequence[str]) -> int:
    """Prints the finished search on stdout, and returns the exit status: none done is a failure."""
    from fastscale_jax.search.board import table

    print_table(table(entries))
    for line in lines:
        print(line)
    if all(entry.error is None for entry in entries):
        complain("no network could be trained")
        return FAILURE
    return OK
