"""The benchmarks measure what they claim to measure."""

import json
import sys
from functools import partial
from types import SimpleNamespace

import cv2
import pytest
import runs
import torch

from benchmarks import benchmark, budgets, data, losses, measuring, methods, scale, step, testing
from benchmarks.measuring import milliseconds_in_turn, peak_growth, peak_of_tensors, ratio


class Clock:
    """Replaces the clock of the benchmarks. Only `work` advances it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def perf_counter(self) -> float:
        return self.seconds

    def work(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(measuring, 'time', clock)
    return clock


def test_calls_alternate_and_the_first_turn_does_not_count(clock):
    durations = dict(A=[9.0, 0.02, 0.03], B=[7.0, 0.01, 0.02])  # seconds; the first call of each is slow
    order = []

    def call(name):
        order.append(name)
        clock.work(durations[name].pop(0))

    times = milliseconds_in_turn({name: partial(call, name) for name in 'AB'}, 2)
    assert order == list('ABABAB')
    assert times == dict(A=pytest.approx([20, 30]), B=pytest.approx([10, 20]))


def test_a_ratio_is_the_median_over_the_turns():
    assert ratio([10.0, 30.0, 4.0], [1.0, 10.0, 2.0]) == dict(ms=10, ratio=3, ratio_least=2, ratio_most=10)


def allocate(kept: int, added: int):
    """Returns a call that adds `added` MiB to `kept` MiB. Allocates and frees 300 MiB before."""
    kept = torch.ones(kept * 2**18)
    torch.ones(300 * 2**18).sum()
    return lambda: (torch.ones(added * 2**18).sum(), kept.sum())


@pytest.mark.slow
def test_peak_growth_is_the_memory_that_a_call_and_its_objects_add_to_a_process():
    grown = peak_growth(partial(allocate, 40, 100), partial(torch.ones, 300 * 2**18))
    assert grown == pytest.approx(140, abs=10)


def test_peak_of_tensors_is_their_memory_at_the_peak_of_a_call():
    assert peak_of_tensors(partial(allocate, 10, 30)) == pytest.approx(40, abs=1)


@pytest.mark.slow
def test_commands_print_the_results_that_they_write(tmp_path):
    done = runs.call('../benchmarks/benchmark.py', 'methods', 'fitnet', '--runs', 1, '--out', tmp_path / 'methods.json')
    (result,) = json.load(open(tmp_path / 'methods.json'))['methods']
    assert methods.FORMAT.format(**result) in done.stdout and result['method'] == 'fitnet'
    assert result['megabytes'] > 9  # of which the aligned features are 2 x 512 x 48 x 48 float32
    config = runs.write_config(tmp_path)
    done = runs.call('../benchmarks/benchmark.py', 'step', config, '--runs', 1, '--out', tmp_path / 'step.json')
    (result,) = json.load(open(tmp_path / 'step.json'))['step']
    assert step.FORMAT.format(**result) in done.stdout and result['config'] == config
    assert result['ratio'] == result['memory_ratio'] == result['tensor_ratio'] == 1


def test_results_are_written_before_a_benchmark_fails(tmp_path, monkeypatch):
    def results(runs):
        yield dict(ratio=2.0, ratio_least=1.0, ratio_most=3.0, ms=1.0, case='a set', metrics_ms=1.0, iou_ms=1.0)
        raise MemoryError

    monkeypatch.setattr(testing, 'compare', results)
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', 'test', '--out', str(tmp_path / 'test.json')])
    with pytest.raises(MemoryError):
        benchmark.main()
    (result,) = json.loads((tmp_path / 'test.json').read_text())['test']
    assert result['case'] == 'a set'


@pytest.mark.slow
def test_an_unknown_method_is_refused_and_the_error_lists_the_methods():
    done = runs.call('../benchmarks/benchmark.py', 'methods', 'kdd', check=False)
    assert done.returncode == 2 and 'kdd' in done.stderr and 'local_affinity' in done.stderr


def test_every_loss_is_compared_with_mmrazors_cwd(clock, monkeypatch):
    milliseconds = {"MMRazor's CWD": 10, 'CWD': 5, 'BPKD': 8, 'CWD, reference': 15, 'BPKD, reference': 40}
    megabytes = {loss: 2 * ms for loss, ms in milliseconds.items()}
    called = []
    original = losses.forward_and_backward

    def forward_and_backward(loss, given):
        original(loss, given)
        called.append(loss)
        clock.work(milliseconds[loss] / 1000)

    monkeypatch.setattr(losses, 'CASES', {'small': (19, 5, 64, 64, 8)})
    monkeypatch.setattr(losses, 'forward_and_backward', forward_and_backward)
    monkeypatch.setattr(losses, 'peak_growth', lambda make, warm_up: megabytes[make.args[0]])
    results = list(losses.compare(2))
    assert [result['loss'] for result in results] == list(milliseconds)
    assert called == [losses.RIVAL] * 3 + [
        name for loss in list(milliseconds)[1:] for _ in range(3) for name in (losses.RIVAL, loss)
    ]
    for result in results:
        expected = milliseconds[result['loss']] / 10
        assert [result['ratio'], result['ms'], result['memory_ratio']] == pytest.approx(
            [expected, milliseconds[result['loss']], expected]
        )
    assert losses.FORMAT.format(**results[2]) == ('small: BPKD: 8.0 ms, 0.80 times (0.80 to 0.80); 16 MiB, 0.80 times')


def test_compared_losses_have_the_same_value():
    """MMRazor's CWD, our CWD and its reference agree. BPKD and its reference agree, too."""
    given = losses.records(19, 5, 64, 64, 8)
    values = {name: loss(*given).item() for name, loss in losses.LOSSES.items()}
    assert values["MMRazor's CWD"] == pytest.approx(values['CWD'], rel=1e-5) == pytest.approx(values['CWD, reference'])
    assert values['BPKD'] == pytest.approx(values['BPKD, reference'], rel=1e-4)


