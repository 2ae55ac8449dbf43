"""JSON and YAML that others wrote, may be damaged, and are data, never code."""

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
        raise ValueError(
            f'{path} is empty, damaged, or of another kind ({" ".join(str(error).split())}): correct or remove it'
        ) from error


def read_json(path: str) -> dict:
    """Reads a JSON file that holds a dict.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: as `read_data`, or if it holds something else.
    """
    value = read_data(path)
    if not isinstance(value, dict):
        raise ValueError(f'{path} holds a {type(value).__name__}, expected a dict: correct or remove it')
    return value
