"""A killed run loses only the steps since its last checkpoint, and resuming it is exact."""

import os
import os.path as osp
import re
import shutil
import signal

import pytest
import runs
import torch
import toy
from mmengine.evaluator import BaseMetric
from mmengine.fileio import get_file_backend
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from test_docs import python_blocks
from test_save_on_signal import Send
from torch.utils.data import DataLoader, SequentialSampler

from mmseg_bpkd.datasets import ResumableSampler
from mmseg_bpkd.engine.hooks import AtomicCheckpointHook, ExactResumeHook
from mmseg_bpkd.engine.hooks.atomic_checkpoint import AtomicLocalBackend
from mmseg_bpkd.engine.hooks.exact_resume import _ResumedIterator
from mmseg_bpkd.engine.hooks.save_on_signal import StoppedBySignal


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
    """A config with dropout, augmentation and two workers, and the folder of an uninterrupted run of 8 iterations."""
    folder = tmp_path_factory.mktemp('run')
    config = runs.write_config(folder, 8, more=runs.INTERRUPTIBLE)
    runs.call('train.py', config, '--work-dir', folder / 'whole')
    return config, folder


def log_text(folder) -> str:
    """The contents of all log files in a folder."""
    text = ''
    for place, _, files in os.walk(folder):
        for file in files:
            if file.endswith('.log'):
                text += open(osp.join(place, file)).read()
    return text


@pytest.mark.slow
def test_killed_and_resumed_run_gives_bit_identical_weights(uninterrupted):
    config, folder = uninterrupted
    work_dir = folder / 'killed'
    # Kill after iteration 5. The last checkpoint is that of iteration 4.
    runs.kill_when(lambda: 'Iter(train) [5/8]' in log_text(work_dir), 'train.py', config, '--work-dir', work_dir)
    assert open(work_dir / 'last_checkpoint').read().endswith('iter_4.pth') and not osp.exists(work_dir / 'iter_8.pth')
    done = runs.call('train.py', config, '--work-dir', work_dir, '--resume', 'auto')
    assert re.search(r'resumed epoch: 0, iter: 4', done.stdout + done.stderr)
    expected, got = (torch.load(folder / name / 'iter_8.pth') for name in ('whole', 'killed'))
    assert runs.same(got['state_dict'], expected['state_dict'])
    for a, b in zip(got['optimizer']['state'].values(), expected['optimizer']['state'].values()):
        assert torch.equal(a['momentum_buffer'], b['momentum_buffer'])


@pytest.mark.slow
def test_seed_changes_the_weights_and_resuming_uses_the_seed_of_the_checkpoint(uninterrupted):
    """The seed controls initialization and data. --seed need not be repeated to resume."""
    config, folder = uninterrupted
    runs.call('train.py', config, '--work-dir', folder / 'seed', '--seed', 5)
    expected = runs.student(folder / 'seed/iter_8.pth')
    assert not runs.same(expected, runs.student(folder / 'whole/iter_8.pth'))
    stop = ['--cfg-options', 'train_cfg.max_iters=4', 'train_cfg.val_interval=4']
    runs.call('train.py', config, '--work-dir', folder / 'seed2', '--seed', 5, *stop)
    runs.call('train.py', config, '--work-dir', folder / 'seed2', '--resume', folder / 'seed2/iter_4.pth')
    assert runs.same(runs.student(folder / 'seed2/iter_8.pth'), expected)


@pytest.mark.slow
def test_run_killed_while_writing_a_checkpoint_leaves_a_complete_one(uninterrupted):
    config, folder = uninterrupted
    work_dir = folder / 'writing'
    os.makedirs(work_dir)
    runs.kill_when(
        lambda: osp.exists(work_dir / 'iter_4.pth.part'),
        'train.py',
        config,
        '--work-dir',
        work_dir,
        '--cfg-options',
        'default_hooks.slow.slow_writing=True',
    )
    last = open(work_dir / 'last_checkpoint').read()
    assert last.endswith('iter_2.pth') and torch.load(last)['meta']['iter'] == 2
    runs.call('train.py', config, '--work-dir', work_dir, '--resume', 'auto')
    assert runs.same(runs.student(work_dir / 'iter_8.pth'), runs.student(folder / 'whole/iter_8.pth'))
    assert not [name for name in os.listdir(work_dir) if name.endswith('.part')]