@pytest.mark.parametrize(('classes', 'crop'), [(19, (512, 1024)), (150, (512, 512))])
def test_mmrazors_recipe_keeps_its_loss_and_gets_the_crop_and_classes_of_ours(classes, crop):
    cfg = step.read_config(f'mmrazor of {classes} classes', {})
    assert step._crop(cfg) == step._crop(step.read_config(step.RECIPES[classes], {})) == crop
    assert cfg.model.type == 'SingleTeacherDistill' and cfg.model._scope_ == 'mmrazor'
    assert cfg.model.distiller.distill_losses.loss_cwd == dict(type='ChannelWiseDivergence', tau=1, loss_weight=5)
    if classes == 150:
        for network in (cfg.model.architecture, cfg.model.teacher):
            assert network.decode_head.num_classes == network.auxiliary_head.num_classes == 150


def test_mmrazors_recipe_can_be_built():
    cfg, model = step.build('mmrazor of 19 classes', {})
    assert type(model).__name__ == cfg.model.type == 'SingleTeacherDistill' and model.training


def test_testing_is_measured_with_and_without_our_metrics(clock, monkeypatch):
    """With a network that takes 10 ms per image, and metrics that take 2 ms each."""
    called = []

    def runner_of(cfg):
        def process(data):
            called.append((len(cfg.test_evaluator), data))
            clock.work(0.002 * len(cfg.test_evaluator))

        def run():
            clock.work(0.01)
            evaluator.process(data='an image')

        evaluator = SimpleNamespace(process=process)
        return SimpleNamespace(test=list, test_loop=SimpleNamespace(evaluator=evaluator, run=run))

    cfg = testing.Config(dict(test_evaluator=[1, 2, 3]))
    monkeypatch.setattr(testing, 'cases', lambda folder: {'a case': (cfg, 'c')})
    monkeypatch.setattr(testing.Runner, 'from_cfg', runner_of)
    (result,) = testing.compare(2)
    assert called == [(3, 'an image'), (1, 'an image')] * 3
    assert testing.FORMAT.format(**result) == (
        'a case: 16 ms, 1.333 times (1.333 to 1.333); metrics of an image 6.0 ms, `IoUMetric` alone 2.0 ms'
    )


@pytest.mark.slow
def test_a_step_of_every_setting_is_measured_on_the_same_images(monkeypatch, tmp_path):
    path = runs.write_config(tmp_path)
    steps = []
    training_step = step.training_step

    def counted_step(path, options, *shape):
        train = training_step(path, options, *shape)
        return lambda: steps.append((options, *shape)) or train()

    monkeypatch.setattr(step, 'training_step', counted_step)
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
    assert results[0]['ratio'] == results[0]['tensor_ratio'] == 1
    assert all(result['megabytes'] == result['memory_ratio'] == 1 for result in results)
    parameters = sum(parameter.numel() for parameter in step.build(path, {})[1].parameters())
    assert all(result['tensor_megabytes'] > 4 * parameters / 2**20 for result in results if step.DEVICE.type == 'cpu')
    # A warm-up and a counted turn, each beside the first setting, and two steps for each measurement of the memory.
    per_setting = 6 if step.DEVICE.type == 'cpu' else 4
    assert steps == [
        (step.SETTINGS[setting], (48, 48), 2)
        for name in step.SETTINGS
        for setting in (['', name] * 2 if name else [name] * 2) + [name] * (per_setting - 2)
    ]


