"""The yardstick of staging.py: what a script of thirty lines does with obstore. It lists by the second version of the call.

usage: obstore_peer.py ENDPOINT BUCKET PREFIX TARGET THREADS [CA_FILE]
"""
# ruff: noqa: PTH103, PTH104, PTH118, PTH120

from __future__ import annotations

import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
from obstore.store import S3Store

endpoint, bucket, prefix, target, threads, *ca_file = sys.argv[1:]
options = {"allow_http": True, "pool_max_idle_per_host": threads}
if ca_file:
    options["root_certificate"] = Path(ca_file[0]).read_text()
store = S3Store(
    bucket, endpoint=endpoint, region="us-east-1", virtual_hosted_style_request=False, client_options=options
)
objects = [meta for page in obstore.list(store, prefix=prefix, chunk_size=1000) for meta in page]
for folder in {os.path.dirname(meta["path"]) for meta in objects}:
    os.makedirs(os.path.join(target, folder), exist_ok=True)


def fetch(meta: obstore.ObjectMeta) -> None:
    data = memoryview(obstore.get(store, meta["path"]).bytes())
    if len(data) != meta["size"] or hashlib.md5(data).hexdigest() != meta["e_tag"].strip('"'):
        raise SystemExit(f"{meta['path']} is not the object that was listed")
    path = os.path.join(target, meta["path"])
    handle = os.open(path + ".part", os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(handle, data)
    os.close(handle)
    os.rename(path + ".part", path)


with ThreadPoolExecutor(int(threads)) as pool:
    list(pool.map(fetch, objects))
print(len(objects))