def test_distillation_checkpoint_contains_no_teacher(uninterrupted):
    _, folder = uninterrupted
    checkpoint = torch.load(folder / 'whole/iter_8.pth')  # loads with weights_only=True
    assert all(key.startswith('architecture.') for key in checkpoint['state_dict'])
    teacher_shapes = {tuple(v.shape) for v in torch.load(folder / 'teacher.pth')['state_dict'].values()}
    assert (64, 64, 3, 3) in teacher_shapes  # last stage: no tensor of student or optimizer has this shape
    sizes = [tuple(v.shape) for v in checkpoint['state_dict'].values()]
    sizes += [tuple(v['momentum_buffer'].shape) for v in checkpoint['optimizer']['state'].values()]
    assert (64, 64, 3, 3) not in sizes


@pytest.mark.slow
def test_resuming_from_a_missing_checkpoint_is_an_error(uninterrupted):
    config, folder = uninterrupted
    done = runs.call('train.py', config, '--work-dir', folder / 'none', '--resume', 'nowhere.pth', check=False)
    assert done.returncode and 'no checkpoint nowhere.pth' in done.stderr


@pytest.mark.slow
def test_resume_auto_overrides_load_from_and_runs_a_missed_validation(uninterrupted):
    """The first run ends after its last checkpoint, without the validation that is due at this iteration."""
    config, folder = uninterrupted
    work_dir = folder / 'unvalidated'
    stop = ['--cfg-options', 'train_cfg.max_iters=4', 'train_cfg.val_begin=9']
    runs.call('train.py', config, '--work-dir', work_dir, *stop)
    options = ['--cfg-options', 'train_cfg.max_iters=4', 'train_cfg.val_interval=4', 'load_from=nowhere.pth']
    done = runs.call('train.py', config, '--work-dir', work_dir, '--resume', 'auto', *options)
    assert 'resumed epoch: 0, iter: 4' in done.stdout and 'Iter(val) [1/1]' in done.stdout
    assert [name for name in os.listdir(work_dir) if name.startswith('best_mIoU_iter_4')]


@pytest.mark.parametrize('processes', [1, 2, 4])
def test_resuming_with_another_number_of_processes_continues_the_data(processes):
    sampler = ResumableSampler(range(100), seed=3)
    sampler.world_size = 2
    hook, checkpoint = ExactResumeHook(), dict(meta=dict(iter=5))
    hook.before_train(training(sampler, 0))
    hook.before_save_checkpoint(training(sampler, 5), checkpoint)
    assert checkpoint['meta']['data_stream'] == dict(seed=3, position=5 * 4 * 2, samples_per_iter=8)

    resumed = ResumableSampler(range(100), seed=8)
    resumed.world_size = processes
    hook = ExactResumeHook()
    hook.after_load_checkpoint(None, checkpoint)
    hook.before_train(training(resumed, 5))
    assert resumed.seed == 3 and resumed.start == 40
    later = dict(meta=dict(iter=7))
    hook.before_save_checkpoint(training(resumed, 7), later)
    assert later['meta']['data_stream']['position'] == 40 + 2 * 4 * processes


def training(sampler, iteration: int):
    """A runner at the given iteration of a training loop with batches of 4."""
    loop = IterBasedTrainLoop.__new__(IterBasedTrainLoop)
    loop._iter = iteration
    loop.dataloader = DataLoader(range(100), 4, sampler=sampler)
    runner = FakeRunner('.')
    runner.train_loop, runner.train_dataloader, runner.seed = loop, loop.dataloader, 0
    return runner


