"""The file that describes a grid of runs: configs x variants x seeds."""

import ast
import json
import os.path as osp
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config

from mmseg_bpkd.config.reading import read_config
from mmseg_bpkd.fileio.data_files import read_data, read_json
from mmseg_bpkd.fileio.work_dir import check_name, last_checkpoint

GRID_KEYS = ('configs', 'seeds', 'merge', 'options', 'variants', 'work_dir', 'results')
CONFIG_KEYS = ('config', 'seeds', 'merge', 'options', 'variants')
SETTINGS = 'settings.json'  # in the folder of a run: what its checkpoints were trained with
DATA = ('.yaml', '.yml', '.json')
NAME = re.compile(r'\w[\w.+-]*')


@dataclass(frozen=True)
class Run:
    """One run of a grid.

    Args:
        name: name of the config, and of the variant if there is one. All seeds of a name are one row of a table.
        seed: the seed of the training.
        config: path of the config.
        merge: paths of configs that are merged over it, in this order.
        options: changes to the result, as `--cfg-options` takes them.
    """

    name: str
    seed: int
    config: str
    merge: Sequence[str] = ()
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f'{self.name}-{self.seed}'

    @property
    def settings(self) -> dict:
        """What decides the result of the run, as JSON stores it."""
        settings = dict(config=self.config, merge=self.merge, overrides=self.options, seed=self.seed)
        return json.loads(json.dumps(settings))

    def load(self) -> Config:
        """Returns the config with everything merged.

        Raises:
            FileNotFoundError: if a file does not exist.
            ValueError: for an option that would have no effect.
        """
        try:
            return read_config(self.config, self.options, merge=self.merge)
        except (FileNotFoundError, ValueError) as error:
            raise type(error)(f'{self.id}: {error}') from error


@dataclass
class Grid:
    """The runs of a grid, in the order in which they start, and the folders of their files.

    Args:
        runs: the runs.
        work_dir: each run has a folder with checkpoints and logs in it.
        results: each finished run has a JSON file in it.
    """

    runs: list[Run]
    work_dir: str
    results: str

    def folder(self, run: Run) -> str:
        return osp.join(self.work_dir, run.id)

    def result(self, run: Run) -> str:
        return osp.join(self.results, f'{run.id}.json')

    def is_finished(self, run: Run) -> bool:
        return osp.isfile(self.result(run))

    def check_earlier_runs(self) -> None:
        """Checks that results and checkpoints of earlier starts have the settings of this grid.

        Raises:
            ValueError: for the first file with other settings.
        """
        for run in self.runs:
            _check_settings(run, self.result(run))
            check_checkpoints(run, self.folder(run))


def check_checkpoints(run: Run, folder: str) -> None:
    """Checks that the checkpoints in the folder of a run, if there are any, have its settings.

    Raises:
        ValueError: if they have others.
    """
    if last_checkpoint(folder):
        _check_settings(run, osp.join(folder, SETTINGS))


def _check_settings(run: Run, path: str) -> None:
    if not osp.isfile(path):
        return
    earlier = read_json(path)
    for key, now in run.settings.items():
        if earlier.get(key, now) != now:
            raise ValueError(
                f'{path} is of a run with {key}={earlier[key]}, but in the grid {run.id} has {key}={now}: give the new '
                f'run another name or folder, or remove {path}' + ('' if 'metrics' in earlier else ' with its folder')
            )


