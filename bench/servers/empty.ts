/**
 * The baseline: grpc-js with a handler that answers a constant. Says its port as JSON on stderr, as the scaler does.
 */
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { ExternalScalerService, type GetMetricsResponse } from '../../src/server/grpc/gen/externalscaler.ts';

const ANSWER: GetMetricsResponse = { metricValues: [{ metricName: 'm', metricValue: 1, metricValueFloat: 1 }] };

const server = new Server({ 'grpc.enable_channelz': 0 });
server.addService(ExternalScalerService, {
  getMetrics: (_call: unknown, answer: (error: null, response: GetMetricsResponse) => void) => {
    answer(null, ANSWER);
  },
});
server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => {
  if (error !== null) throw error;
  process.stderr.write(`${JSON.stringify({ msg: 'serving', grpc: `127.0.0.1:${port}` })}\n`);
});
