"""Parameters and operations, compared with hand counts and with the published numbers."""

import json
import os.path as osp
from importlib.util import find_spec

import pytest
import runs
import tiny
import torch
from conftest import ROOT
from mmengine.config import Config
from torch import nn

from mmseg_bpkd.analysis.complexity import measure, operations, segmentors
from mmseg_bpkd.deploy.student import plain_config
from mmseg_bpkd.models.roles import student_config
from mmseg_bpkd.models.segmentors import build_segmentor, resolve_segmentor

PUBLISHED = {  # in the authors' repository, for 150 classes and 512x512: 10^6 parameters, 10^9 operations
    'pspnet-r101': (68.07, 256.89),
    'pspnet-r18': (12.82, 54.53),
    'fcn-hr48': (65.95, 95.64),
    'fcn-hr18s': (3.97, 10.49),
    'deeplabv3plus-r101': (62.68, 255.67),
    'deeplabv3plus-mv2': (15.35, 69.60),
    'isanet-r101': (56.80, 228.21),
    'isanet-r18': (12.46, 54.33),
}
with open(osp.join(ROOT, 'experiments/complexity.json')) as file:
    MEASURED = {result['name']: result for result in json.load(file)}


def operations_by_hand(model: nn.Module, image: torch.Tensor) -> int:
    """Of a PSPNet: multiply-adds of convolutions; 1 per pooled value, 2 per normalized and 4 per resized value."""
    total = 0

    def count(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.SyncBatchNorm):
            total += 2 * output.numel()
        elif isinstance(module, nn.AdaptiveAvgPool2d):
            total += inputs[0].numel()
        elif type(module).__name__ == 'PPM':
            total += 4 * sum(branch.numel() for branch in output)

    for module in model.modules():
        module.register_forward_hook(count)
    model(image, mode='tensor')
    return total


def test_operations_are_those_of_the_layers():
    model = build_segmentor(resolve_segmentor(tiny.pspnet(4), 3, tiny.PREPROCESSOR)).eval()
    image = torch.randn(1, 3, 32, 48)
    assert operations(model, image) == operations_by_hand(model, image) > 0


def test_attention_is_counted_though_mmengine_does_not():
    class Attention(nn.Module):
        def forward(self, x):
            return nn.functional.scaled_dot_product_attention(x, x[:, :, :5], x[:, :, :5])

    assert operations(Attention(), torch.randn(2, 3, 7, 4)) == 2 * 3 * 7 * 5 * (4 + 4)


def test_a_subclass_of_seg_distill_has_a_teacher_and_a_student():
    subclass = type('SubclassOfSegDistill', (tiny.SegDistill,), {})
    for kind in ('SegDistill', subclass):
        model = dict(type=kind, teacher=tiny.pspnet(8), student=tiny.pspnet(4), data_preprocessor=tiny.PREPROCESSOR)
        found = {role: config.backbone.base_channels for role, config in segmentors(Config(dict(model=model)))}
        assert found == dict(teacher=8, student=4)
    plain = Config(dict(model=resolve_segmentor(tiny.pspnet(4))))
    assert [role for role, _ in segmentors(plain)] == ['network']


def test_the_auxiliary_head_is_counted_apart():
    model = build_segmentor(resolve_segmentor(tiny.pspnet(4), 3, tiny.PREPROCESSOR)).eval()
    result = measure(model, (32, 32), runs=1)
    assert result['parameters'] == sum(parameter.numel() for parameter in model.parameters())
    apart = sum(parameter.numel() for parameter in model.auxiliary_head.parameters())
    assert result['parameters'] - result['parameters_deployed'] == apart > 0
    assert result['frames_per_second'] > 0


@pytest.mark.parametrize('network', PUBLISHED)
def test_the_committed_counts_are_the_published_ones(network):
    """The published operations include resizing the logits to the image, four operations per value."""
    parameters, gflops = PUBLISHED[network]
    result = MEASURED[network]
    assert result['size'] == [512, 512]
    assert round(result['parameters'] / 1e6, 2) == parameters
    assert round((result['operations'] + 4 * 150 * 512 * 512) / 1e9, 2) == gflops


@pytest.mark.parametrize('network', ['pspnet-r18', 'fcn-hr18s', 'isanet-r18', 'deeplabv3plus-mv2'])
def test_the_committed_counts_are_those_of_the_config(network):
    result = MEASURED[network]
    student = build_segmentor(student_config(Config.fromfile(osp.join(ROOT, result['config'])).model))
    assert sum(parameter.numel() for parameter in student.parameters()) == result['parameters']


def test_the_table_of_the_documentation_is_the_committed_one():
    with open(osp.join(ROOT, 'docs/recipes.md')) as file:
        text = file.read()
    for name, result in MEASURED.items():
        row = next(line for line in text.splitlines() if line.startswith(f'| {name} |'))
        cells = [cell.strip() for cell in row.split('|')[2:]]
        assert cells[0] == f'{result["parameters"] / 1e6:.2f}' and cells[2] == f'{result["operations"] / 1e9:.2f}'
        if name in PUBLISHED:
            assert (float(cells[1]), float(cells[3])) == PUBLISHED[name]


@pytest.mark.slow
def test_the_tool_prints_teacher_and_student_and_writes_them(tmp_path):
    config = runs.write_config(tmp_path)
    exports = find_spec('onnxruntime') and find_spec('onnxscript') and not torch.__version__.startswith('2.6.')
    onnx = ['--onnx'] if exports else []
    done = runs.call('analysis/complexity.py', config, '--runs', 1, *onnx, '--out', tmp_path / 'complexity.json')
    results = json.load(open(tmp_path / 'complexity.json'))
    assert [result['role'] for result in results] == ['teacher', 'student']
    assert [result['size'] for result in results] == [[112, 112]] * 2
    assert results[0]['parameters'] > results[1]['parameters']
    for result in results:
        assert ('onnx_frames_per_second' in result) == bool(onnx)
        assert f'{result["parameters"] / 1e6:.2f}' in done.stdout
        assert f' {result["frames_per_second"]:.1f} ({result["device"]}) |' in done.stdout
        if onnx:
            assert f' {result["onnx_frames_per_second"]:.1f} ({result["onnx_device"]}) |' in done.stdout
            assert result['onnx_device'].endswith('ExecutionProvider')


def test_the_networks_before_an_error_are_written(bpkd, tmp_path):
    config = runs.write_config(tmp_path)
    error = bpkd('complexity', config, 'nowhere.py', '--runs', 0, '--out', 'complexity.json')
    assert error.startswith('error: no config nowhere.py')
    assert [result['role'] for result in json.load(open('complexity.json'))] == ['teacher', 'student']


def test_the_config_of_an_exported_student_has_the_size_of_the_image(bpkd, tmp_path):
    cfg = plain_config(Config.fromfile(runs.write_config(tmp_path)))
    cfg.dump('student.py')
    assert not bpkd('complexity', 'student.py', '--runs', 0, '--out', 'complexity.json')
    assert json.load(open('complexity.json'))[0]['size'] == [112, 112]
    cfg.pop('crop_size')
    cfg.dump('student.py')
    assert bpkd('complexity', 'student.py', '--runs', 0) == (
        'error: student.py has no crop_size: give the size of the image with --size HEIGHT WIDTH'
    )
    assert not bpkd('complexity', 'student.py', '--runs', 0, '--size', 32, 48)


def test_onnx_without_a_measured_speed_is_refused(bpkd, capsys):
    assert bpkd('complexity', 'c.py', '--onnx', '--runs', 0) == 2
    assert '--onnx measures the speed' in capsys.readouterr().err
