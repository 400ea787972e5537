/** Private RabbitMQ brokers for tests, benchmarks and the demo: real ones, a node or a cluster, gone without a trace when closed. */
import { startNode, startSite, type NodeOptions, type RabbitNode } from './rabbitmqNode.ts';
import { until } from './until.ts';
import { rabbitTraits } from './versions/chosen.ts';

export type { NodeOptions as RabbitOptions, RabbitNode } from './rabbitmqNode.ts';

const FORM_DEADLINE_MS = 30_000;

/** A single node. */
export async function startRabbit(options: NodeOptions = {}): Promise<RabbitNode> {
  const cluster = await startRabbitCluster(1, options);
  const [node] = cluster.nodes as readonly [RabbitNode];
  // The getters stay live: a spread would freeze the process id of the first start.
  return Object.create(node, { close: { value: () => cluster.close() } }) as RabbitNode;
}

export interface RabbitCluster {
  readonly nodes: readonly RabbitNode[];
  close(): Promise<void>;
}

/** Nodes `r1@localhost`, `r2@localhost`, … that form one cluster. */
export async function startRabbitCluster(size: number, options: NodeOptions = {}): Promise<RabbitCluster> {
  const site = await startSite();
  const names = Array.from({ length: size }, (_, index) => `r${index + 1}`);
  const peers = names.map((name) => `${name}@localhost`);
  const started = await Promise.allSettled(names.map((name) => startNode(site, name, peers, options)));
  const nodes = started.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
  const close = async (): Promise<void> => {
    await Promise.all(nodes.map((node) => node.close()));
    await site.close();
  };
  const failed = started.find((outcome) => outcome.status === 'rejected');
  if (failed !== undefined) {
    await close();
    throw failed.reason;
  }
  try {
    await Promise.all(
      nodes.map((node) =>
        until(
          `${node.name} sees the ${size} nodes of its cluster`,
          async () => ((await node.api('GET', '/nodes?columns=running')) as unknown[]).length === size,
          { deadlineMs: FORM_DEADLINE_MS, everyMs: 200 },
        ),
      ),
    );
    for (const flag of rabbitTraits().featureFlags) await nodes[0]?.ctl('enable_feature_flag', '--opt-in', flag);
  } catch (error) {
    await close();
    throw error;
  }
  return { nodes, close };
}
