"""A Plan comes in; the manifests of a job of Volcano, MindCluster or plain Kubernetes go out, and answers on its pods."""
