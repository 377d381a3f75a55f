"""What schedulers, kubelets and controllers say of pods that wait, as people have posted it; what users read; whether waiting is no use."""

from launcher.backends.kubernetes.waits import Notice

FAILED = "FailedScheduling"
WAITS = [
    (
        Notice(FAILED, "0/3 nodes are available: 3 Insufficient huawei.com/Ascend910."),
        "not enough NPUs",
        False,
    ),
    (Notice("JobEnqueueFailed", "insufficient cluster NPU resources"), "not enough NPUs", False),
    (
        Notice(
            "NodePredicateFailed",
            "npu topology not meet job require,network unhealthy card is [ Ascend910-3 ]",
        ),
        "not enough NPUs",
        False,
    ),
    (Notice("Unschedulable", "queue resource quota insufficient"), "share of the queue", False),
    (
        Notice("Unschedulable", "queue resource quota insufficient: insufficient huawei.com/Ascend910"),
        "not enough NPUs",
        False,
    ),
    (Notice(FAILED, "0/3 nodes are available: 3 Insufficient memory."), "CPUs, memory", False),
    (
        Notice("Unschedulable", "all nodes are unavailable: 1 node(s) pod number exceeded."),
        "CPUs, memory",
        False,
    ),
    (
        Notice("Unschedulable", "all nodes are unavailable: 2 node(s) resource fit failed."),
        "no node has free what the pods ask for",
        False,
    ),
    (Notice(FAILED, "0/4 nodes are available: 4 node(s) were unschedulable."), "closed for new pods", False),
    (
        Notice(
            FAILED,
            "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }.",
        ),
        "are not ready",
        False,
    ),
    (Notice(FAILED, "0/3 nodes are available: 3 node(s) had taint {npu: true}"), "taint", False),
    (Notice(FAILED, 'persistentvolumeclaim "x" not found'), "a claim", True),
    (
        Notice(FAILED, "0/2 nodes are available: 2 pod has unbound immediate PersistentVolumeClaims."),
        "has no volume",
        False,
    ),
    (
        Notice(FAILED, "0/2 nodes are available: 2 node(s) had volume node affinity conflict."),
        "has no volume",
        False,
    ),
    (
        Notice(FAILED, "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules."),
        "a node of its own",
        False,
    ),
    (
        Notice(FAILED, "0/3 nodes are available: 3 node(s) didn't match node selector."),
        "no node has the labels",
        True,
    ),
    (
        Notice(
            FAILED,
            "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector. preemption: 0/3 "
            "nodes are available: 3 Preemption is not helpful for scheduling.",
        ),
        "no node has the labels",
        True,
    ),
    (
        Notice(
            FAILED,
            "0/9 nodes are unavailable: 2 Insufficient huawei.com/Ascend910, 7 node(s) didn't match Pod's node "
            "affinity/selector.",
        ),
        "not enough NPUs",
        False,
    ),
    (
        Notice(
            FAILED,
            "0/9 nodes are unavailable: 7 node(s) didn't match Pod's node affinity/selector, 2 odd plugin error.",
        ),
        "no node has the labels",
        False,
    ),
    (
        Notice(
            "NodePredicateFailed",
            "1 node check failed. for details,log by search keywords <checkNodeNPUByTask : check Node n1 label "
            "[accelerator-type] Failed, value is module-910b-8>",
        ),
        "no node has the labels",
        True,
    ),
    (
        Notice(
            "Unschedulable",
            'all nodes are unavailable: 1 job(service/podgroup-1) selector:map[string]string{"host-arch":"huawei-arm"} '
            "not meet node<n1> label or selector.",
        ),
        "no node has the labels",
        True,
    ),
    (
        Notice(FAILED, "0/20 nodes are unavailable: 20 task node selector does not match node labels."),
        "no node has the labels",
        True,
    ),
    (Notice("NotEnoughResources", "2/2 tasks in gang unschedulable"), "not all pods", False),
    (
        Notice(
            "NotEnoughResources", "1/0 tasks in gang unschedulable: pod group is not ready, 1 minAvailable"
        ),
        "not all pods",
        False,
    ),
    (Notice("Schedulable", "Pod v/tnt-0 can possibly be assigned to n1"), "not all pods", False),
    (
        Notice(FAILED, "0/1 nodes are unavailable: 1 hami-vgpuDeviceSharing error."),
        "no node takes the pods",
        False,
    ),
    (
        Notice("SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates"),
        "no node takes",
        False,
    ),
    (
        Notice("FailedCreate", 'pods "x" is forbidden: exceeded quota: q, requested: huawei.com/Ascend910=8'),
        "quota",
        False,
    ),
    (
        Notice(
            "FailedCreate",
            'Internal error occurred: failed calling webhook "m.volcano.sh": connection refused',
        ),
        "could not be made for now",
        False,
    ),
    (
        Notice(
            "FailedCreate", 'pods "x" is forbidden: violates PodSecurity "restricted:latest": host namespaces'
        ),
        "the pods were refused",
        True,
    ),
    (Notice("JobValidateFailed", "npu num is illegal"), "refuses the job", True),
    (Notice("ErrImagePull", "manifest unknown"), "no such image", True),
    (
        Notice("Failed", 'Failed to pull image "r/x:1": rpc error: code = NotFound desc = r/x:1: not found'),
        "no such image",
        True,
    ),
    (Notice("ImagePullBackOff", "pull access denied"), "registry refuses", True),
    (Notice("ImagePullBackOff", 'Back-off pulling image "x:1"'), "can't be fetched", False),
    (
        Notice("Failed", 'Failed to pull image "r/x:1": x509: certificate signed by unknown authority'),
        "can't be fetched",
        False,
    ),
    (
        Notice("Failed", 'Failed to pull image "r/x:1": no match for platform in manifest: not found'),
        "not made for the processors",
        True,
    ),
    (Notice("CreateContainerConfigError", 'secret "obs-keys" not found'), "a Secret of the job", True),
    (
        Notice("CreateContainerConfigError", "couldn't find key AWS_ACCESS_KEY_ID in Secret v/obs-keys"),
        "a Secret of the job, or a key of it",
        True,
    ),
    (
        Notice("RunContainerError", 'exec: "python3.11": executable file not found in $PATH: unknown'),
        "the image has no such program",
        True,
    ),
    (Notice("StartError", "exec /usr/bin/python3: exec format error"), "not made for the processors", True),
    (Notice("FailedMount", 'configmap "rings-config-x" not found'), "ConfigMap of the rank table", True),
    (Notice("FailedMount", "timed out waiting for the condition"), "a volume can't be mounted", False),
    (
        Notice(
            "FailedMount", "MountVolume.SetUp failed: hostPath type check failed: /data is not a directory"
        ),
        "a volume can't be mounted",
        False,
    ),
    (
        Notice("FailedCreatePodSandBox", "Failed to create pod sandbox: plugin type=calico failed"),
        "can't give the pod a network",
        False,
    ),
    (Notice("QueueGetFailed", "queue not found"), "no such queue", True),
]
