/**
 * What KEDA's versions do differently towards an external scaler, as far as a server can notice.
 */
export interface KedaBehaviour {
  /** Reads `targetSizeFloat` and `metricValueFloat` where they are above zero; before 2.17 the fields were unknown. */
  readonly floats: boolean;
  /** Opens StreamMetricSpec beside StreamIsActive. */
  readonly specStream: boolean;
  /** Makes a value that is negative or not a number zero; before, it went on as it was. */
  readonly clampsValues: boolean;
  /** Opens one connection per scalerAddress, whatever the TLS settings. */
  readonly poolIgnoresTls: boolean;
  /**
   * Takes a trigger for inactive, and not for failing, where a poll finds its cache of scalers closed: by the HPA's failing query, as
   * seen with 2.20.2. Before, the poll failed as well.
   */
  readonly closedCacheIsInactive: boolean;
}

export const KEDA_VERSIONS = {
  '2.16': { floats: false, specStream: false, clampsValues: false, poolIgnoresTls: true, closedCacheIsInactive: false },
  '2.17': { floats: true, specStream: false, clampsValues: false, poolIgnoresTls: true, closedCacheIsInactive: false },
  '2.18': { floats: true, specStream: false, clampsValues: false, poolIgnoresTls: true, closedCacheIsInactive: false },
  '2.19': { floats: true, specStream: false, clampsValues: false, poolIgnoresTls: true, closedCacheIsInactive: false },
  '2.20': { floats: true, specStream: false, clampsValues: true, poolIgnoresTls: false, closedCacheIsInactive: true },
  '2.21': { floats: true, specStream: true, clampsValues: true, poolIgnoresTls: false, closedCacheIsInactive: true },
} as const satisfies Record<string, KedaBehaviour>;

export type KedaVersion = keyof typeof KEDA_VERSIONS;
