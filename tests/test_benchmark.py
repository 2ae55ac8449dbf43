"""The tool that measures, measured."""

import json
import sys
from functools import partial
from types import SimpleNamespace

import cv2
import pytest
import runs
import torch

from benchmarks import benchmark, budgets, data, losses, scale, step, testing
from benchmarks.measuring import milliseconds_in_turn, peak_growth, peak_of_tensors, ratio


def test_what_is_compared_runs_in_turn_after_a_warm_up():
    order = []
    times = milliseconds_in_turn({name: partial(order.append, name) for name in 'AB'}, 2)
    assert order == list('ABABAB') and [len(times[name]) for name in 'AB'] == [2, 2]


def test_a_ratio_is_the_median_over_the_turns():
    assert ratio([10.0, 30.0, 4.0], [1.0, 10.0, 2.0]) == dict(ms=10, ratio=3, ratio_least=2, ratio_most=10)


def allocate(kept: int, added: int):
    """Needs 300 MiB for a while before the call."""
    kept = torch.ones(kept * 2**18)
    torch.ones(300 * 2**18).sum()
    return lambda: (torch.ones(added * 2**18).sum(), kept.sum())


def test_memory_is_what_a_process_grows_by_at_the_peak_of_a_call():
    grown = peak_growth(partial(allocate, 40, 100), partial(torch.ones, 300 * 2**18))
    assert grown == pytest.approx(140, abs=10)


def test_tensors_are_counted_at_the_peak_of_a_call():
    assert peak_of_tensors(partial(allocate, 10, 30)) == pytest.approx(40, abs=1)


@pytest.mark.slow
def test_methods_and_steps_are_measured_beside_the_first(tmp_path):
    done = runs.call('../benchmarks/benchmark.py', 'methods', 'fitnet', '--runs', 1, '--out', tmp_path / 'methods.json')
    (result,) = json.load(open(tmp_path / 'methods.json'))['methods']
    assert 'fitnet: ' in done.stdout and result['method'] == 'fitnet'
    assert result['ratio'] > 0 and result['megabytes'] > 1
    config = runs.write_config(tmp_path)
    runs.call('../benchmarks/benchmark.py', 'step', config, '--runs', 1, '--out', tmp_path / 'step.json')
    (result,) = json.load(open(tmp_path / 'step.json'))['step']
    assert result['config'].endswith('config.py') and result['ratio'] == 1 and result['ms'] > 0


def test_a_benchmark_that_fails_keeps_what_it_measured(tmp_path, monkeypatch):
    def results(runs):
        yield dict(ratio=2.0, ratio_least=1.0, ratio_most=3.0, ms=1.0, case='a set', metrics_ms=1.0, iou_ms=1.0)
        raise MemoryError

    monkeypatch.setattr(testing, 'compare', results)
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', 'test', '--out', str(tmp_path / 'test.json')])
    with pytest.raises(MemoryError):
        benchmark.main()
    (result,) = json.loads((tmp_path / 'test.json').read_text())['test']
    assert result['case'] == 'a set'


def test_an_unknown_method_is_refused_with_those_that_there_are():
    done = runs.call('../benchmarks/benchmark.py', 'methods', 'kdd', check=False)
    assert done.returncode == 2 and 'kdd' in done.stderr and 'local_affinity' in done.stderr


def test_bpkd_and_cwd_are_measured_beside_mmrazors_cwd(monkeypatch):
    monkeypatch.setattr(losses, 'CASES', {'small': (19, 5, 64, 64, 8)})
    monkeypatch.setattr(losses, 'peak_growth', lambda *_: 2.0)
    results = {result['loss']: result for result in losses.compare(1)}
    assert (
        results["MMRazor's CWD"]['ratio'] == 1 and {'BPKD', 'CWD', 'BPKD, reference', 'CWD, reference'} < results.keys()
    )


def test_what_is_measured_beside_each_other_has_the_same_value():
    """Of MMRazor's CWD and ours, and of the fast and the plain formulas."""
    given = losses.records(19, 5, 64, 64, 8)
    values = {name: loss(*given).item() for name, loss in losses.LOSSES.items()}
    assert values["MMRazor's CWD"] == pytest.approx(values['CWD'], rel=1e-5) == pytest.approx(values['CWD, reference'])
    assert values['BPKD'] == pytest.approx(values['BPKD, reference'], rel=1e-4)


@pytest.mark.parametrize('classes, crop', [(19, (512, 1024)), (150, (512, 512))])
def test_mmrazors_recipe_is_its_own_but_for_the_number_of_classes(classes, crop):
    cfg = step.read_config(f'mmrazor of {classes} classes', {})
    assert step._crop(cfg) == step._crop(step.read_config(step.RECIPES[classes], {})) == crop
    assert cfg.model.type == 'SingleTeacherDistill' and cfg.model._scope_ == 'mmrazor'
    assert cfg.model.distiller.distill_losses.loss_cwd == dict(type='ChannelWiseDivergence', tau=1, loss_weight=5)
    if classes == 150:
        for network in (cfg.model.architecture, cfg.model.teacher):
            assert network.decode_head.num_classes == network.auxiliary_head.num_classes == 150


def test_mmrazors_recipe_can_be_built_to_be_measured():
    cfg, model = step.build('mmrazor of 19 classes', {})
    assert type(model).__name__ == cfg.model.type == 'SingleTeacherDistill' and model.training


