/**
 * What KEDA's minor versions do differently on one machine; each stands for its newest release.
 */
export const KEDA_VERSIONS = ['2.16', '2.17', '2.18', '2.19', '2.20', '2.21'] as const;

export type KedaVersion = (typeof KEDA_VERSIONS)[number];

export interface KedaBehaviour {
  /**
   * A poll whose cache of scalers the HPA's failing query closes counts its trigger as inactive and without error; before, as failing.
   * Source: https://github.com/kedacore/keda/pull/7737
   */
  readonly closedCacheIsInactive: boolean;
}

export const KEDA_BEHAVIOURS: Readonly<Record<KedaVersion, KedaBehaviour>> = {
  '2.16': { closedCacheIsInactive: false },
  '2.17': { closedCacheIsInactive: false },
  '2.18': { closedCacheIsInactive: false },
  '2.19': { closedCacheIsInactive: false },
  '2.20': { closedCacheIsInactive: true },
  '2.21': { closedCacheIsInactive: true },
};
