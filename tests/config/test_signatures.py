"""A name of a config is looked up as a `SegDistiller` builds it."""

import mmrazor.models.losses
import pytest
from mmengine.config import Config

from mmseg_bpkd.config.options import merge_options
from mmseg_bpkd.config.signatures import registered
from mmseg_bpkd.models import losses


@pytest.mark.parametrize('name', ['ATLoss', 'DISTLoss', 'MGDLoss'])
def test_a_name_that_mmrazor_has_too_is_ours_unless_its_scope_is_given(name):
    ours, theirs = [getattr(losses, name)], [getattr(mmrazor.models.losses, name)]
    assert registered(name) == registered(name, scope='mmseg') == ours
    assert registered(f'mmrazor.{name}') == registered(name, scope='mmrazor') == theirs
    assert registered(f'mmseg.{name}') == []


@pytest.mark.parametrize(
    ('loss', 'accepted', 'refused'),
    [
        (dict(type='MGDLoss'), 'weight', 'alpha_mgd'),
        (dict(type='mmrazor.MGDLoss'), 'alpha_mgd', 'weight'),
        (dict(type='MGDLoss', _scope_='mmrazor'), 'alpha_mgd', 'weight'),
    ],
)
def test_options_accept_the_arguments_of_the_loss_that_is_built(loss, accepted, refused):
    cfg = Config(dict(model=dict(distiller=dict(losses=dict(loss_x=loss)))))
    merge_options(cfg, {f'model.distiller.losses.loss_x.{accepted}': 1})
    assert cfg.model.distiller.losses.loss_x[accepted] == 1
    with pytest.raises(ValueError, match=f"MGDLoss has no argument '{refused}'"):
        merge_options(cfg, {f'model.distiller.losses.loss_x.{refused}': 1})
