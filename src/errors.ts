/**
 * Every failure this program can tell of, as one closed table; nothing outside may invent a code, a gRPC status or a retry rule.
 * The class of an error is its blast radius: what else is in doubt because of it.
 */

/** What an operator sees of a failure, and what the program does about it. */
interface ErrorSpec {
  /** What is in doubt: one trigger, one queue, everything on one broker, or this process. */
  readonly radius: 'trigger' | 'queue' | 'broker' | 'process';
  /** Name of the gRPC status that KEDA gets. */
  readonly grpc:
    | 'INVALID_ARGUMENT'
    | 'NOT_FOUND'
    | 'FAILED_PRECONDITION'
    | 'PERMISSION_DENIED'
    | 'UNAVAILABLE'
    | 'RESOURCE_EXHAUSTED'
    | 'CANCELLED'
    | 'INTERNAL';
  /**
   * What is tried without a person: nothing (`never`), the same question at its next time (`later`), the next endpoint or the same
   * one a moment later (`endpoint`), credentials read anew (`credentials`), or Kubernetes objects read anew (`objects`).
   */
  readonly retry: 'never' | 'later' | 'endpoint' | 'credentials' | 'objects';
  /** Whether the last known reading may stand in for a while: not where the failure is itself a certain answer. */
  readonly allowStale: boolean;
  readonly meaning: string;
  readonly remedy: string;
}

/** Most failures to read one queue, or a broker: KEDA gets UNAVAILABLE for them, as an unknown is never a number. */
const OF_QUEUE = { radius: 'queue', grpc: 'UNAVAILABLE', retry: 'later', allowStale: true } as const;
const OF_BROKER = { radius: 'broker', grpc: 'UNAVAILABLE', retry: 'endpoint', allowStale: true } as const;

export const ERRORS = {
  INVALID_TRIGGER: {
    radius: 'trigger',
    grpc: 'INVALID_ARGUMENT',
    retry: 'never',
    allowStale: false,
    meaning: 'The trigger’s metadata or authentication parameters break a rule.',
    remedy: 'Mend every key that the message lists.',
  },
  OBJECT_NOT_FOUND: {
    radius: 'trigger',
    grpc: 'NOT_FOUND',
    retry: 'objects',
    allowStale: false,
    meaning: 'No ScaledObject or ScaledJob of that name exists in that namespace.',
    remedy: 'Create it, or mend the name that the caller sends.',
  },
  TRIGGER_UNMATCHED: {
    radius: 'trigger',
    grpc: 'FAILED_PRECONDITION',
    retry: 'objects',
    allowStale: false,
    meaning: 'The object exists, but none of its triggers, or more than one with different authentication, has this metadata.',
    remedy: 'Make the triggers of the object differ in metadata; after an edit wait for KEDA to read it again.',
  },
  AUTHENTICATION_UNRESOLVED: {
    radius: 'trigger',
    grpc: 'FAILED_PRECONDITION',
    retry: 'objects',
    allowStale: true,
    meaning: 'A TriggerAuthentication, or a secret, key, variable or file that it names, could not be read.',
    remedy: 'Create what the message names, or let this scaler read it.',
  },
  NOT_ALLOWED: {
    radius: 'trigger',
    grpc: 'PERMISSION_DENIED',
    retry: 'never',
    allowStale: false,
    meaning: 'The trigger asks for credentials that its namespace may not use.',
    remedy: 'Use authentication of the same namespace.',
  },
  QUEUE_MISSING: {
    ...OF_QUEUE,
    allowStale: false,
    meaning: 'The broker says for certain that the queue does not exist.',
    remedy: 'Create the queue or mend its name; for one that comes and goes see the scaler’s page.',
  },
  QUEUE_DOWN: {
    ...OF_QUEUE,
    meaning: 'The queue exists, but the node that holds it is down, stopping or not answering.',
    remedy: 'Wait for the node, or see to it.',
  },
  QUEUE_LOCKED: {
    ...OF_QUEUE,
    allowStale: false,
    meaning: 'The queue is exclusive to another connection.',
    remedy: 'Scale on a queue that is not exclusive, or let another source read it: see the scaler’s page.',
  },
  QUEUE_WRONG_TYPE: {
    ...OF_QUEUE,
    allowStale: false,
    meaning: 'What the name stands for has another type than the trigger asks for.',
    remedy: 'Mend the name, or use the scaler for that type.',
  },
  FIELD_MISSING: {
    ...OF_QUEUE,
    meaning: 'The broker answered, but without the figure that the trigger needs.',
    remedy: 'Wait until the broker has sampled the queue; if it lasts, enable the source that the message names.',
  },
  ZERO_UNCONFIRMED: {
    ...OF_QUEUE,
    meaning: 'A reader says zero in a situation in which that reader is known to say zero falsely.',
    remedy: 'Wait: it is confirmed by a second reader or by time.',
  },
  VALUE_IMPLAUSIBLE: {
    ...OF_QUEUE,
    meaning: 'The broker gave a figure that cannot be true, such as a negative length or a rate of millions.',
    remedy: 'Wait; if it lasts, see to the broker’s statistics.',
  },
  BROKER_UNREACHABLE: {
    ...OF_BROKER,
    meaning: 'No endpoint of the broker takes a connection, or the connection broke.',
    remedy: 'Check address, port, network policy and that the broker runs.',
  },
  BROKER_TIMEOUT: {
    ...OF_BROKER,
    meaning: 'The broker did not answer in time.',
    remedy: 'See to the broker’s load; a larger `timeout` helps only where it is merely slow.',
  },
  BROKER_REFUSED: {
    ...OF_BROKER,
    retry: 'credentials',
    meaning: 'The broker refuses the credentials.',
    remedy: 'Mend user name and password; a rotated secret is read again by itself.',
  },
  BROKER_FORBIDDEN: {
    ...OF_BROKER,
    retry: 'later',
    meaning: 'The credentials are good, but may not do what reading needs.',
    remedy: 'Grant the permission that the message names.',
  },
  TLS_FAILED: {
    ...OF_BROKER,
    meaning:
      'No TLS session could be agreed: a plain port, an unknown authority, another host’s certificate, or one out of date.',
    remedy: 'Match scheme and port, or give the authority’s certificate.',
  },
  BROKER_BUSY: {
    ...OF_BROKER,
    meaning: 'The broker says that it cannot serve now: busy with a script, short of replicas, down behind its load balancer.',
    remedy: 'Wait, or see to the broker.',
  },
  BROKER_LOADING: {
    ...OF_BROKER,
    meaning: 'The broker has started and still loads its data.',
    remedy: 'Wait; a large data set takes minutes.',
  },
  BROKER_NOT_PRIMARY: {
    ...OF_BROKER,
    meaning: 'A replica answers where a primary must, or a replica that has lost its primary.',
    remedy:
      'Wait for the failover to end; if it lasts, mend the address: behind it must be the primary, the sentinels or the cluster.',
  },
  BROKER_WRONG_KIND: {
    ...OF_BROKER,
    retry: 'later',
    allowStale: false,
    meaning: 'What answers is another kind of deployment than the trigger’s scaler reads, such as one node of a cluster.',
    remedy: 'Use the scaler that the message names, or mend the address.',
  },
  BROKER_CLUSTER_DOWN: {
    ...OF_BROKER,
    meaning: 'No node of the cluster serves the key’s slot, or too few nodes answer to know which one does.',
    remedy: 'Wait for a replica to take over; if it lasts, see to the cluster’s nodes and slots.',
  },
  BROKER_OUT_OF_MEMORY: {
    ...OF_BROKER,
    retry: 'later',
    meaning: 'The broker refuses commands as its memory is used up.',
    remedy: 'Give it memory, or make consumers take what fills it.',
  },
  BROKER_REPLY_INVALID: {
    ...OF_BROKER,
    meaning: 'What answered does not speak the expected protocol, or answered nonsense.',
    remedy: 'Check that address and port are the broker’s, and what stands between.',
  },
  OVERLOADED: {
    radius: 'process',
    grpc: 'RESOURCE_EXHAUSTED',
    retry: 'later',
    allowStale: false,
    meaning: 'This scaler has more calls than it can answer.',
    remedy: 'Add a replica or raise its CPU limit.',
  },
  SHUTTING_DOWN: {
    radius: 'process',
    grpc: 'UNAVAILABLE',
    retry: 'later',
    allowStale: false,
    meaning: 'This scaler is ending.',
    remedy: 'Nothing: the next call goes to another replica.',
  },
  CALL_CANCELLED: {
    radius: 'process',
    grpc: 'CANCELLED',
    retry: 'later',
    allowStale: true,
    meaning: 'The caller went away before the answer.',
    remedy: 'Nothing.',
  },
  INTERNAL: {
    radius: 'process',
    grpc: 'INTERNAL',
    retry: 'later',
    allowStale: true,
    meaning: 'A defect of this scaler.',
    remedy: 'Report it with the log line.',
  },
} as const satisfies Record<string, ErrorSpec>;

