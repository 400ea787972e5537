/**
 * KEDA's loops in a process of their own, so that what the caller costs is not the scaler's. It is told what to do by messages, and says
 * what came of it.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { startKedaLoops, type KedaLoops, type LoopFigures } from './kedaLoops.ts';

interface Start {
  readonly address: string;
  readonly triggers: Parameters<typeof startKedaLoops>[1];
}
interface Run {
  readonly forMs: number;
  readonly pollMs: number;
}

export interface KedaProcess {
  run(forMs: number, pollMs: number): Promise<LoopFigures>;
  close(): void;
}

/** Resolves when each trigger's stream has told its state. */
export async function startKedaProcess(address: string, triggers: Start['triggers']): Promise<KedaProcess> {
  const child = fork(import.meta.filename, { execArgv: ['--import', 'tsx'] });
  const ended = once(child, 'exit');
  const asked = async (message: Start | Run): Promise<unknown> => {
    child.send(message);
    const [answer] = (await Promise.race([once(child, 'message'), ended])) as [unknown];
    if (typeof answer !== 'object' || answer === null) throw new Error('the caller has ended');
    return answer;
  };
  await asked({ address, triggers });
  return {
    run: async (forMs, pollMs) => (await asked({ forMs, pollMs })) as LoopFigures,
    close: () => {
      child.kill();
    },
  };
}

if (process.send !== undefined && process.argv[1] === import.meta.filename) {
  let loops: KedaLoops | undefined;
  process.on('message', (message: Start | Run) => {
    void (async () => {
      if ('address' in message) {
        loops = await startKedaLoops(message.address, message.triggers);
        process.send?.({});
      } else process.send?.(await loops?.run(message.forMs, message.pollMs));
    })();
  });
}