def test_loading_is_compared_with_mmsegmentations_pipeline_on_the_same_seeds(monkeypatch):
    """The pipelines run, and their times are replaced."""
    loaded = {}

    def measured(pipelines, runs):
        milliseconds_in_turn(pipelines, runs)
        for name, pipeline in pipelines.items():
            calls = {len(of_transform) for of_transform in pipeline.milliseconds.values()}
            loaded[name] = (pipeline.times, len(pipeline.made), calls)
        return dict(ours=[100.0, 200.0, 300.0], theirs=[400.0, 400.0, 400.0])

    monkeypatch.setattr(data, 'milliseconds_in_turn', measured)
    monkeypatch.setattr(data, 'CASES', {'small': ('ade20k_512x512.py', 'ade20k.py', (340, 256), 'jpg')})
    threads = torch.get_num_threads(), cv2.getNumThreads()
    (result,) = data.compare(1)
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])
    assert loaded == dict(ours=(2, 4, {8}), theirs=(2, 4, {8}))  # turns, images per turn, calls of each transform
    assert list(result['parts'])[:2] == ['LoadImageFromFile', 'LoadCheckedAnnotations']
    assert data.FORMAT.format(**result).startswith(
        "small: 20 images a second and worker, 10 with MMSegmentation's: 0.50 times its time (0.25 to 0.75); ms per"
    )


@pytest.mark.slow
def test_scale_is_measured_for_batch_crop_classes_and_processes(monkeypatch):
    monkeypatch.setattr(scale, 'PROCESSES', (2,))
    monkeypatch.setattr(scale, 'PROCESS_SIZE', (64, 64))
    results = list(scale.compare(1, (64, 64), 2))
    assert [result['what'].split(' (')[0] for result in results] == [
        'batch 2',
        'batch 4',
        'batch 6',
        'crop 32x32',
        'crop 64x64',
        'crop 96x96',
        '19 classes',
        '59 classes',
        '150 classes',
        '2 processes',
    ]
    assert all(result['least'] == result['ms'] == result['most'] for result in results[:9])  # of one counted turn
    _, model = step.build(step.RECIPES[19], {})
    student, teacher = (
        4 * sum(parameter.numel() for parameter in network.parameters()) for network in (model, model.teacher)
    )
    # Each step keeps the teacher, and the student with its gradient and momentum.
    assert all(result['megabytes'] > (teacher + 3 * student) / 2**20 for result in results[:9])
    assert results[9]['gradient_megabytes'] == pytest.approx(student / 1e6)


def of_turns(value: float, least: float, most: float) -> dict:
    return dict(ratio=value, ratio_least=least, ratio_most=most)


@pytest.fixture
def measurements(monkeypatch) -> dict:
    """Replaces all measurements of `budgets` and returns the arguments that they are called with."""
    called = {}

    def masks_compare(runs, cases):
        called['masks'] = (runs, list(cases))
        first, second = cases
        yield dict(of_turns(200, 160, 210), case=first, megabytes=2, rival_megabytes=30)
        yield dict(of_turns(30, 15, 40), case=second, megabytes=2, rival_megabytes=60)

    def losses_compare(runs, names):
        called['losses'] = (runs, *names)
        yield dict(of_turns(1, 1, 1), loss=losses.RIVAL, case='a case', memory_ratio=1)
        yield dict(of_turns(0.7, 0.6, 1.1), loss='BPKD', case='a case', memory_ratio=1.2)

    def step_compare(runs, configs, options, size, batch_size, settings):
        called['step'] = (runs, configs, options, size, batch_size, settings)
        given = dict(size=[8, 16], batch_size=3, ms=400)
        yield dict(given, **of_turns(1, 1, 1), config="MMRazor's CWD recipe, 19 classes")
        yield dict(given, **of_turns(0.9, 0.8, 0.95), config='BPKD, 19 classes', memory_ratio=0.95, tensor_ratio=0.85)
        if step.FAST in settings:
            yield dict(given, **of_turns(0.6, 0.55, 0.7), config=f'BPKD, 19 classes{step.FAST}')

    def testing_compare(runs):
        called['testing'] = runs
        yield dict(of_turns(1.2, 1.0, 2.0), case='a set')

    def milliseconds_of_loss(result, runs):
        called['loss'] = (result['config'], runs)
        return 6.0

    monkeypatch.setattr(budgets.masks, 'compare', masks_compare)
    monkeypatch.setattr(budgets.losses, 'compare', losses_compare)
    monkeypatch.setattr(budgets.step, 'compare', step_compare)
    monkeypatch.setattr(budgets.testing, 'compare', testing_compare)
    monkeypatch.setattr(budgets, 'milliseconds_of_loss', milliseconds_of_loss)
    return called


