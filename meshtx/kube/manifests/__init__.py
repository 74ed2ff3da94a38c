"""The manifests of the control plane: values in, documents out; no I/O, no clock, no randomness.

values.py      what can be chosen
shapes.py      names, labels and what several kinds share
rbac.py        accounts, and what each one may do
trust.py       the issuer's Secret, the anchors' ConfigMap
programs.py    the Deployments
network.py     Services, NetworkPolicies, PodDisruptionBudgets
whole.py       all documents, in the order in which they are applied
"""
