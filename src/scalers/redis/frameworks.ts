/**
 * Where task frameworks keep what their workers hold, by the names of the keys in which they keep what waits. Measured and read in BullMQ 6,
 * Bull 4, Bee-Queue 2, RQ 1.13, Laravel 11 and Dramatiq 1.
 */
import { parseNames } from './names.ts';

/** The first that fits. Arq's queue holds its jobs until they are done. */
const IN_PROGRESS: readonly (readonly [waiting: RegExp, processing: string])[] = [
  [/^(bq:.+):waiting$/, '$1:active'],
  [/^(.+):(?:wait|paused|prioritized|priority)$/, '$1:active'],
  [/^rq:queue:(.+)$/, 'rq:wip:$1'],
  [/^(.*queues:[^:]+)$/, '$1:reserved'],
  [/^dramatiq:(?!__)(.+?)(?:\.DQ)?$/, 'dramatiq:__acks__.*.$1'],
  [/^(arq:queue.*)$/, '$1'],
];

/**
 * The `processingListName` for that `listName`: undefined where a name does not tell its framework, empty where what is held lies under
 * `listName` itself.
 */
export function processingNames(listName: string): string | undefined {
  const names = new Set<string>();
  for (const { text } of parseNames(listName)) {
    const [waiting, processing] = IN_PROGRESS.find(([pattern]) => pattern.test(text)) ?? [];
    if (waiting === undefined || processing === undefined) return undefined;
    const name = text.replace(waiting, processing);
    if (name !== text) names.add(name);
  }
  return [...names].join(',');
}
