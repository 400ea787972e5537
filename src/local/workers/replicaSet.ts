/**
 * A workload's replicas: as many pods as wanted, started and stopped one by one. A replica that is being stopped counts no more, and
 * its successor does not wait for it, as in a ReplicaSet.
 */
import { randomInt } from 'node:crypto';
import type { ScaleTarget } from '../keda/loop.ts';
import type { Lifeline } from './lifeline.ts';
import { startPod, type Pod, type PodEvent, type PodTemplate } from './pod.ts';
import { chooseVictims } from './scaleIn.ts';

/** Without vowels and their look-alikes, as Kubernetes' generated names. */
const NAME_LETTERS = 'bcdfghjklmnpqrstvwxz2456789';
const NAME_SUFFIX_LENGTH = 5;

export interface ReplicaSetListener {
  pod(name: string, event: PodEvent): void;
  output(pod: string, stream: 'stdout' | 'stderr', line: string): void;
}

export interface ReplicaSet extends ScaleTarget {
  /** Scales to zero and resolves when no process is left. */
  close(): Promise<void>;
  /** SIGKILL to all that live, running or stopping. */
  kill(): void;
}

/** `template` is asked for each pod, by name. */
export function createReplicaSet(
  name: string,
  template: (pod: string) => PodTemplate,
  lifeline: Lifeline,
  listener: ReplicaSetListener,
): ReplicaSet {
  const pods = new Map<string, Pod>();
  const stopping = new Map<string, Pod>();
  let wanted = 0;

  function add(): void {
    const pod = newName();
    pods.set(
      pod,
      startPod(pod, template(pod), lifeline, {
        event(event) {
          if (event.state === 'stopped') stopping.delete(pod);
          listener.pod(pod, event);
        },
        output: (stream, line) => {
          listener.output(pod, stream, line);
        },
      }),
    );
  }

  /** All are counted as stopping before the first is told, so that whoever hears of one knows of all. */
  function remove(victims: readonly Pod[]): void {
    for (const pod of victims) {
      pods.delete(pod.name);
      stopping.set(pod.name, pod);
    }
    for (const pod of victims) void pod.stop();
  }

  function newName(): string {
    for (;;) {
      const letters = Array.from({ length: NAME_SUFFIX_LENGTH }, () => NAME_LETTERS.charAt(randomInt(NAME_LETTERS.length)));
      const pod = `${name}-${letters.join('')}`;
      if (!pods.has(pod) && !stopping.has(pod)) return pod;
    }
  }

  return {
    get wanted() {
      return wanted;
    },
    get existing() {
      return pods.size;
    },
    get ready() {
      return [...pods.values()].filter(({ ready }) => ready).length;
    },
    get stopping() {
      return stopping.size;
    },
    scale(replicas) {
      wanted = replicas;
      for (let missing = wanted - pods.size; missing > 0; missing--) add();
      remove(chooseVictims([...pods.values()], pods.size - wanted));
    },
    async close() {
      this.scale(0);
      await Promise.all([...stopping.values()].map((pod) => pod.stop()));
    },
    kill() {
      for (const pod of [...pods.values(), ...stopping.values()]) pod.kill();
    },
  };
}
