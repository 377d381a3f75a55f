# An image for pods, from any image with Python 3.10 or newer and pip; for NPUs, one with CANN for the nodes' driver and MindSpore's wheel
# for it. Only what BASE lacks is installed. launcher is in it, and reads the code of each run from the run's folder.
#   docker build -f docs/kubernetes.Dockerfile --build-arg BASE=YOUR-CANN-IMAGE -t YOUR-REGISTRY/ascend-launcher:0.1 .
ARG BASE
FROM ${BASE}
# The name or path of Python in BASE; kubernetes.python in the job file is the same.
ARG PYTHON=python
USER root

# What launcher and the ranks import. The last line fails where something is still lacking. Debian's own Python asks for the variable.
COPY launcher/imagecheck.py /tmp/imagecheck.py
RUN export PIP_BREAK_SYSTEM_PACKAGES=1 \
    && ${PYTHON} /tmp/imagecheck.py --requirements > /tmp/lacking.txt \
    && if [ -s /tmp/lacking.txt ]; then ${PYTHON} -m pip install --no-cache-dir -r /tmp/lacking.txt; fi \
    && ${PYTHON} /tmp/imagecheck.py \
    && rm /tmp/imagecheck.py /tmp/lacking.txt

# launcher and vitmodels themselves.
COPY pyproject.toml README.md LICENSE /src/
COPY launcher /src/launcher
COPY vitmodels /src/vitmodels
RUN PIP_BREAK_SYSTEM_PACKAGES=1 ${PYTHON} -m pip install --no-cache-dir --no-deps /src && rm -r /src

ENV PYTHONUNBUFFERED=1
