/**
 * The contract of whatever can look Kubernetes objects up by name.
 */
import type { WatchState } from './credentials.ts';
import type { EventSink } from './eventSink.ts';
import type { Kind, ObjectOf } from './objects.ts';

export interface ReadOptions {
  readonly signal: AbortSignal;
  /** The oldest answer from memory that will do, in ms; without it, the reader's own bound holds. */
  readonly maxAgeMs?: number;
}

/** An object of any kind by its name. */
export interface TargetReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
}

export interface ObjectReader {
  /**
   * The object of that name, or undefined where there is certainly none. `namespace` is ignored for kinds that have none. Rejects
   * with a `TriggerError` where the object could not be asked for or breaks its schema.
   */
  get<K extends Kind>(kind: K, namespace: string, name: string, options: ReadOptions): Promise<ObjectOf<K> | undefined>;
  /** The same for a kind that is none of these; nothing is known of its fields. */
  custom?(target: TargetReference, namespace: string, options: ReadOptions): Promise<unknown>;
  /** A token of that service account, for at least some minutes; absent where no API server can give one. */
  serviceAccountToken?(namespace: string, name: string, signal: AbortSignal): Promise<string>;
  /** What the reader keeps by watches; absent where it has none. */
  watches?(): readonly WatchState[];
  /** Writes Events to the objects read; absent where these are in no cluster. */
  readonly events?: EventSink;
  close(): Promise<void>;
}
