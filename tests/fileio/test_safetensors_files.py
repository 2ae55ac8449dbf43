"""Checkpoints in safetensors files."""

import json
import sys

import pytest
import tiny
import torch
import toy

from mmseg_bpkd.fileio.checkpoint import read_checkpoint
from mmseg_bpkd.fileio.safetensors_files import save_safetensors


def test_without_the_package_the_error_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'safetensors', None)
    (tmp_path / 'x.safetensors').write_bytes(b'')
    with pytest.raises(
        ImportError, match=r"safetensors files need safetensors; pip install 'mmseg-bpkd\[safetensors\]'"
    ):
        read_checkpoint(str(tmp_path / 'x.safetensors'))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no checkpoint .*x\.safetensors: give the path'):
        read_checkpoint(str(tmp_path / 'x.safetensors'))


def write(path, values: list, meta: str | None = None) -> str:
    """Writes the format by its specification: the size of the header, the header, the data."""
    header = dict(w=dict(dtype='F32', shape=[len(values)], data_offsets=[0, 4 * len(values)]))
    if meta is not None:
        header['__metadata__'] = dict(meta=meta)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, 'little') + text + torch.tensor(values).numpy().tobytes())
    return str(path)


def test_a_file_is_read_with_its_meta(tmp_path):
    pytest.importorskip('safetensors')
    plain = read_checkpoint(write(tmp_path / 'plain.safetensors', [1.0, 2.0]))
    assert plain['state_dict']['w'].tolist() == [1, 2] and plain['meta'] == {}
    assert read_checkpoint(write(tmp_path / 'x.safetensors', [1.0], '{"iter": 3}'))['meta'] == dict(iter=3)


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda content: content[:-1], 'cannot read'),
        (lambda content: content[:4], 'cannot read'),
        (lambda content: b'', 'cannot read'),
        (lambda content: content.replace(b'{}', b'[['), 'cannot read'),
        (lambda content: content.replace(b'{}', b'[]'), 'is damaged, or not a checkpoint: meta is a list'),
    ],
)
def test_a_damaged_file_is_named(damage, message, tmp_path):
    pytest.importorskip('safetensors')
    path = tmp_path / 'bad.safetensors'
    content = damage((write(path, [1.0], '{}'), path.read_bytes())[1])
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf'bad\.safetensors.*{message}|{message} .*bad\.safetensors'):
        read_checkpoint(str(path))


def test_views_of_the_same_tensor_are_saved(tmp_path):
    pytest.importorskip('safetensors')
    base = torch.arange(6.0).reshape(2, 3)
    save_safetensors(str(tmp_path / 'x.safetensors'), dict(a=base, b=base.t(), c=base[1]), {})
    state = read_checkpoint(str(tmp_path / 'x.safetensors'))['state_dict']
    assert torch.equal(state['a'], base) and torch.equal(state['b'], base.t()) and torch.equal(state['c'], base[1])


@pytest.mark.parametrize('use', ['teacher', 'load_from', 'pretrained'])
def test_a_safetensors_file_stands_wherever_a_checkpoint_does(use, tmp_path):
    pytest.importorskip('safetensors')
    state = torch.load(tiny.save_teacher(tmp_path / 'teacher.pth'))['state_dict']
    path = str(tmp_path / 'x.safetensors')
    save_safetensors(path, state, {})
    if use == 'teacher':
        assert tiny.distillation(path).teacher_loaded
        return
    student = tiny.pspnet(8)
    if use == 'pretrained':
        student['backbone']['init_cfg'] = dict(type='Pretrained', checkpoint=path, prefix='backbone.')
    model = tiny.distillation(str(tmp_path / 'teacher.pth'), student=student)
    if use == 'load_from':
        toy.runner(tmp_path / 'run', model=model, load_from=path).load_or_resume()
    assert torch.equal(model.student.backbone.stem[0].weight, state['backbone.stem.0.weight'])