class FakeRunner:
    """The part of a Runner that `AtomicCheckpointHook` uses."""

    def __init__(self, folder):
        self.work_dir, self.iter, self.epoch = str(folder), 0, 0
        self.message_hub = self
        self.hooks, self.optim_wrapper, self._load_from = [], None, None
        self.runtime_info, self.logger, self.written = {}, self, []

    def info(self, *args):
        pass

    def update_info(self, key, value):
        self.runtime_info[key] = value

    def get_info(self, key):
        return self.runtime_info[key]

    def warning(self, *args):
        pass

    def save_checkpoint(self, out_dir, filename, file_client_args=None, backend_args=None, **kwargs):
        self.written.append((filename, sorted(os.listdir(out_dir))))
        get_file_backend(out_dir, backend_args=backend_args).put(b'weights', osp.join(out_dir, filename))


def test_old_checkpoint_is_kept_until_the_new_one_is_written(tmp_path):
    runner = FakeRunner(tmp_path)
    hook = AtomicCheckpointHook(by_epoch=False, interval=1, max_keep_ckpts=1, save_best='mIoU', rule='greater')
    hook.before_train(runner)
    for runner.iter in range(3):
        hook.after_train_iter(runner, runner.iter)
        hook.after_val_epoch(runner, dict(mIoU=float(runner.iter)))
    for filename, present in runner.written:
        kind = 'best_mIoU_iter_' if filename.startswith('best') else 'iter_'
        number = int(re.search(r'\d+', filename)[0])
        if number > 1 and filename not in present:
            assert any(name.startswith(kind) for name in present), (filename, present)
    assert sorted(os.listdir(tmp_path)) == ['best_mIoU_iter_2.pth', 'iter_2.pth', 'last_checkpoint']


def test_a_second_better_validation_of_one_iteration_keeps_the_best_checkpoint(tmp_path):
    runner = FakeRunner(tmp_path)
    hook = AtomicCheckpointHook(by_epoch=False, interval=1, save_best='mIoU', rule='greater')
    hook.before_train(runner)
    for score in (1.0, 2.0):
        hook.after_val_epoch(runner, dict(mIoU=score))
    assert os.listdir(tmp_path) == ['best_mIoU_iter_0.pth']


BEST = 'best_mIoU_iter_1.pth'
HOOKS = [AtomicCheckpointHook, CheckpointHook]  # MMEngine's own is in the configs of MMSegmentation


def files_in(folder) -> list:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())


def resume_and_improve(hook_class, work_dir, load_from, info: dict, **changes) -> None:
    """Resumes with `info` of a checkpoint, saves, validates twice with better results, and saves again."""
    runner = FakeRunner(work_dir)
    runner._load_from, runner.runtime_info, runner.iter = str(load_from), dict(info), 20
    settings = dict(by_epoch=False, interval=1, max_keep_ckpts=1, save_best='mIoU', rule='greater')
    hook = hook_class(**{**settings, **changes})
    hook.before_train(runner)
    for score in (1.0, 2.0):
        hook.after_train_iter(runner, 0)
        hook.after_val_epoch(runner, dict(mIoU=score, trimap=score))
        runner.iter += 1


