/**
 * The contract of whatever can resolve a trigger's `authenticationRef`.
 */

import type { EventSink } from './eventSink.ts';

/** The trigger as KEDA names it: the object and the trigger's own metadata. KEDA sends neither index nor `authenticationRef`. */
export interface TriggerReference {
  readonly namespace: string;
  readonly name: string;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Authentication parameters (TriggerAuthentication `parameter` → value), and a name for exactly this set of values. */
export interface Credentials {
  readonly parameters: Readonly<Record<string, string>>;
  /** Changes whenever a parameter's value does. */
  readonly version: string;
}

export interface CredentialSource {
  /** Whether parameters may come from here: if not, a missing key is already a fault of the metadata. */
  readonly available: boolean;
  /** Answers from memory where it can. Rejects with a {@link TriggerError}. */
  resolve(reference: TriggerReference, signal: AbortSignal): Promise<Credentials>;
  /** Told that a broker refused the credentials: the next `resolve` reads them anew. */
  refused(reference: TriggerReference): void;
  /** What is watched at a distance, for metrics; absent where nothing is. */
  watches?(): readonly WatchState[];
  /** Where what becomes of a trigger is told to its owner; absent where there is no cluster. */
  readonly events?: EventSink;
  close(): Promise<void>;
}

/** How well one kind of object is known that another process keeps. */
export interface WatchState {
  readonly kind: string;
  readonly objects: number;
  /** Whether all of them have been read at least once. */
  readonly synced: boolean;
  /** Time since anything was heard of them, in ms; Infinity before the first answer. */
  readonly ageMs: number;
}

const NONE: Credentials = { parameters: {}, version: 'none' };

/** The source for a scaler without a cluster: a trigger has what its metadata says and nothing else. */
export const noCredentialSource: CredentialSource = {
  available: false,
  resolve: () => Promise.resolve(NONE),
  refused: () => undefined,
  close: () => Promise.resolve(),
};
