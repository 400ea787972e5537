/**
 * The baseline: grpc-js with handlers that answer constants. Says its port as JSON on stderr, as the scaler does.
 */
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { ExternalScalerService, type ExternalScalerServer } from '../../src/server/grpc/gen/externalscaler.ts';

const SPEC = { metricSpecs: [{ metricName: 'm', targetSize: 1, targetSizeFloat: 1 }] };
const ANSWER = { metricValues: [{ metricName: 'm', metricValue: 1, metricValueFloat: 1 }] };
const ACTIVE = { result: true };

const server = new Server({ 'grpc.enable_channelz': 0 });
const constants: ExternalScalerServer = {
  getMetricSpec: (_call, answer) => {
    answer(null, SPEC);
  },
  getMetrics: (_call, answer) => {
    answer(null, ANSWER);
  },
  isActive: (_call, answer) => {
    answer(null, ACTIVE);
  },
  streamIsActive: (call) => void call.write(ACTIVE),
  streamMetricSpec: (call) => void call.write(SPEC),
};
server.addService(ExternalScalerService, constants);
server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => {
  if (error !== null) throw error;
  process.stderr.write(`${JSON.stringify({ msg: 'serving', grpc: `127.0.0.1:${port}` })}\n`);
});