@pytest.mark.parametrize('hook_class', HOOKS)
@pytest.mark.parametrize('key', ['best_ckpt', 'best_ckpt_mIoU'])
@pytest.mark.parametrize('place', ['base', 'run'])
@pytest.mark.parametrize(
    'stored',
    ['precious', f'precious/{BEST}', f'base/{BEST}', 'base', f'run/../precious/{BEST}', 'run/notes.pth', 'run', 7],
)
def test_resuming_deletes_only_what_its_own_run_has_written(stored, place, key, hook_class, tmp_path):
    """The checkpoint, which is in the folder `place`, names any path as that of the best checkpoint."""
    for folder in ('precious', 'base', 'run'):
        (tmp_path / folder / 'more').mkdir(parents=True)
        for name in (BEST, 'notes.pth', 'more/a.pth'):
            (tmp_path / folder / name).touch()
    expected = files_in(tmp_path)
    info = {key: str(tmp_path / stored) if isinstance(stored, str) else stored}
    save_best = 'mIoU' if key == 'best_ckpt' else ['mIoU', 'trimap']
    resume_and_improve(
        hook_class, tmp_path / 'run', tmp_path / place / 'iter_1.pth', info, save_best=save_best, rule='greater'
    )
    lost = set(expected) - set(files_in(tmp_path))
    # In the folder of the run, a path with this name means its own file: the folder may have been moved.
    assert lost == ({f'run/{BEST}'} if place == 'run' and str(stored).endswith(BEST) else set())


@pytest.mark.parametrize('hook_class', HOOKS)
@pytest.mark.parametrize(
    'kept', [['../precious/a', '../precious/b'], ['../precious/a'], '../precious/a', [True, None], 3]
)
def test_kept_checkpoints_are_numbers(kept, hook_class, tmp_path):
    for folder in ('precious', 'run'):
        (tmp_path / folder).mkdir()
    for name in ('a.pth', 'b.pth'):
        (tmp_path / 'precious' / name).touch()
    info = dict(keep_ckpt_ids=kept)
    resume_and_improve(hook_class, tmp_path / 'run', tmp_path / 'run/4.pth', info, filename_tmpl='{}.pth')
    assert files_in(tmp_path / 'precious') == ['a.pth', 'b.pth']


@pytest.mark.parametrize('hook_class', HOOKS)
@pytest.mark.parametrize(('place', 'lost'), [('run', {'run/iter_3.pth', 'run/iter_4.pth'}), ('base', set())])
def test_kept_checkpoints_are_those_of_the_run_that_is_continued(place, lost, hook_class, tmp_path):
    for folder in ('base', 'run'):
        (tmp_path / folder).mkdir()
        for name in ('iter_3.pth', 'iter_4.pth'):
            (tmp_path / folder / name).touch()
    before = set(files_in(tmp_path))
    resume_and_improve(hook_class, tmp_path / 'run', tmp_path / place / 'iter_4.pth', dict(keep_ckpt_ids=[3, 4]))
    assert before - set(files_in(tmp_path)) == lost


def test_a_copied_run_that_is_continued_leaves_the_first_one_alone(tmp_path):
    """MMEngine stores absolute paths, and deletes the best checkpoint of the first run."""
    settings = dict(
        val_evaluator=[dict(type=Better)],
        default_hooks=dict(
            checkpoint=dict(
                type='AtomicCheckpointHook',
                by_epoch=False,
                interval=2,
                max_keep_ckpts=1,
                save_best='score',
                rule='greater',
            )
        ),
    )
    toy.runner(tmp_path / 'base', max_iters=4, **settings).train()
    before = files_in(tmp_path / 'base')
    assert 'best_score_iter_4.pth' in before
    shutil.copytree(tmp_path / 'base', tmp_path / 'copy')
    for folder in ('copy', 'other'):
        start = tmp_path / ('copy' if folder == 'copy' else 'base') / 'iter_4.pth'
        toy.runner(tmp_path / folder, resume=True, load_from=str(start), **settings).train()
        saved = [name for name in os.listdir(tmp_path / folder) if name.endswith('.pth')]
        assert sorted(saved) == ['best_score_iter_8.pth', 'iter_8.pth']
    assert files_in(tmp_path / 'base') == before


class Better(BaseMetric):
    """A metric that grows from call to call."""

    calls = 0

    def process(self, data_batch, data_samples) -> None:
        self.results.append(0)

    def compute_metrics(self, results) -> dict:
        Better.calls += 1
        return dict(score=float(Better.calls))


