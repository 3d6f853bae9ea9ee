"""What a fitted network predicts by when its estimator is left behind.

Read `fitted_network.py` first: all that predictions depend on, without the estimator. `torch_module.py` makes an
`nn.Module` of it, `sklearn_model.py` scikit-learn's own MLP, `network_summary.py` a table of its layers.
"""
