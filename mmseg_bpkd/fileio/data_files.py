"""JSON and YAML that others wrote: data, never code."""

import json
from typing import Any

import yaml


def read_data(path: str) -> Any:
    """Reads a .json, .yaml or .yml file.

    Raises:
        ValueError: if it is not JSON or YAML, is nested too deep, or names objects of Python.
    """
    try:
        with open(path, encoding='utf-8') as file:
            return json.load(file) if path.endswith('.json') else yaml.safe_load(file)
    except (RecursionError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f'cannot read {path}: {" ".join(str(error).split())}') from error
