# An image for ModelArts jobs. BASE has CANN for the pool's driver, Python 3.11 and, for NPUs, MindSpore's matching wheel or the way to it.
# launcher and vitmodels are not in it: they travel with each job.
#   docker build -f docs/modelarts.Dockerfile --build-arg BASE=YOUR-CANN-IMAGE -t YOUR-SWR/my-org/ascend-launcher:0.1 .
ARG BASE
FROM ${BASE}
USER root

# The platform runs containers as ma-user (uid 1000, gid 100) in /home/ma-user.
RUN id -u ma-user >/dev/null 2>&1 || useradd --create-home --home-dir /home/ma-user --uid 1000 --gid 100 --shell /bin/bash ma-user

# Only what launcher and the ranks import; the versions are those that the tests ran with.
COPY pyproject.toml constraints.txt /tmp/launcher/
RUN python -m pip install --no-cache-dir -c /tmp/launcher/constraints.txt \
        pydantic pyyaml boto3 obstore rich pillow safetensors "numpy<2" matplotlib mindspore==2.10.0 \
    && rm -rf /tmp/launcher \
    && python -c "import pydantic, yaml, boto3, rich, PIL, safetensors"

# Core dumps fill the small root disk of a container.
RUN echo "* hard core 0" >> /etc/security/limits.conf
ENV PYTHONUNBUFFERED=1
USER ma-user
WORKDIR /home/ma-user
