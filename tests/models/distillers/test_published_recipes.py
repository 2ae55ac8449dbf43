"""The configs of the methods repeat whole published recipes."""

from inspect import signature

import pytest
from conftest import ROOT
from methods import DISTILLERS
from mmengine.config import Config
from mmengine.registry import MODELS

from mmseg_bpkd.models.segmentors import resolve_segmentor

KD = dict(type='KDLoss')
# CIRKD's train_kd.py: lambda-adv 0.001, lambda-d 0.1, Adam with 4e-4 and betas (0.9, 0.99), as IFVD's kd_model.py
CRITIC = dict(type='SKDSCriticLoss', student_weight=0.001, critic_weight=0.1)
# SKDS's kd_model.py and run_train_val.sh: lambda-d 0.1 for both, SGD with 4e-4
CRITIC_OF_SKDS = dict(
    type='SKDSCriticLoss',
    student_weight=0.1,
    critic_weight=0.1,
    critic_optimizer=dict(type='SGD', momentum=0.9, weight_decay=0.0005),
)
PUBLISHED = {
    'fitnet': dict(loss_fitnet=dict(type='FitNetLoss', weight=10), loss_kd=KD),
    'skds': dict(loss_kd=KD, loss_pair=dict(type='SKDSPairLoss', weight=10, kernel=2), loss_adversarial=CRITIC),
    'skds_original': dict(
        loss_kd=dict(type='KDLoss', weight=10, norm='positions', cross_entropy=True),
        loss_pair=dict(type='SKDSPairLoss', weight=0.5, kernel=0.5, detach_norm=True),
        loss_adversarial=CRITIC_OF_SKDS,
    ),
    'ifvd': dict(loss_kd=KD, loss_ifv=dict(type='IFVDLoss', weight=20), loss_adversarial=CRITIC),
    'ifvd_original': dict(
        loss_kd=dict(type='KDLoss', weight=10, norm='elements'),
        loss_ifv=dict(type='IFVDLoss', weight=200),
        loss_adversarial=CRITIC,
    ),
    'dist': dict(
        loss_dist=dict(type='DISTLoss'),
        loss_dist_aux=dict(type='DISTLoss', inter_weight=0.4, intra_weight=0.4),  # train_kd.py: 0.4 * lambda_kd
    ),
    'dist_no_aux': dict(loss_dist=dict(type='DISTLoss')),
    'cwd_cirkd': dict(
        loss_kd=KD,
        loss_cwd=dict(type='CWDLoss', tau=4, weight=3),
        loss_cwd_feats=dict(type='CWDFeatureLoss', tau=4, weight=50 * 512 / 128),
        loss_adversarial=CRITIC,
    ),
    'bpkd_paper': dict(  # weights and width: Figure 3 and Table 5; the rest: the readings of docs/methods.md
        loss_bpkd=dict(
            type='BPKDLoss',
            edge_weight=50,
            body_weight=20,
            class_weight='inverse_sqrt_area',
            kernel_size=7,
            tau_edge=1,
            tau_body=1,
            ignore_index=255,
            void_edges=False,
            edge_norm='mean',
            pre_mask='suppress',
            post_mask=True,
            edge_over='classes',
            body_over='positions',
            body_mask='binary',
            edges='label',
            standardize=False,
        )
    ),
    'kd_cwd': dict(loss_kd=dict(type='KDLoss', tau=1, weight=5), loss_cwd=dict(type='CWDLoss', tau=1, weight=5)),
}


def losses_of(path: str) -> dict:
    return whole(Config.fromfile(path).distiller.losses.to_dict())


def whole(losses: dict) -> dict:
    """Adds the defaults of the arguments that are not published."""
    return {name: {**defaults(loss['type']), **loss} for name, loss in losses.items()}


def defaults(loss: str) -> dict:
    parameters = signature(MODELS.module_dict[loss].__init__).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.name != 'self'}


@pytest.mark.parametrize('recipe', PUBLISHED)
def test_a_recipe_has_the_losses_and_weights_of_its_authors(recipe):
    assert losses_of(DISTILLERS[recipe]) == whole(PUBLISHED[recipe])


def test_skds_at_stride_4_differs_only_in_the_kernel():
    expected = dict(PUBLISHED['skds'], loss_pair=dict(type='SKDSPairLoss', weight=10, kernel=4))
    assert losses_of(f'{ROOT}/configs/_base_/distillers/stride4/skds.py') == whole(expected)


def test_the_weight_of_cwd_on_features_in_cirkd_fits_the_heads_of_pspnet():
    pair = Config.fromfile(f'{ROOT}/configs/_base_/pairs/pspnet-r101_pspnet-r18_cityscapes.py').model
    widths = {side: resolve_segmentor(pair[side]).decode_head.channels for side in ('student', 'teacher')}
    assert widths == dict(student=128, teacher=512)