def test_testing_is_measured_with_and_without_our_metrics(monkeypatch):
    called = []

    def runner_of(cfg):
        evaluator = SimpleNamespace(process=lambda data: called.append((len(cfg.test_evaluator), data)))
        return SimpleNamespace(
            test=list, test_loop=SimpleNamespace(evaluator=evaluator, run=lambda: evaluator.process(data='an image'))
        )

    cfg = testing.Config(dict(test_evaluator=[1, 2, 3]))
    monkeypatch.setattr(testing, 'cases', lambda folder: {'a case': (cfg, 'c')})
    monkeypatch.setattr(testing.Runner, 'from_cfg', runner_of)
    (result,) = testing.compare(2)
    assert called == [(3, 'an image'), (1, 'an image')] * 3 and result['case'] == 'a case'
    assert result['metrics_ms'] > 0 < result['iou_ms']


def test_a_step_of_every_setting_is_measured_on_the_same_images(monkeypatch, tmp_path):
    path = runs.write_config(tmp_path)
    monkeypatch.setattr(step, 'RECIPES', {9: path})
    monkeypatch.setattr(
        step,
        '_beside_mmrazor',
        lambda classes, settings: {name or 'plain': (path, step.SETTINGS[name]) for name in settings},
    )
    monkeypatch.setattr(step, 'peak_growth', lambda make: float(make()() is not None))
    results = list(step.compare(1, [], {}))
    assert [result['config'] for result in results] == ['plain', *list(step.SETTINGS)[1:]]
    assert {', teacher not folded', ', channels_last'} < step.SETTINGS.keys()
    assert {(*result['size'], result['batch_size']) for result in results} == {(48, 48, 2)}
    first, second = (step.random_batch(9, 2, (48, 48)) for _ in range(2))
    assert all(torch.equal(*images) for images in zip(first['inputs'], second['inputs']))
    assert results[0]['ratio'] == 1 and all(result['ms'] > 0 for result in results)


def test_loading_is_measured_beside_mmsegmentations_on_the_same_seeds(monkeypatch):
    monkeypatch.setattr(data, 'CASES', {'small': ('ade20k_512x512.py', 'ade20k.py', (340, 256), 'jpg')})
    threads = torch.get_num_threads(), cv2.getNumThreads()
    (result,) = data.compare(1)
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])
    assert list(result['parts'])[:2] == ['LoadImageFromFile', 'LoadCheckedAnnotations']
    assert result['images_per_second'] > 0 < result['rival_images_per_second']


def test_what_more_gpus_need_is_arithmetic_on_the_sizes(monkeypatch):
    model = torch.nn.Sequential(torch.nn.Linear(5000, 5000, bias=False), torch.nn.SyncBatchNorm(3, affine=False))
    monkeypatch.setattr(scale, 'build', lambda *_: (None, model))
    result = scale.extrapolation(64, images_per_second=8)
    assert result['gradient_megabytes'] == 100 and result['sent_megabytes'] == 2 * 100 * 63 / 64
    assert result['sending_ms'] == result['sent_megabytes'] / 10  # GB/s
    assert result['not_overlapping_ms'] == result['sending_ms'] / 4  # a bucket of 25 MB
    assert (result['norms_ms'], result['images_per_second'], result['workers']) == (0.2, 16, 2)
    assert '197 MB' in result['shown'] and '10 GB/s' in result['shown']


@pytest.mark.slow
def test_scale_is_measured(monkeypatch):
    monkeypatch.setattr(scale, 'PROCESSES', (2,))
    monkeypatch.setattr(scale, 'PROCESS_SIZE', (64, 64))
    results = list(scale.compare(1, (64, 64), 2))
    assert [r['what'].split(' (')[0] for r in results[:9]] == [
        'batch 2',
        'batch 4',
        'batch 6',
        'crop 32x32',
        'crop 64x64',
        'crop 96x96',
        '19 classes',
        '59 classes',
        '150 classes',
    ]
    assert all(r['ms'] > 0 < r['megabytes'] for r in results[:9])
    assert results[9]['sharing_ms'] > 0 and results[9]['gradient_megabytes'] > 40


def test_every_budget_is_judged_from_one_run(monkeypatch):
    measured = dict(ratio=1.2, ratio_least=1.0, ratio_most=2.0)
    case = next(iter(budgets.MASKS))
    monkeypatch.setattr(
        budgets.masks,
        'compare',
        lambda *_: [
            dict(measured, ratio=200, ratio_least=160, ratio_most=210, case=case, megabytes=2, rival_megabytes=30)
        ],
    )
    monkeypatch.setattr(
        budgets.losses,
        'compare',
        lambda runs, names: [dict(measured, loss=name, case='a case', memory_ratio=0.8) for name in names],
    )
    monkeypatch.setattr(
        budgets.step,
        'compare',
        lambda *_, settings: [
            dict(measured, config=name, size=[8, 8], memory_ratio=0.95, tensor_ratio=0.85)
            for name in ("MMRazor's CWD recipe", 'BPKD, 19 classes')
        ],
    )
    monkeypatch.setattr(budgets.testing, 'compare', lambda runs: [dict(measured, case='a set')])
    results = list(budgets.compare(1, None, None))
    lines = [budgets.FORMAT.format(**result) for result in results]
    assert lines[0] == f'edge masks, {case}: 200.00 times faster (160.00 to 210.00), aim at least 150: met'
    assert [(result['of'], result['verdict']) for result in results if 'loss' not in result['what']] == [
        ('times faster', 'met'),
        ('times less memory', 'missed'),
        ('of the time', 'missed'),
        ('of the memory', 'missed'),
        ("of the tensors' memory", 'met'),
        ('of the time', 'missed, not in every turn'),
    ]
    assert sum('BPKD loss' in line for line in lines) >= 1
