"""The last of the tests on a cluster, by its name: the chart goes."""

from __future__ import annotations

import time

from kit.clusters import Cluster, run


def test_uninstalling_leaves_nothing_but_the_s3_server(cluster: Cluster, demo: str) -> None:
    cluster.kubectl("delete", "workflows", "--selector", "app.kubernetes.io/part-of=tuneline")
    run("helm", "uninstall", "tuneline", "-n", cluster.namespace)
    kinds = "pods,services,configmaps,secrets,serviceaccounts,roles,rolebindings,networkpolicies,persistentvolumeclaims"
    ours = "workflows,workflowtemplates,cronworkflows,workflowtaskresults,jobs"
    deadline = time.monotonic() + 120
    while left := [
        f"{one['kind']}/{one['metadata']['name']}"
        for one in cluster.get(f"{kinds},{ours}")["items"]
        if one["metadata"]["name"] not in ("default", "kube-root-ca.crt", "s3", "tuneline-s3")
        and one["metadata"].get("labels", {}).get("app.kubernetes.io/name") != "s3"
    ]:
        assert time.monotonic() < deadline, left
        time.sleep(2)
    assert cluster.manifests("store", "demo")
