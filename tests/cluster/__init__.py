"""A real Kubernetes of one node, and the tales that are told in it.

etcd, the API server, its controllers and scheduler, containerd, kubelet and kube-proxy run in one set of namespaces:
what they change of the network, of mounts and of processes is gone with them. Beside the node is a second host, for
clients from outside. Root only.
"""
