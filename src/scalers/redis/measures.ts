/**
 * The figures that a reading of Redis keys can hold.
 */

export type MeasureName =
  | 'length' // members of a list, set, sorted set, hash or stream
  | 'processing' // held by a worker of a reliable queue
  | 'pending' // delivered to a stream's group, not acknowledged
  | 'lag'; // not yet delivered to a stream's group

export type Measures = Readonly<Partial<Record<MeasureName, number>>>;