export type ErrorCode = keyof typeof ERRORS;
type CodeWithin<Radius extends ErrorSpec['radius']> = {
  [Code in ErrorCode]: (typeof ERRORS)[Code]['radius'] extends Radius ? Code : never;
}[ErrorCode];

/** Base of all errors of this program. Its message is fit to be shown: it never holds a secret. */
export abstract class QueueScalerError<Code extends ErrorCode = ErrorCode> extends Error {
  readonly code: Code;

  constructor(code: Code, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.code = code;
    this.name = new.target.name;
  }

  get spec(): ErrorSpec {
    return ERRORS[this.code];
  }
}

/** One fault of one key, as the user must hear it. */
export interface Fault {
  readonly key: string;
  /** What is wrong, what came and what is allowed; never the value of a secret key. */
  readonly message: string;
}

/** One trigger cannot be served; nobody else is concerned. */
export class TriggerError extends QueueScalerError<CodeWithin<'trigger'>> {
  readonly faults: readonly Fault[];

  constructor(
    code: CodeWithin<'trigger'>,
    message: string,
    options?: { readonly cause?: unknown; readonly faults?: readonly Fault[] },
  ) {
    super(code, message, options);
    this.faults = options?.faults ?? [];
  }
}

/** One queue cannot be read; other queues of the same broker can. */
export class QueueError extends QueueScalerError<CodeWithin<'queue'>> {}

/** Nothing on this broker can be read now; other brokers can. */
export class BrokerError extends QueueScalerError<CodeWithin<'broker'>> {}

/** This process cannot answer; the brokers have nothing to do with it. */
export class ProcessError extends QueueScalerError<CodeWithin<'process'>> {}

/** Makes any thrown thing one of ours; what is not ours is a defect, so its text (which may hold anything) stays in `cause`. */
export function toQueueScalerError(thrown: unknown): QueueScalerError {
  if (isQueueScalerError(thrown)) return thrown;
  return new ProcessError('INTERNAL', 'unexpected failure inside the scaler', { cause: thrown });
}

/** Whether it is one of ours, of whichever code. */
export function isQueueScalerError(thrown: unknown): thrown is QueueScalerError {
  return thrown instanceof QueueScalerError;
}
