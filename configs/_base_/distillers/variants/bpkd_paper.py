# BPKD by the words of the paper (arXiv 2306.08075). docs/methods.md compares this reading with the others.
distiller = dict(
    type='SegDistiller',
    losses=dict(
        loss_bpkd=dict(
            type='BPKDLoss',
            edge_weight=50,  # Figure 3
            body_weight=20,  # Figure 3
            class_weight='inverse_sqrt_area',  # alpha raises hard classes (section 3.2); which, is our rule
            kernel_size=7,  # Table 5
            tau_edge=1.0,  # not stated
            tau_body=1.0,  # not stated
            void_edges=False,  # not stated
            edge_norm='mean',  # appendix B: unreduced KL, summed over the classes, then a mean
            pre_mask='suppress',  # "only the logits of dog and cat are considered, all others are suppressed"
            post_mask=True,  # Table 4
            edge_over='classes',  # Table 3, "edge P"
            body_over='positions',  # Table 3, "body C"
            body_mask='binary',  # the inverted binary edge mask
            edges='label',  # edges of the teacher's prediction are slightly worse
            standardize=False,  # not of the paper
        )
    ),
)