def load_grid(path: str, options: dict[str, Any] = {}) -> Grid:
    """Reads the file of a grid, in Python, YAML or JSON. A Python file is run; YAML and JSON are data.

    Args:
        path: the file. docs/experiments.md describes its keys.
        options: changes to the config of every run. They have priority over those of the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file cannot be read, has unknown keys or values that cannot be used, or if its folder is not
            UTF-8.
    """
    if not osp.isfile(path):
        raise FileNotFoundError(f'no grid {path}: give the path of a .py, .yaml or .json file, see docs/experiments.md')
    content = _read_grid(path) if path.endswith(DATA) else Config.fromfile(path).to_dict()
    grid = {key: value for key, value in content.items() if not key.startswith('_')}
    _check_keys(grid, GRID_KEYS, path)
    entries = grid.get('configs')
    if not isinstance(entries, dict) or not entries:
        raise ValueError(f'{path}: configs must be a dict {{name: path of a config}}, got {entries!r}')
    runs = [run for name, entry in entries.items() for run in _runs_of(str(name), entry, grid, options, path)]
    ids = [run.id for run in runs]
    repeated = sorted({id for id in ids if ids.count(id) > 1})
    if repeated:
        raise ValueError(f'{path}: more than one run is named {", ".join(repeated)}; rename a config or a variant')
    work_dir = grid.get('work_dir') or osp.join('work_dirs', osp.splitext(osp.basename(path))[0])
    check_name(work_dir)
    return Grid(_seed_by_seed(runs), work_dir, grid.get('results') or osp.join(work_dir, 'results'))


def _read_grid(path: str) -> dict:
    content = read_data(path)  # MMEngine would run the code that YAML can name, and import modules
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ValueError(f'{path}: expected a dict with the keys {", ".join(GRID_KEYS)}')
    if '_base_' in content:
        raise ValueError(f'{path}: only a grid in Python can have a _base_, since that is run as code')
    return content


def _runs_of(name: str, entry, grid: dict, options: dict, path: str) -> list[Run]:
    entry = dict(config=entry) if isinstance(entry, str) else entry
    place = f'{path}: configs.{name}'
    if not isinstance(entry, dict) or not isinstance(entry.get('config'), str):
        raise ValueError(f'{place} must be the path of a config, or a dict with the key config, got {entry!r}')
    _check_keys(entry, CONFIG_KEYS, place)
    seeds = entry.get('seeds', grid.get('seeds', [0]))
    if not isinstance(seeds, (list, tuple)) or not seeds or any(type(seed) is not int or seed < 0 for seed in seeds):
        raise ValueError(f'{place}: seeds must be a list of integers that are not negative, got {seeds!r}')
    merge = entry.get('merge', grid.get('merge', []))
    merge = (merge,) if isinstance(merge, str) else tuple(merge)
    runs = []
    variants = entry.get('variants', grid.get('variants', {'': {}}))
    if not isinstance(variants, dict) or not variants:
        raise ValueError(f'{place}: variants must be a dict {{name: options}} that is not empty, got {variants!r}')
    for variant, changes in variants.items():
        full_name = f'{name}_{variant}' if variant != '' else name
        if not NAME.fullmatch(full_name):
            raise ValueError(f'{place}: {full_name!r} is the name of a file, and may contain letters, digits and _.+-')
        merged = {}
        for given in (grid.get('options', {}), entry.get('options', {}), changes, options):
            merged.update(_plain_options(given, f'{place}, variant {variant}' if variant != '' else place))
        runs += [Run(full_name, seed, entry['config'], merge, merged) for seed in seeds]
    return runs


def _plain_options(options, place: str) -> dict:
    try:
        if ast.literal_eval(repr(options)) == options and isinstance(options, dict):
            return options
    except (ValueError, SyntaxError):
        pass
    raise ValueError(
        f'{place}: options must be a dict of plain values, such as numbers, strings and lists, got {options!r}'
    )


def _check_keys(given: dict, allowed: Sequence[str], place: str) -> None:
    unknown = sorted(set(given) - set(allowed))
    if unknown:
        raise ValueError(
            f'{place}: unknown key {", ".join(unknown)}; possible: {", ".join(allowed)}. Names that begin with an '
            'underscore are ignored'
        )


def _seed_by_seed(runs: list[Run]) -> list[Run]:
    """Sorts so that all configs finish their first seed first. A grid that is stopped early then has whole rows."""
    turn: dict[str, int] = {}
    turns = []
    for run in runs:
        turns.append(turn.get(run.name, 0))
        turn[run.name] = turns[-1] + 1
    return [run for _, run in sorted(zip(turns, runs), key=lambda pair: pair[0])]