def budget_lines(monkeypatch, device: str) -> list:
    monkeypatch.setattr(budgets, 'DEVICE', torch.device(device))
    return [budgets.FORMAT.format(**result) for result in budgets.compare(2, (8, 16), 3)]


def test_budgets_of_a_cpu_are_masks_step_share_of_the_loss_and_testing(measurements, monkeypatch):
    first, second = budgets.MASKS
    of_step = "step of BPKD, 19 classes, 8x16, beside MMRazor's CWD"
    assert budget_lines(monkeypatch, 'cpu') == [
        f'edge masks, {first}: 200.00 times faster (160.00 to 210.00), aim at least 150: met',
        f'edge masks, {first}: 15.00 times less memory, aim at least 20: missed',
        f'edge masks, {second}: 30.00 times faster (15.00 to 40.00), aim at least 20: met by the median only',
        f'edge masks, {second}: 30.00 times less memory, aim at least 20: met',
        f'{of_step}: 0.90 of the time (0.80 to 0.95), aim at most 0.97: met',
        f'{of_step}: 0.95 of the memory, aim at most 0.9: missed',
        f"{of_step}: 0.85 of the tensors' memory, aim at most 0.9: met",
        'BPKD loss and masks in a step of BPKD, 19 classes, 8x16: 1.50 % of the time, aim at most 1: missed',
        'testing with all metrics beside mIoU alone, a set: 1.20 of the time (1.00 to 2.00), aim at most 1.1: missed '
        'by the median only',
    ]
    assert measurements == dict(
        masks=(2, [first, second]),
        step=(2, [], {}, (8, 16), 3, ('',)),
        loss=('BPKD, 19 classes', 2),
        testing=2,
    )


def test_budgets_of_a_gpu_are_loss_step_half_precision_and_testing(measurements, monkeypatch):
    of_loss, of_step = "BPKD loss beside MMRazor's CWD, a case", 'step of BPKD, 19 classes'
    assert budget_lines(monkeypatch, 'cuda') == [
        f'{of_loss}: 0.70 of the time (0.60 to 1.10), aim at most 1.0: met by the median only',
        f'{of_loss}: 1.20 of the memory, aim at most 1.0: missed',
        f"{of_step}, 8x16, beside MMRazor's CWD: 0.90 of the time (0.80 to 0.95), aim at most 0.97: met",
        f"{of_step}, 8x16, beside MMRazor's CWD: 0.95 of the memory, aim at most 0.9: missed",
        f'BPKD loss and masks in a {of_step}, 8x16: 1.50 % of the time, aim at most 3: met',
        f"{of_step}{step.FAST}, 8x16, beside MMRazor's CWD: 0.60 of the time (0.55 to 0.70), aim at most 0.5: missed",
        'testing with all metrics beside mIoU alone, a set: 1.20 of the time (1.00 to 2.00), aim at most 1.1: missed '
        'by the median only',
    ]
    assert measurements == dict(
        losses=(20, losses.RIVAL, 'BPKD'),
        step=(2, [], {}, (8, 16), 3, ('', step.FAST)),
        loss=('BPKD, 19 classes', 2),
        testing=2,
    )


def test_time_of_the_loss_is_measured_on_logits_of_the_size_of_the_step(clock, monkeypatch):
    called = []

    def forward_and_backward(loss, given):
        called.append((loss, *(tuple(tensor.shape) for tensor in given)))
        clock.work(0.004)

    monkeypatch.setattr(losses, 'forward_and_backward', forward_and_backward)
    result = dict(config='BPKD, 19 classes', size=[64, 128], batch_size=3)
    assert budgets.milliseconds_of_loss(result, 2) == pytest.approx(4)
    assert called == [('BPKD', (3, 19, 8, 16), (3, 19, 8, 16), (3, 64, 128))] * 21  # a warm-up and 20 counted turns
