# The parts of the loss that the paper's Tables 3 and 4 switch off, for paper_tables.py and paper_weights.py.
_bpkd = 'model.distiller.losses.loss_bpkd'
_alone = {
    'edge-classes': {f'{_bpkd}.body_weight': 0},  # PRM and POM
    'body-positions': {f'{_bpkd}.edge_weight': 0},
    'prm': {f'{_bpkd}.body_weight': 0, f'{_bpkd}.post_mask': False},
    'pom': {f'{_bpkd}.body_weight': 0, f'{_bpkd}.pre_mask': False},
    'edge-positions': {f'{_bpkd}.body_weight': 0, f'{_bpkd}.edge_over': 'positions'},
    'body-classes': {f'{_bpkd}.edge_weight': 0, f'{_bpkd}.body_over': 'classes'},
}
