"""Reads JSON files of this package, which may be empty, truncated or another program's."""

import json


def read_json(path: str) -> dict:
    """Reads a JSON file.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it does not hold a dict. The message names the file.
    """
    with open(path, encoding='utf-8') as file:
        try:
            value = json.load(file)
        except ValueError as error:
            raise ValueError(f'{path} is empty, damaged or no JSON ({error}): remove it, or copy it again') from error
    if not isinstance(value, dict):
        raise ValueError(f'{path} holds a {type(value).__name__}, expected a dict: remove it, or copy it again')
    return value
