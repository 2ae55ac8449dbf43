"""The comparison of ONNX files with PyTorch finds differences, repeats nothing, and fails if the metrics differ."""

import json
import os.path as osp
import sys
from itertools import product

import numpy as np
import pytest
import tiny
import torch
from conftest import ROOT

from benchmarks import onnx_parity
from mmseg_bpkd.datasets.synthetic import render_scene
from mmseg_bpkd.evaluation.onnx import OnnxNetwork

SCENES = 4


def result_of(network: str, data: str, **changes) -> dict:
    fixed = dict(network=network, data=data, difference=1e-6, relative=1e-7, differing_pixels=0, pixels=9, classes=4)
    return dict(fixed, metrics={'mIoU': (50.0, 50.0)}) | changes


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Runs the command. Returns the results that it writes."""

    def run(*networks) -> list:
        out = tmp_path / 'onnx.json'
        monkeypatch.setattr(sys, 'argv', ['_', *networks, '--camvid', str(tmp_path), '--out', str(out)])
        onnx_parity.main()
        return json.loads(out.read_text())['onnx']

    return run


def test_the_committed_results_have_every_network_and_agree():
    path = osp.join(ROOT, 'benchmarks/results/onnx_2_cores.json')
    results = onnx_parity.read_results(path)
    assert results.keys() == set(product(onnx_parity.NETWORKS, onnx_parity.DATA))
    assert not [problem for result in results.values() for problem in onnx_parity.problems(result)]
    for result in results.values():
        assert result['iterations'] == onnx_parity.NETWORKS[result['network']][1]


def test_differences_are_those_of_a_loop_over_the_pixels(tmp_path):
    rng = np.random.default_rng(0)
    first = rng.normal(size=(5, 4, 6, 7)).astype(np.float32)
    second = first + rng.normal(scale=0.3, size=first.shape).astype(np.float32)
    found = onnx_parity.LogitComparison(str(tmp_path))
    for batch in (first[:3], first[3:]):
        found.keep(torch.from_numpy(batch))
    for batch in (second[:3], second[3:]):
        found.compare(torch.from_numpy(batch))
    pixels = [(first[i, :, y, x], second[i, :, y, x]) for i in range(5) for y in range(6) for x in range(7)]
    largest = max(abs(a[c] - b[c]) for a, b in pixels for c in range(4))
    assert found.result() == dict(
        images=5,
        difference=pytest.approx(largest),
        relative=pytest.approx(largest / np.abs(first).max()),
        differing_pixels=sum(int(a.argmax() != b.argmax()) for a, b in pixels),
        pixels=210,
        classes=4,
    )
    assert 0 < found.differing_pixels < 210


def test_a_class_counts_from_one_percent_of_the_pixels(tmp_path):
    labels = torch.zeros(1, 20, 20, dtype=torch.long)
    labels[0, 0, :4] = 1  # 1 %
    labels[0, 1, :3] = 2  # less
    found = onnx_parity.LogitComparison(str(tmp_path))
    logits = torch.nn.functional.one_hot(labels, 5).permute(0, 3, 1, 2).float()
    found.keep(logits)
    found.compare(logits)
    assert found.result()['classes'] == 2


def test_what_the_file_holds_is_not_repeated_and_a_failure_loses_nothing(call, monkeypatch):
    measured = []

    def measure(network: str, data: str, camvid: str) -> dict:
        if network == 'Fast-SCNN':
            raise MemoryError
        measured.append((network, data))
        return result_of(network, data)

    monkeypatch.setattr(onnx_parity, 'measure', measure)
    assert len(call('UPerNet-Swin-T')) == 2
    with pytest.raises(MemoryError):
        call()
    networks = [name for name in onnx_parity.NETWORKS if name not in ('UPerNet-Swin-T', 'Fast-SCNN')]
    expected = [(network, data) for network in ('UPerNet-Swin-T', *networks) for data in onnx_parity.DATA]
    assert measured == expected
    written = [result['network'] for result in call('PSPNet-R18')][::2]
    assert written == list(onnx_parity.NETWORKS)[:4]


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(metrics={'mIoU': (50.02, 50.0)}), 'mIoU is 50.02 with PyTorch but 50.0 with ONNX Runtime'),
        (dict(classes=2), 'only 2 classes have 1% of the predicted pixels'),
        (dict(metrics={'mIoU': (50.01, 50.0)}), None),
    ],
)
def test_other_metrics_or_few_classes_are_an_error(call, monkeypatch, changes, message):
    monkeypatch.setattr(onnx_parity, 'measure', lambda network, data, camvid: result_of(network, data, **changes))
    if message is None:
        call('Fast-SCNN')
        return
    with pytest.raises(SystemExit, match=f'^Fast-SCNN, drawn scenes: {message}'):
        call('Fast-SCNN')


@pytest.mark.slow
def test_an_onnx_file_that_computes_something_else_is_found(call, tmp_path, monkeypatch):
    """A tiny PSPNet is trained and exported. Then ONNX Runtime adds 100 to the logits of class 0."""
    pytest.importorskip('onnxruntime', reason="ONNX files need the packages of pip install 'mmseg-bpkd[onnx]'")
    pytest.importorskip('onnxscript', reason="ONNX files need the packages of pip install 'mmseg-bpkd[onnx]'")
    if torch.__version__.startswith('2.6.'):
        pytest.skip('PyTorch 2.6 cannot export these networks')
    network, data = tmp_path / 'network.py', tmp_path / 'data.py'
    network.write_text(f"model = dict(type='plain_segmentor', **{tiny.pspnet(4)!r})")
    base = f'{ROOT}/configs/pspnet/pspnet_r18w8_1xb8-600_synthetic-112x112.py'
    data.write_text(f'_base_ = {base!r}\ntest_dataloader = dict(dataset=dict(num_scenes={SCENES}))')
    monkeypatch.setattr(onnx_parity, 'NETWORKS', {'tiny': (str(network), 5, True)})
    monkeypatch.setattr(onnx_parity, 'DATA', {'scenes': (str(data), (120, 160))})
    export, run = onnx_parity.export_onnx, OnnxNetwork.__call__

    def export_and_break(*args) -> None:
        export(*args)
        offset = torch.tensor([100.0] + 8 * [0]).view(9, 1, 1)
        monkeypatch.setattr(OnnxNetwork, '__call__', lambda *args: run(*args) + offset)

    monkeypatch.setattr(onnx_parity, 'export_onnx', export_and_break)
    with pytest.raises(SystemExit, match='tiny, scenes: aAcc is .* with PyTorch but .* with ONNX Runtime'):
        call()
    (result,) = json.loads((tmp_path / 'onnx.json').read_text())['onnx']
    assert (result['images'], result['pixels'], result['size']) == (SCENES, SCENES * 120 * 160, 'any')
    assert result['difference'] == pytest.approx(100, abs=1e-3)
    of_class_0 = [100 * (render_scene('val', i)[1] == 0).mean() for i in range(SCENES)]
    assert result['metrics']['aAcc'][1] == pytest.approx(np.mean(of_class_0), abs=0.01)
    assert 0 < result['differing_pixels'] <= result['pixels']
