"""Memory and speed of a job before anything is rented: pure arithmetic on a model's shape, no torch, no network.

==================  ==========================================================================================
``model_shapes``    a :class:`~.shape.ModelShape` from a config.json, a local folder or the bundled table
``workload``        what is asked; refuses sizes that mean nothing
``profile``         how a trainer spends memory; ours is one of many
``activations``     what autograd keeps of one token in one layer, tensor by tensor
``parameters``      weights, adapters, gradients, optimizer state
``memory``          the peak, by component, with its band
``gpus``            usable memory, speed and names of cards; fits, tight or oom
``ladder``          which single changes make it fit, in which order
``duration``        tokens a second and hours, with a band
``document``        all of it as the JSON document other programs rely on
==================  ==========================================================================================

How far it is from published measurements: ``python -m benchmarks.estimate_accuracy benchmarks/data/measurements.csv``.
"""
