/**
 * The baseline: a scaler that asks the broker for each trigger, as KEDA's own does by HTTP: one GET of the queue for each poll and each
 * question of the HPA, over connections that are kept. It has no gRPC, which KEDA's own scalers do without.
 */
import { Agent, request } from 'node:http';

const [port = '', queues = '', pollMs = '', hpaMs = ''] = process.argv.slice(2);
const agent = new Agent({ keepAlive: true, maxFreeSockets: 1000 });
const options = { host: '127.0.0.1', port: Number(port), auth: 'guest:guest', agent };

function ask(queue: number): void {
  request({ ...options, path: `/api/queues/%2F/cost-${queue}` }, (response) => {
    let body = '';
    response.setEncoding('utf8');
    response.on('data', (chunk: string) => (body += chunk));
    response.on('end', () => {
      const { messages } = JSON.parse(body) as { readonly messages: number };
      if (messages !== 1) throw new Error(`queue ${queue} was not told as one message`);
    });
  }).end();
}

/** Each trigger at a phase of its own. */
for (let queue = 0; queue < Number(queues); queue++) {
  for (const period of [Number(pollMs), Number(hpaMs)]) {
    setTimeout(() => setInterval(ask, period, queue), (period * queue) / Number(queues));
  }
}
