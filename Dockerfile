# The scaler as one bundle on a distroless Node: no shell, no package manager, not root.
FROM node:24-bookworm-slim AS build
WORKDIR /src
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY proto ./proto
COPY src ./src
RUN npm run bundle

FROM gcr.io/distroless/nodejs24-debian12:nonroot
LABEL org.opencontainers.image.title="keda-queue-scaler" \
      org.opencontainers.image.description="KEDA external scaler for RabbitMQ and Redis queues" \
      org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /app
ENV NODE_ENV=production NODE_OPTIONS=--enable-source-maps
COPY --from=build /src/package.json ./
COPY --from=build /src/dist/bundle ./dist/bundle
USER 65532:65532
EXPOSE 6000 8080
# One helper thread for V8: with more, its garbage collection takes the cores that calls need.
ENTRYPOINT ["/nodejs/bin/node", "--v8-pool-size=1", "dist/bundle/main.mjs"]
CMD ["serve"]