def test_partial_files_of_a_killed_run_are_removed(tmp_path):
    (tmp_path / 'iter_4.pth.part').write_bytes(b'half')
    AtomicCheckpointHook(by_epoch=False).before_train(FakeRunner(tmp_path))
    assert os.listdir(tmp_path) == []


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = str(tmp_path / 'a.pth')
    AtomicLocalBackend().put(b'old', path)

    def full_disk(*args):
        raise OSError('No space left on device')

    monkeypatch.setattr(os, 'fsync', full_disk)
    with pytest.raises(OSError, match='No space'):
        AtomicLocalBackend().put(b'new', path)
    assert open(path, 'rb').read() == b'old'


@pytest.mark.parametrize(
    ('iteration_based', 'message'),
    [
        (True, r'needs a ResumableSampler, got SequentialSampler: set train_dataloader\.sampler'),
        (
            False,
            r'needs an IterBasedTrainLoop or an EpochBasedTrainLoop, got object: set train_cfg\.type, or remove the',
        ),
    ],
)
def test_unsupported_loop_or_sampler_raises_type_error_before_training(iteration_based, message):
    runner = training(SequentialSampler(range(4)), 0)
    if not iteration_based:
        runner.train_loop = object()
    with pytest.raises(TypeError, match=message):
        ExactResumeHook().before_train(runner)


# Training by epochs: of 10 images, each epoch has two batches of four and one of two.


class Seen(Hook):
    """Collects, of each epoch, the first pixel of each image of its batches, and the epochs that were validated."""

    def __init__(self) -> None:
        self.epochs, self.validated = {}, []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        pixels = [float(image[0, 0, 0]) for image in data_batch['inputs']]
        self.epochs.setdefault(runner.epoch, []).append(pixels)

    def after_val_epoch(self, runner, metrics=None):
        self.validated.append((runner.epoch, metrics['mean']))


def by_epochs(folder, hooks=(), by_epoch: bool = False, drop_last: bool = False, **changes) -> Runner:
    """A run of three epochs. It saves every epoch or, unless `by_epoch`, every 100 iterations."""
    loader = dict(batch_size=4, num_workers=0, drop_last=drop_last, sampler=dict(type='ResumableSampler'))
    checkpoint = dict(type='AtomicCheckpointHook', by_epoch=by_epoch, interval=1 if by_epoch else 100)
    return toy.runner(
        folder,
        hooks=hooks,
        train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=3, val_interval=1),
        train_dataloader=dict(dataset=toy.Images(), **loader),
        default_hooks=dict(checkpoint=checkpoint),
        **changes,
    )


@pytest.mark.parametrize('drop_last', [False, True])
def test_an_epoch_ends_and_has_each_image_once(tmp_path, drop_last):
    seen = Seen()
    run = by_epochs(tmp_path, [seen], drop_last=drop_last)
    run.train()
    steps, images = (2, 8) if drop_last else (3, 10)
    assert run.iter == 3 * steps and [epoch for epoch, _ in seen.validated] == [1, 2, 3]
    orders = [[pixel for batch in batches for pixel in batch] for batches in seen.epochs.values()]
    assert [len(order) for order in orders] == [len(set(order)) for order in orders] == [images] * 3
    assert orders[0] != orders[1] != orders[2]


@pytest.mark.slow
def test_the_lines_of_the_docs_train_by_epochs(tmp_path):
    lines = next(block for block in python_blocks('docs/usage.md') if 'EpochBasedTrainLoop' in block)
    runs.write_config(tmp_path)
    (tmp_path / 'own.py').write_text(f"_base_ = 'config.py'\n{lines}")
    done = runs.call('train.py', tmp_path / 'own.py', '--work-dir', tmp_path / 'run')
    assert 'the schedule of the learning rate ends' not in done.stdout + done.stderr
    assert torch.load(tmp_path / 'run/iter_9.pth')['meta']['iter'] == 9  # three epochs of three pairs, of seven images
    rates = [float(rate) for rate in re.findall(r'Iter\(train\).* lr: (\S+)', done.stdout)]
    assert [len(set(rates[i : i + 3])) for i in (0, 3, 6)] == [1, 1, 1] and rates[0] > rates[3] > rates[6]


