# The server over HTTP. Build: docker build -t ryzenllm .    Run: docker run -p 127.0.0.1:8484:8484 -v ryzenllm:/data ryzenllm
FROM mcr.microsoft.com/dotnet/sdk:10.0 AS build
WORKDIR /source
COPY . .
RUN dotnet publish src/RyzenLlm.Mcp -c Release -r linux-$(case $(uname -m) in x86_64) echo x64 ;; *) echo arm64 ;; esac) \
    --no-self-contained -p:PublishReadyToRun=true -p:RestoreLockedMode=false -p:NuGetLockFilePath=obj/image.lock.json -o /program

FROM mcr.microsoft.com/dotnet/aspnet:10.0
COPY --from=build /program /program
# Everything that is kept lies in one volume: memory, conversations, tokens, fetched models.
ENV XDG_DATA_HOME=/data/share XDG_CACHE_HOME=/data/cache XDG_CONFIG_HOME=/data/config
RUN mkdir /data && chown $APP_UID /data
VOLUME /data
USER $APP_UID
EXPOSE 8484
# Inside a container the loopback address reaches nobody, so it listens on all; a token is still needed, and Host names are checked.
ENTRYPOINT ["/program/ryzenllm", "serve", "--urls", "http://0.0.0.0:8484"]
