/**
 * What brokers tell whoever watches them from outside (metrics, logs, the status page).
 */
import type { QueueScalerError } from '../errors.ts';
import type { Reading } from './reading.ts';

/** A broker as one set of credentials sees it. Equal keys share one client. */
export interface BrokerIdentity {
  /** Fingerprint of everything that makes two clients differ. */
  readonly key: string;
  /** For a person: scheme, host and port, never user or password. */
  readonly label: string;
}

export interface BrokerEvents {
  /** A sweep ended: how many questions it carried, how many of them got a known answer, and how long it took. */
  batchRead(event: {
    readonly broker: BrokerIdentity;
    readonly asked: number;
    readonly known: number;
    readonly ms: number;
  }): void;
  /** A reading arrived, from a sweep or a watch. */
  reading(event: { readonly broker: BrokerIdentity; readonly key: string; readonly reading: Reading }): void;
  /** Connections or requests opened and closed; `open` is the number now. */
  connections(event: { readonly broker: BrokerIdentity; readonly endpoint: string; readonly open: number }): void;
  /** Connections open now whose server refuses to tell of changes, so that sleeping queues are polled over them. */
  withoutPush(event: { readonly broker: BrokerIdentity; readonly connections: number }): void;
  /** A connection or request failed although nobody may have asked: kept for logs and counters. */
  failure(event: { readonly broker: BrokerIdentity; readonly endpoint: string; readonly error: QueueScalerError }): void;
}

const ignore = (): void => undefined;

export const noEvents: BrokerEvents = {
  batchRead: ignore,
  reading: ignore,
  connections: ignore,
  withoutPush: ignore,
  failure: ignore,
};
