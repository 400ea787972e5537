/**
 * The contract of whatever can write Kubernetes Events to ScaledObjects and ScaledJobs.
 */

/** The object that an Event is about, as Kubernetes tells it from an earlier one of the same name. */
export interface EventOwner {
  readonly kind: 'ScaledObject' | 'ScaledJob';
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

export interface OwnerEvent {
  readonly owner: EventOwner;
  /** Name of the Event itself: writing the same name again counts the Event that is there. */
  readonly name: string;
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
  readonly count: number;
  readonly firstAt: Date;
  readonly lastAt: Date;
}

export interface EventSink {
  /** The objects of that name whose uid is known, from memory alone: one, or a ScaledObject and a ScaledJob. */
  ownersOf(namespace: string, name: string): readonly EventOwner[];
  /** Rejects where the Event could not be written for any other reason than a missing right. */
  write(event: OwnerEvent, signal: AbortSignal): Promise<'written' | 'forbidden'>;
}
