# An image for ModelArts jobs, from any image with Python 3.10 or newer; for NPUs, one with CANN for the pool's driver and MindSpore's
# wheel for it. Only what BASE lacks is installed. launcher and vitmodels are not in it: they travel with each job.
#   docker build -f docs/modelarts.Dockerfile --build-arg BASE=YOUR-CANN-IMAGE -t YOUR-SWR/my-org/ascend-launcher:0.1 .
ARG BASE
FROM ${BASE}
# The name or path of Python in BASE; modelarts.python in the job file is the same.
ARG PYTHON=python
USER root

# The platform runs containers as ma-user (uid 1000, gid 100) in /home/ma-user.
RUN id -u ma-user >/dev/null 2>&1 || useradd --create-home --home-dir /home/ma-user --uid 1000 --gid 100 --shell /bin/bash ma-user

# What launcher and the ranks import. The last line fails where something is still lacking. Debian's own Python asks for the variable.
COPY launcher/imagecheck.py /tmp/imagecheck.py
RUN export PIP_BREAK_SYSTEM_PACKAGES=1 \
    && ${PYTHON} /tmp/imagecheck.py --requirements > /tmp/lacking.txt \
    && if [ -s /tmp/lacking.txt ]; then ${PYTHON} -m pip install --no-cache-dir -r /tmp/lacking.txt; fi \
    && ${PYTHON} /tmp/imagecheck.py \
    && rm /tmp/imagecheck.py /tmp/lacking.txt

# Core dumps fill the small root disk of a container.
RUN echo "* hard core 0" >> /etc/security/limits.conf
ENV PYTHONUNBUFFERED=1
USER ma-user
WORKDIR /home/ma-user