@pytest.mark.parametrize('drop_last', [False, True])
@pytest.mark.parametrize(
    ('method', 'call'),
    [
        ('before_train_iter', 1),
        ('before_train_iter', 3),
        ('before_train_iter', 4),
        ('after_val_iter', 2),
        ('after_val_iter', 7),
    ],
)
def test_an_interrupted_epoch_continues_where_it_was(tmp_path, method, call, drop_last):
    seen = [Seen() for _ in range(3)]
    whole = by_epochs(tmp_path / 'whole', [seen[0]], drop_last=drop_last)
    whole.train()
    with pytest.raises(StoppedBySignal):
        send = Send(signal.SIGTERM, method, call)
        by_epochs(tmp_path / 'parts', [seen[1], send], drop_last=drop_last).train()
    last = (tmp_path / 'parts/last_checkpoint').read_text()
    resumed = by_epochs(tmp_path / 'parts', [seen[2]], drop_last=drop_last, resume=True, load_from=last)
    resumed.train()
    parts = [[batch for batches in one.epochs.values() for batch in batches] for one in seen]
    assert parts[0] == parts[1] + parts[2]
    assert seen[0].validated == seen[1].validated + seen[2].validated
    assert runs.same(whole.model.state_dict(), resumed.model.state_dict())


@pytest.mark.parametrize('epoch', [1, 3])
def test_a_checkpoint_of_an_epoch_is_continued_with_the_validation_that_is_due(tmp_path, epoch):
    """A checkpoint is saved before the validation of its epoch."""
    seen, rest = Seen(), Seen()
    whole = by_epochs(tmp_path, [seen], by_epoch=True)
    whole.train()
    resumed = by_epochs(tmp_path / 'parts', [rest], True, resume=True, load_from=f'{tmp_path}/epoch_{epoch}.pth')
    resumed.train()
    assert rest.validated == seen.validated[epoch - 1 :]
    assert list(rest.epochs.values()) == list(seen.epochs.values())[epoch:]
    assert runs.same(whole.model.state_dict(), resumed.model.state_dict())


def test_all_ranks_have_the_same_number_of_samples_of_an_epoch():
    samplers = [ResumableSampler(range(5), seed=3) for _ in range(2)]
    for rank, sampler in enumerate(samplers):
        sampler.rank, sampler.world_size, sampler.start, sampler.stop = rank, 2, 5, 10
    samples = [list(sampler) for sampler in samplers]
    assert [len(sampler) for sampler in samplers] == [len(one) for one in samples] == [3, 3]
    order = [samples[i % 2][i // 2] for i in range(6)]
    assert sorted(order[:5]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize('skips', [False, True])
def test_past_iterations_get_no_data_whether_the_loop_fetches_or_skips_them(skips):
    loader = DataLoader(range(10, 16), batch_size=2)
    iterator = _ResumedIterator(loader, past=3)
    if skips:  # OneDL's loop
        iterator.skip_iter(3)
    else:
        assert [next(iterator) for _ in range(3)] == [None] * 3
    assert [next(iterator).tolist() for _ in range(3)] == [[10, 11], [12, 13], [14, 15]]


def test_mmengine_still_needs_the_workarounds():
    """If one of these assertions fails, MMEngine has fixed the problem and its workaround can be removed."""
    import inspect

    from mmengine.hooks import CheckpointHook

    loop = inspect.getsource(IterBasedTrainLoop.run)
    assert 'next(self.dataloader_iterator)' in loop or 'self.dataloader_iterator.skip_iter' in loop  # OneDL's
    source = inspect.getsource(CheckpointHook._save_checkpoint_with_step)
    assert source.index('file_backend.remove') < source.index('runner.save_checkpoint')
    assert 'get_rng_state' not in inspect.getsource(Runner.save_checkpoint)
